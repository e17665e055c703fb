/**
 * Local gateways with their route tables and what these are associated with. Every
 * account has one local gateway: the way from its networks to the wire that the node is on.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { contains, parseBlock, requireBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { compileFilters } from "../../resources/filters.ts";
import { newId } from "../../resources/ids.ts";
import type { KindRecord } from "../../resources/kind.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Input } from "../../resources/wire.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import {
  localGateway,
  localGroup,
  localGroupAssociation,
  localTable,
  localVpc,
  type Route,
  type TableShape,
} from "../kinds/local_gateways.ts";
import { arn, exactlyOne, type Network, oneOf } from "../network.ts";

type RouteInput = Input<"CreateLocalGatewayRoute"> | Input<"ModifyLocalGatewayRoute">;

export const localGatewayActions = ({ operations: n, records, region }: Network) => {
  const destination = (
    input: {
      readonly DestinationCidrBlock?: string | undefined;
      readonly DestinationPrefixListId?: string | undefined;
    },
  ) => {
    exactlyOne(input, ["DestinationCidrBlock", "DestinationPrefixListId"]);
    if (input.DestinationPrefixListId !== undefined) {
      return { DestinationPrefixListId: input.DestinationPrefixListId };
    }
    const block = requireBlock(input.DestinationCidrBlock ?? "", 4, "destinationCidrBlock");
    return { DestinationCidrBlock: showBlock(block) };
  };
  const same = (one: Route, other: Route) =>
    one.DestinationCidrBlock === other.DestinationCidrBlock &&
    one.DestinationPrefixListId === other.DestinationPrefixListId;
  const readRoute = async (
    record: KindRecord<TableShape>,
    input: RouteInput,
    call: Call,
  ): Promise<Route> => {
    exactlyOne(input, ["LocalGatewayVirtualInterfaceGroupId", "NetworkInterfaceId"]);
    if (input.LocalGatewayVirtualInterfaceGroupId !== undefined) {
      await records.require(localGroup, call.account_id, input.LocalGatewayVirtualInterfaceGroupId);
    }
    const eni = input.NetworkInterfaceId === undefined
      ? undefined
      : await records.require(networkInterface, call.account_id, input.NetworkInterfaceId);
    return {
      ...destination(input),
      ...(input.LocalGatewayVirtualInterfaceGroupId === undefined
        ? {}
        : { LocalGatewayVirtualInterfaceGroupId: input.LocalGatewayVirtualInterfaceGroupId }),
      ...(eni === undefined ? {} : { NetworkInterfaceId: eni.id, SubnetId: eni.shape.SubnetId }),
      LocalGatewayRouteTableArn: record.shape.LocalGatewayRouteTableArn,
      LocalGatewayRouteTableId: record.id,
      OwnerId: record.account_id,
      State: "active",
      Type: "static",
    };
  };
  const noRoute = (id: string) =>
    new AwsError("InvalidRoute.NotFound", `There is no such route in ${id}.`);
  const tableOf = async (id: string, call: Call) => {
    const table = await records.require(localTable, call.account_id, id);
    return {
      LocalGatewayId: table.shape.LocalGatewayId,
      LocalGatewayRouteTableArn: table.shape.LocalGatewayRouteTableArn,
      LocalGatewayRouteTableId: table.id,
    };
  };
  return {
    DescribeLocalGateways: n.describes(localGateway, {
      list: "LocalGateways",
      ids: "LocalGatewayIds",
    }),

    CreateLocalGatewayRouteTable: n.creates(localTable, {
      answer: "LocalGatewayRouteTable",
      id: () => newId("lgw-rtb-"),
      make: async (input, call) => {
        const gateway = await records.require(localGateway, call.account_id, input.LocalGatewayId);
        return {
          Mode: oneOf(input.Mode, ["direct-vpc-routing", "coip"], "mode", "direct-vpc-routing"),
          OutpostArn: gateway.shape.OutpostArn,
          Routes: [],
          State: "pending",
        };
      },
      after: async (record, _input, call) => {
        const LocalGatewayRouteTableArn = arn(
          region,
          call.account_id,
          "local-gateway-route-table",
          record.id,
        );
        if (record.shape.LocalGatewayRouteTableArn === undefined) {
          await records.change(
            localTable,
            call.account_id,
            record.id,
            () => ({ LocalGatewayRouteTableArn }),
          );
        }
      },
    }),
    DescribeLocalGatewayRouteTables: n.describes(localTable, {
      list: "LocalGatewayRouteTables",
      ids: "LocalGatewayRouteTableIds",
    }),
    DeleteLocalGatewayRouteTable: n.deletes(localTable, {
      id: "LocalGatewayRouteTableId",
      passing: () => ({ State: "deleting", Routes: [] }),
      answer: "LocalGatewayRouteTable",
    }),
    CreateLocalGatewayRoute: n.changes(localTable, {
      id: "LocalGatewayRouteTableId",
      change: async (record, input, call) => {
        const route = await readRoute(record, input, call);
        if (record.shape.Routes?.some((one) => same(one, route))) {
          throw new AwsError("RouteAlreadyExists", "The route already exists.");
        }
        return { Routes: [...record.shape.Routes ?? [], route] };
      },
      answer: (record) => ({ Route: record.shape.Routes?.at(-1) }),
    }),
    ModifyLocalGatewayRoute: n.changes(localTable, {
      id: "LocalGatewayRouteTableId",
      change: async (record, input, call) => {
        const route = await readRoute(record, input, call);
        const others = (record.shape.Routes ?? []).filter((one) => !same(one, route));
        if (others.length === record.shape.Routes?.length) throw noRoute(record.id);
        return { Routes: [...others, route] };
      },
      answer: (record) => ({ Route: record.shape.Routes?.at(-1) }),
    }),
    DeleteLocalGatewayRoute: n.changes(localTable, {
      id: "LocalGatewayRouteTableId",
      change: (record, input) => {
        const wanted = destination(input);
        const others = (record.shape.Routes ?? []).filter((one) => !same(one, wanted));
        if (others.length === record.shape.Routes?.length) throw noRoute(record.id);
        return { Routes: others };
      },
      answer: (record, input) => ({
        Route: {
          ...destination(input),
          LocalGatewayRouteTableId: record.id,
          State: "deleted",
          Type: "static",
        },
      }),
    }),
    SearchLocalGatewayRoutes: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await records.require(
          localTable,
          call.account_id,
          input.LocalGatewayRouteTableId,
        );
        const block = (text: string | undefined) => parseBlock(text ?? "");
        const search = input.Filters?.filter((one) => one.Name?.startsWith("route-search.")) ?? [];
        const matches = compileFilters<Route>(
          input.Filters?.filter((one) => !search.includes(one)),
          {
            "prefix-list-id": (one) => one.DestinationPrefixListId,
            "state": (one) => one.State,
            "type": (one) => one.Type,
          },
        );
        const bySearch = (route: Route) =>
          search.every(({ Name, Values = [] }) =>
            Values.some((value) => {
              const [wanted, has] = [block(value), block(route.DestinationCidrBlock)];
              if (wanted === undefined || has === undefined) return false;
              if (Name === "route-search.exact-match") return showBlock(wanted) === showBlock(has);
              if (Name === "route-search.subnet-of-match") return contains(wanted, has);
              if (Name === "route-search.supernet-of-match") return contains(has, wanted);
              throw invalidParameter("filter", Name, "There is no such search.");
            })
          );
        const found = (record.shape.Routes ?? []).filter((one) => matches(one) && bySearch(one));
        const page = pageOf(
          found,
          (one) => one.DestinationCidrBlock ?? one.DestinationPrefixListId ?? "",
          { action: "SearchLocalGatewayRoutes", input, call },
        );
        return {
          Routes: page.items,
          NextToken: page.nextToken,
        };
      },
    }),

    CreateLocalGatewayRouteTableVpcAssociation: n.creates(localVpc, {
      answer: "LocalGatewayRouteTableVpcAssociation",
      make: async (input, call) => {
        const twice = records.find(localVpc, call.account_id, input.VpcId)
          .some((one) => one.shape.LocalGatewayRouteTableId === input.LocalGatewayRouteTableId);
        if (twice) {
          throw new AwsError(
            "Resource.AlreadyAssociated",
            `${input.VpcId} is associated with the table already.`,
          );
        }
        return { ...await tableOf(input.LocalGatewayRouteTableId, call), State: "associating" };
      },
    }),
    DescribeLocalGatewayRouteTableVpcAssociations: n.describes(localVpc, {
      list: "LocalGatewayRouteTableVpcAssociations",
      ids: "LocalGatewayRouteTableVpcAssociationIds",
    }),
    DeleteLocalGatewayRouteTableVpcAssociation: n.deletes(localVpc, {
      id: "LocalGatewayRouteTableVpcAssociationId",
      passing: () => ({ State: "disassociating" }),
      answer: "LocalGatewayRouteTableVpcAssociation",
    }),
    CreateLocalGatewayRouteTableVirtualInterfaceGroupAssociation: n.creates(localGroupAssociation, {
      answer: "LocalGatewayRouteTableVirtualInterfaceGroupAssociation",
      make: async (input, call) => ({
        ...await tableOf(input.LocalGatewayRouteTableId, call),
        State: "associating",
      }),
    }),
    DescribeLocalGatewayRouteTableVirtualInterfaceGroupAssociations: n.describes(
      localGroupAssociation,
      {
        list: "LocalGatewayRouteTableVirtualInterfaceGroupAssociations",
        ids: "LocalGatewayRouteTableVirtualInterfaceGroupAssociationIds",
      },
    ),
    DeleteLocalGatewayRouteTableVirtualInterfaceGroupAssociation: n.deletes(localGroupAssociation, {
      id: "LocalGatewayRouteTableVirtualInterfaceGroupAssociationId",
      passing: () => ({ State: "disassociating" }),
      answer: "LocalGatewayRouteTableVirtualInterfaceGroupAssociation",
    }),
  } satisfies ActionTable;
};
