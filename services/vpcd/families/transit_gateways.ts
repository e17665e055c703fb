/** Transit gateways, each with the route table that it is made with. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { newId } from "../../resources/ids.ts";
import { type GatewayShape, transitGateway, transitTable } from "../kinds/transit_gateways.ts";
import { arn, type Network, within } from "../network.ts";
import { isDefaultTable } from "./transit_route_tables.ts";

export const transitGatewayActions = ({ operations: n, records, region }: Network) => {
  return {
    CreateTransitGateway: n.creates(transitGateway, {
      answer: "TransitGateway",
      id: () => newId("tgw-"),
      make: (input) => ({
        CreationTime: new Date().toISOString(),
        Description: input.Description ?? "",
        Options: {
          AmazonSideAsn: within(
            input.Options?.AmazonSideAsn ?? 64_512,
            1,
            4_294_967_294,
            "amazonSideAsn",
          ),
          AutoAcceptSharedAttachments: input.Options?.AutoAcceptSharedAttachments ?? "disable",
          DefaultRouteTableAssociation: input.Options?.DefaultRouteTableAssociation ?? "enable",
          DefaultRouteTablePropagation: input.Options?.DefaultRouteTablePropagation ?? "enable",
          DnsSupport: input.Options?.DnsSupport ?? "enable",
          MulticastSupport: input.Options?.MulticastSupport ?? "disable",
          VpnEcmpSupport: input.Options?.VpnEcmpSupport ?? "enable",
        },
        State: "pending",
      }),
      after: async (record, _input, call) => {
        const id = record.id.replace("tgw-", "tgw-rtb-");
        const { DefaultRouteTableAssociation: a, DefaultRouteTablePropagation: p } =
          record.shape.Options ?? {};
        const TransitGatewayArn = arn(region, call.account_id, "transit-gateway", record.id);
        if (record.shape.TransitGatewayArn === TransitGatewayArn) return;
        if (a === "enable" || p === "enable") {
          await records.create(transitTable, call.account_id, {
            CreationTime: record.created,
            DefaultAssociationRouteTable: a === "enable",
            DefaultPropagationRouteTable: p === "enable",
            Routes: [],
            State: "available",
            TransitGatewayId: record.id,
          }, { id });
        }
        await records.change(transitGateway, call.account_id, record.id, (now) => ({
          TransitGatewayArn,
          Options: {
            ...now.shape.Options,
            ...(a === "enable" ? { AssociationDefaultRouteTableId: id } : {}),
            ...(p === "enable" ? { PropagationDefaultRouteTableId: id } : {}),
          },
        }));
      },
    }),
    DescribeTransitGateways: n.describes(transitGateway, {
      list: "TransitGateways",
      ids: "TransitGatewayIds",
    }),
    ModifyTransitGateway: n.changes(transitGateway, {
      id: "TransitGatewayId",
      change: (record, input) => {
        const {
          AddTransitGatewayCidrBlocks: added = [],
          RemoveTransitGatewayCidrBlocks: removed = [],
          EncryptionSupport: encryption,
          ...options
        } = input.Options ?? {};
        if (encryption !== undefined && encryption !== "enable" && encryption !== "disable") {
          throw new AwsError(
            "InvalidParameterValue",
            `Value (${encryption}) for parameter EncryptionSupport is invalid.`,
          );
        }
        const blocks = (record.shape.Options?.TransitGatewayCidrBlocks ?? [])
          .filter((block) => !removed.includes(block) && !added.includes(block));
        return {
          ...(input.Description === undefined ? {} : { Description: input.Description }),
          Options: {
            ...record.shape.Options,
            ...options,
            // What is asked for is a word, what is shown a state.
            ...(encryption === undefined
              ? {}
              : { EncryptionSupport: { EncryptionState: `${encryption}d` } }),
            TransitGatewayCidrBlocks: [...blocks, ...added],
          } as GatewayShape["Options"],
          State: "modifying",
        };
      },
      answer: "TransitGateway",
    }),
    DeleteTransitGateway: n.deletes(transitGateway, {
      id: "TransitGatewayId",
      inUse: "IncorrectState",
      takes: (one, other) => one.name === "transit-gateway-route-table" && isDefaultTable(other),
      before: async (record, _input, call) => {
        for (const one of records.find(transitTable, call.account_id, record.id)) {
          await records.remove(transitTable, call.account_id, one.id);
        }
      },
      passing: () => ({ State: "deleting" }),
      answer: "TransitGateway",
    }),
  } satisfies ActionTable;
};
