/** Attachments of VPCs to transit gateways. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { subnet } from "../kinds/subnets.ts";
import { type Transit, transitAttachment, transitGateway } from "../kinds/transit_gateways.ts";
import type { Network } from "../network.ts";

export const transitAttachmentActions = ({ operations: n, records }: Network) => {
  const showAttachment = (record: Transit) => ({
    Association: record.shape.Association,
    CreationTime: record.created,
    ResourceId: record.shape.VpcId,
    ResourceOwnerId: record.account_id,
    ResourceType: "vpc" as const,
    State: record.shape.State,
    Tags: records.show(transitAttachment, record)["Tags"],
    TransitGatewayAttachmentId: record.id,
    TransitGatewayId: record.shape.TransitGatewayId,
    TransitGatewayOwnerId: record.account_id,
  });
  return {
    CreateTransitGatewayVpcAttachment: n.creates(transitAttachment, {
      answer: "TransitGatewayVpcAttachment",
      make: async (input, call) => {
        const gateway = await records.require(
          transitGateway,
          call.account_id,
          input.TransitGatewayId,
        );
        for (const id of input.SubnetIds) {
          const of = await records.require(subnet, call.account_id, id);
          if (of.shape.VpcId !== input.VpcId) {
            throw new AwsError(
              "InvalidSubnetID.NotFound",
              `The subnet ${id} is not in ${input.VpcId}.`,
            );
          }
        }
        const twice = records.find(transitAttachment, call.account_id, input.VpcId)
          .some((one) => one.shape.TransitGatewayId === gateway.id);
        if (twice) {
          throw new AwsError(
            "DuplicateTransitGatewayAttachment",
            `${gateway.id} has an attachment to ${input.VpcId} already.`,
          );
        }
        const table = gateway.shape.Options?.AssociationDefaultRouteTableId;
        return {
          CreationTime: new Date().toISOString(),
          Options: {
            ApplianceModeSupport: "disable",
            DnsSupport: "enable",
            Ipv6Support: "disable",
            ...input.Options,
          },
          State: "pending",
          ...(table === undefined
            ? {}
            : { Association: { State: "associated", TransitGatewayRouteTableId: table } }),
          Propagations: [gateway.shape.Options?.PropagationDefaultRouteTableId].flatMap((one) =>
            one ?? []
          ),
        };
      },
    }),
    DescribeTransitGatewayVpcAttachments: n.describes(transitAttachment, {
      list: "TransitGatewayVpcAttachments",
      ids: "TransitGatewayAttachmentIds",
    }),
    DescribeTransitGatewayAttachments: n.describes(transitAttachment, {
      list: "TransitGatewayAttachments",
      ids: "TransitGatewayAttachmentIds",
      show: showAttachment,
    }),
    ModifyTransitGatewayVpcAttachment: n.changes(transitAttachment, {
      id: "TransitGatewayAttachmentId",
      change: async (record, input, call) => {
        for (const id of input.AddSubnetIds ?? []) {
          await records.require(subnet, call.account_id, id);
        }
        const left = [...record.shape.SubnetIds ?? [], ...input.AddSubnetIds ?? []]
          .filter((one) => !input.RemoveSubnetIds?.includes(one));
        if (left.length === 0) {
          throw invalidParameter("removeSubnetIds", input.RemoveSubnetIds, "One must stay.");
        }
        return {
          SubnetIds: [...new Set(left)],
          Options: { ...record.shape.Options, ...input.Options },
          State: "modifying",
        };
      },
      answer: "TransitGatewayVpcAttachment",
    }),
    DeleteTransitGatewayVpcAttachment: n.deletes(transitAttachment, {
      id: "TransitGatewayAttachmentId",
      passing: () => ({ State: "deleting", Association: undefined, Propagations: [] }),
      answer: "TransitGatewayVpcAttachment",
    }),
  } satisfies ActionTable;
};
