/** Route tables of transit gateways: whose traffic they route, whose routes come by themselves, and routes. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { compileFilters } from "../../resources/filters.ts";
import type { Ec2, Input, Shape } from "../../resources/wire.ts";
import { type Transit, transitAttachment, transitTable } from "../kinds/transit_gateways.ts";
import { merged, type Network, within } from "../network.ts";

export const isDefaultTable = (record: { readonly shape: Readonly<Record<string, unknown>> }) =>
  record.shape["DefaultAssociationRouteTable"] === true ||
  record.shape["DefaultPropagationRouteTable"] === true;

export const transitRouteTableActions = ({ operations: n, records }: Network) => {
  const sameGateway = async (tableId: string, attachmentId: string, call: Call) => {
    const table = await records.require(transitTable, call.account_id, tableId);
    const attachment = await records.require(transitAttachment, call.account_id, attachmentId);
    if (table.shape.TransitGatewayId !== attachment.shape.TransitGatewayId) {
      throw invalidParameter(
        "transitGatewayAttachmentId",
        attachmentId,
        `It is not of the gateway of ${tableId}.`,
      );
    }
    return { table, attachment };
  };
  const destination = (text: string) => {
    const block = parseBlock(text);
    if (block === undefined) {
      throw invalidParameter("destinationCidrBlock", text, "This is not a valid CIDR block.");
    }
    return showBlock(block);
  };
  const routeOf = async (
    input: {
      readonly DestinationCidrBlock: string;
      readonly TransitGatewayAttachmentId?: string | undefined;
      readonly Blackhole?: boolean | undefined;
      readonly TransitGatewayRouteTableId: string;
    },
    call: Call,
  ) => {
    const DestinationCidrBlock = destination(input.DestinationCidrBlock);
    if (input.Blackhole === true) {
      return { DestinationCidrBlock, State: "blackhole" as const, Type: "static" as const };
    }
    const { attachment } = await sameGateway(
      input.TransitGatewayRouteTableId,
      input.TransitGatewayAttachmentId ?? "",
      call,
    );
    return {
      DestinationCidrBlock,
      State: "active" as const,
      TransitGatewayAttachments: [{
        ResourceId: attachment.shape.VpcId,
        ResourceType: "vpc" as const,
        TransitGatewayAttachmentId: attachment.id,
      }],
      Type: "static" as const,
    };
  };
  const propagate = (State: "enabled" | "disabled") => {
    type Request = Input<"EnableTransitGatewayRouteTablePropagation">;
    return {
      check: async (input: Request, call: Call) => {
        await sameGateway(
          input.TransitGatewayRouteTableId,
          input.TransitGatewayAttachmentId ?? "",
          call,
        );
      },
      run: async (input: Request, call: Call) => {
        const id = input.TransitGatewayRouteTableId;
        const record = await records.change(
          transitAttachment,
          call.account_id,
          input.TransitGatewayAttachmentId ?? "",
          ({ shape }) => ({
            Propagations: State === "enabled"
              ? merged(shape.Propagations, [id], [])
              : merged(shape.Propagations, [], [id]),
          }),
        );
        return { Propagation: propagation(record, id, State) };
      },
    };
  };
  const noRoute = (text: string) =>
    new AwsError("InvalidRoute.NotFound", `There is no route to ${text}.`);
  return {
    CreateTransitGatewayRouteTable: n.creates(transitTable, {
      answer: "TransitGatewayRouteTable",
      make: () => ({
        CreationTime: new Date().toISOString(),
        DefaultAssociationRouteTable: false,
        DefaultPropagationRouteTable: false,
        Routes: [],
        State: "pending",
      }),
    }),
    DescribeTransitGatewayRouteTables: n.describes(transitTable, {
      list: "TransitGatewayRouteTables",
      ids: "TransitGatewayRouteTableIds",
    }),
    DeleteTransitGatewayRouteTable: n.deletes(transitTable, {
      id: "TransitGatewayRouteTableId",
      refuse: (record, _input, call) => {
        const used = records.find(transitAttachment, call.account_id, record.id).length > 0;
        if (used || isDefaultTable(record as never)) {
          throw new AwsError("IncorrectState", `${record.id} is in use or a default route table.`);
        }
      },
      passing: () => ({ State: "deleting" }),
      answer: "TransitGatewayRouteTable",
    }),
    AssociateTransitGatewayRouteTable: n.changes(transitAttachment, {
      id: "TransitGatewayAttachmentId",
      change: async (record, input, call) => {
        const { table } = await sameGateway(input.TransitGatewayRouteTableId, record.id, call);
        if (record.shape.Association !== undefined) {
          throw new AwsError(
            "Resource.AlreadyAssociated",
            `${record.id} is already associated to a route table.`,
          );
        }
        return { Association: { State: "associated", TransitGatewayRouteTableId: table.id } };
      },
      answer: (record) => ({
        Association: {
          ResourceId: record.shape.VpcId,
          ResourceType: "vpc",
          State: "associated",
          TransitGatewayAttachmentId: record.id,
          TransitGatewayRouteTableId: record.shape.Association?.TransitGatewayRouteTableId,
        },
      }),
    }),
    DisassociateTransitGatewayRouteTable: n.changes(transitAttachment, {
      id: "TransitGatewayAttachmentId",
      change: async (record, input, call) => {
        await sameGateway(input.TransitGatewayRouteTableId, record.id, call);
        if (
          record.shape.Association?.TransitGatewayRouteTableId !== input.TransitGatewayRouteTableId
        ) {
          throw new AwsError(
            "InvalidAssociation.NotFound",
            `${record.id} is not associated with it.`,
          );
        }
        return { Association: undefined };
      },
      answer: (record, input) => ({
        Association: {
          ResourceId: record.shape.VpcId,
          ResourceType: "vpc",
          State: "disassociated",
          TransitGatewayAttachmentId: record.id,
          TransitGatewayRouteTableId: input.TransitGatewayRouteTableId,
        },
      }),
    }),
    GetTransitGatewayRouteTableAssociations: n.custom({
      reads: true,
      check: async (input, call) => {
        await records.require(transitTable, call.account_id, input.TransitGatewayRouteTableId);
      },
      run: (input, call) => ({
        Associations: records.find(
          transitAttachment,
          call.account_id,
          input.TransitGatewayRouteTableId,
        )
          .filter((one) =>
            one.shape.Association?.TransitGatewayRouteTableId === input.TransitGatewayRouteTableId
          ).map((one) => ({
            ResourceId: one.shape.VpcId,
            ResourceType: "vpc" as const,
            State: "associated" as const,
            TransitGatewayAttachmentId: one.id,
          })),
      }),
    }),
    EnableTransitGatewayRouteTablePropagation: n.custom(propagate("enabled")),
    DisableTransitGatewayRouteTablePropagation: n.custom(propagate("disabled")),
    GetTransitGatewayRouteTablePropagations: n.custom({
      reads: true,
      check: async (input, call) => {
        await records.require(transitTable, call.account_id, input.TransitGatewayRouteTableId);
      },
      run: (input, call) => ({
        TransitGatewayRouteTablePropagations: records
          .find(transitAttachment, call.account_id, input.TransitGatewayRouteTableId)
          .filter((one) => one.shape.Propagations?.includes(input.TransitGatewayRouteTableId))
          .map((one) => propagation(one, input.TransitGatewayRouteTableId, "enabled")),
      }),
    }),
    GetTransitGatewayAttachmentPropagations: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await records.require(
          transitAttachment,
          call.account_id,
          input.TransitGatewayAttachmentId,
        );
        return {
          TransitGatewayAttachmentPropagations: (record.shape.Propagations ?? []).map((one) => ({
            State: "enabled" as const,
            TransitGatewayRouteTableId: one,
          })),
        };
      },
    }),

    CreateTransitGatewayRoute: n.changes(transitTable, {
      id: "TransitGatewayRouteTableId",
      change: async (record, input, call) => {
        const route = await routeOf(input, call);
        const routes = record.shape.Routes ?? [];
        if (routes.some((one) => one.DestinationCidrBlock === route.DestinationCidrBlock)) {
          throw new AwsError(
            "RouteAlreadyExists",
            `The route ${route.DestinationCidrBlock} already exists.`,
          );
        }
        return { Routes: [...routes, route] };
      },
      answer: (record) => ({ Route: record.shape.Routes?.at(-1) }),
    }),
    ReplaceTransitGatewayRoute: n.changes(transitTable, {
      id: "TransitGatewayRouteTableId",
      change: async (record, input, call) => {
        const route = await routeOf(input, call);
        const others = (record.shape.Routes ?? []).filter((one) =>
          one.DestinationCidrBlock !== route.DestinationCidrBlock
        );
        if (others.length === record.shape.Routes?.length) {
          throw noRoute(input.DestinationCidrBlock);
        }
        return { Routes: [...others, route] };
      },
      answer: (record) => ({ Route: record.shape.Routes?.at(-1) }),
    }),
    DeleteTransitGatewayRoute: n.changes(transitTable, {
      id: "TransitGatewayRouteTableId",
      change: (record, input) => {
        const wanted = destination(input.DestinationCidrBlock);
        const others = (record.shape.Routes ?? []).filter((one) =>
          one.DestinationCidrBlock !== wanted
        );
        if (others.length === record.shape.Routes?.length) throw noRoute(wanted);
        return { Routes: others };
      },
      answer: (_record, input) => ({
        Route: {
          DestinationCidrBlock: destination(input.DestinationCidrBlock),
          State: "deleted",
          Type: "static",
        },
      }),
    }),
    SearchTransitGatewayRoutes: n.custom({
      reads: true,
      run: async (input, call) => {
        const table = await records.require(
          transitTable,
          call.account_id,
          input.TransitGatewayRouteTableId,
        );
        const matches = compileFilters<Shape<Ec2.TransitGatewayRoute>>(input.Filters, {
          "attachment.resource-id": (one) =>
            one.TransitGatewayAttachments?.map((a) => a.ResourceId) ?? [],
          "attachment.resource-type": (one) =>
            one.TransitGatewayAttachments?.map((a) => a.ResourceType) ?? [],
          "attachment.transit-gateway-attachment-id": (one) =>
            one.TransitGatewayAttachments?.map((a) => a.TransitGatewayAttachmentId) ?? [],
          "route-search.exact-match": (one) => one.DestinationCidrBlock,
          "state": (one) => one.State,
          "type": (one) => one.Type,
        });
        const propagated = records.find(transitAttachment, call.account_id, table.id)
          .filter((one) => one.shape.Propagations?.includes(table.id))
          .flatMap((one) => {
            const of = records.get(
              records.kindNamed("vpc"),
              call.account_id,
              one.shape.VpcId ?? "",
            );
            const block = (of?.shape as { CidrBlock?: string } | undefined)?.CidrBlock;
            return block === undefined ? [] : [{
              DestinationCidrBlock: block,
              State: "active" as const,
              TransitGatewayAttachments: [{
                ResourceId: one.shape.VpcId,
                ResourceType: "vpc" as const,
                TransitGatewayAttachmentId: one.id,
              }],
              Type: "propagated" as const,
            }];
          });
        const found = [...table.shape.Routes ?? [], ...propagated].filter(matches);
        const most = within(input.MaxResults ?? 1000, 5, 1000, "maxResults");
        return { Routes: found.slice(0, most), AdditionalRoutesAvailable: found.length > most };
      },
    }),
  } satisfies ActionTable;
};

const propagation = (record: Transit, table: string, State: "enabled" | "disabled") => ({
  ResourceId: record.shape.VpcId,
  ResourceType: "vpc" as const,
  State,
  TransitGatewayAttachmentId: record.id,
  TransitGatewayRouteTableId: table,
});
