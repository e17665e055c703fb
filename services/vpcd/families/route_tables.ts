/**
 * Route tables, their routes and associations. A VPC has one main table, which subnets without an
 * association of their own follow. A route goes to exactly one target, which must exist.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { idOf, newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Input, Shape } from "../../resources/wire.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { internetGateway } from "../kinds/internet_gateways.ts";
import {
  routeTable,
  type RouteTableShape,
  type TableRecord,
  targets,
} from "../kinds/route_tables.ts";
import { subnet } from "../kinds/subnets.ts";
import { vpc, type VpcRecord } from "../kinds/vpcs.ts";
import { vpnGateway } from "../kinds/vpn.ts";
import { exactlyOne, type Network } from "../network.ts";

type Route = Shape<Ec2.Route>;
const local = (block: string): Route => ({
  ...(block.includes(":") ? { DestinationIpv6CidrBlock: block } : { DestinationCidrBlock: block }),
  GatewayId: "local",
  Origin: "CreateRouteTable",
  State: "active",
});

/** The table's routes with the VPC's blocks of now. */
export function localRoutes(table: TableRecord, of: VpcRecord): Partial<RouteTableShape> {
  const blocks = [
    ...(of.shape.CidrBlockAssociationSet ?? []).map((one) => one.CidrBlock),
    ...(of.shape.Ipv6CidrBlockAssociationSet ?? []).map((one) => one.Ipv6CidrBlock),
  ];
  return {
    Routes: [
      ...blocks.flatMap((block) => block === undefined ? [] : [local(block)]),
      ...(table.shape.Routes ?? []).filter((route) => route.GatewayId !== "local"),
    ],
  };
}

const association = (
  table: string,
  of: { SubnetId: string } | { GatewayId: string } | { Main: true },
) => ({
  AssociationState: { State: "associated" as const },
  Main: false,
  RouteTableAssociationId: newId("rtbassoc-"),
  RouteTableId: table,
  ...of,
});

export async function makeMainTable(
  records: Records,
  account: string,
  vpcId: string,
  block: string,
): Promise<void> {
  const id = await idOf("rtb-", vpcId, "main");
  await records.create(routeTable, account, {
    Associations: [association(id, { Main: true })],
    PropagatingVgws: [],
    Routes: [local(block)],
    VpcId: vpcId,
  }, { id });
}

/** Takes the subnet out of the table that it is associated with. */
export async function leaveTables(records: Records, account: string, of: string): Promise<void> {
  for (const table of records.find(routeTable, account, of)) {
    await records.change(routeTable, account, table.id, (now) => ({
      Associations: now.shape.Associations?.filter((one) =>
        one.SubnetId !== of && one.GatewayId !== of
      ),
    }));
  }
}

export async function addRoute(
  records: Records,
  account: string,
  tableId: string,
  route: Route,
): Promise<void> {
  await records.change(routeTable, account, tableId, (now) => {
    const routes = now.shape.Routes ?? [];
    return routes.some((one) => destinationOf(one) === destinationOf(route))
      ? {}
      : { Routes: [...routes, route] };
  });
}

type Destination = Pick<
  Input<"CreateRoute">,
  "DestinationCidrBlock" | "DestinationIpv6CidrBlock" | "DestinationPrefixListId"
>;
const destinationNames = [
  "DestinationCidrBlock",
  "DestinationIpv6CidrBlock",
  "DestinationPrefixListId",
] as const;

const destinationOf = (route: Route | Destination) =>
  route.DestinationCidrBlock ?? route.DestinationIpv6CidrBlock ?? route.DestinationPrefixListId ??
    "";

/** @throws AwsError */
function readDestination(input: Destination): Destination {
  exactlyOne(input, destinationNames);
  if (input.DestinationPrefixListId !== undefined) {
    return { DestinationPrefixListId: input.DestinationPrefixListId };
  }
  const text = destinationOf(input);
  const block = parseBlock(text);
  const version = input.DestinationCidrBlock === undefined ? 6 : 4;
  if (block?.version !== version) {
    throw invalidParameter("destinationCidrBlock", text, "This is not a valid CIDR block.");
  }
  const shown = showBlock(block);
  return version === 4 ? { DestinationCidrBlock: shown } : { DestinationIpv6CidrBlock: shown };
}

const noRoute = (tableId: string, destination: string) =>
  new AwsError(
    "InvalidRoute.NotFound",
    `no route with destination-cidr-block ${destination} in route table ${tableId}`,
  );

export const routeTableActions = ({ operations: n, records }: Network) => {
  /** The one target of a route, which must be there. */
  const readTarget = async (
    input: Input<"CreateRoute"> | Input<"ReplaceRoute">,
    table: TableRecord,
    call: Call,
  ): Promise<Partial<Route>> => {
    if ("VpcEndpointId" in input && input.VpcEndpointId !== undefined) {
      await records.require(
        records.kindNamed("vpc-endpoint"),
        call.account_id,
        input.VpcEndpointId,
      );
      return { GatewayId: input.VpcEndpointId };
    }
    const names = Object.keys(targets) as (keyof typeof targets)[];
    const givenNames = names.filter((name) => input[name] !== undefined);
    if (givenNames.length === 0) throw missingParameter("GatewayId or another target");
    exactlyOne(input, names);
    const [name = "GatewayId"] = givenNames;
    const id = String(input[name]);
    const kindName = targets[name];
    if (kindName !== undefined) {
      await records.require(records.kindNamed(kindName), call.account_id, id);
    } else if (name === "GatewayId") {
      if (id === "local") return { GatewayId: "local" };
      if (id.startsWith("vgw-")) {
        await records.require(vpnGateway, call.account_id, id);
      } else {
        const gateway = await records.require(internetGateway, call.account_id, id).catch(
          (error) => {
            if (!(error instanceof AwsError) || error.status >= 500) throw error;
            throw new AwsError(
              "InvalidGatewayID.NotFound",
              `The gateway ID '${id}' does not exist`,
            );
          },
        );
        if (!gateway.shape.Attachments?.some((one) => one.VpcId === table.shape.VpcId)) {
          throw invalidParameter(
            "gatewayId",
            id,
            `route table ${table.id} and network gateway ${id} belong to different networks`,
          );
        }
      }
    } else if (name === "InstanceId") {
      const [eni] = records.find(networkInterface, call.account_id, id);
      if (eni === undefined) {
        throw new AwsError("InvalidInstanceID.NotFound", `The instance ID '${id}' does not exist`);
      }
      return { InstanceId: id, InstanceOwnerId: call.account_id, NetworkInterfaceId: eni.id };
    }
    return { [name]: id };
  };
  const byAssociation = (id: string, call: Call) => {
    const [table] = records.find(routeTable, call.account_id, id);
    const found = table?.shape.Associations?.find((one) => one.RouteTableAssociationId === id);
    if (table === undefined || found === undefined) {
      throw new AwsError(
        "InvalidAssociationID.NotFound",
        `The association ID '${id}' does not exist`,
      );
    }
    return { table, association: found };
  };
  return {
    CreateRouteTable: n.creates(routeTable, {
      answer: "RouteTable",
      make: async (input, call) => {
        const of = await records.require(vpc, call.account_id, input.VpcId);
        const empty = { Associations: [], PropagatingVgws: [], VpcId: of.id };
        const none: TableRecord = { account_id: "", id: "", tags: {}, created: "", shape: empty };
        return { ...empty, ...localRoutes(none, of) };
      },
    }),
    DescribeRouteTables: n.describes(routeTable, { list: "RouteTables", ids: "RouteTableIds" }),
    DeleteRouteTable: n.deletes(routeTable, {
      id: "RouteTableId",
      refuse: (record) => {
        if ((record.shape.Associations ?? []).length > 0) {
          throw new AwsError(
            "DependencyViolation",
            `The routeTable '${record.id}' has dependencies and cannot be deleted.`,
          );
        }
      },
    }),

    AssociateRouteTable: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        exactlyOne(input, ["SubnetId", "GatewayId", "PublicIpv4Pool"]);
        const present = record.shape.Associations ?? [];
        if (input.SubnetId !== undefined) {
          const of = await records.require(subnet, call.account_id, input.SubnetId);
          if (of.shape.VpcId !== record.shape.VpcId) {
            throw invalidParameter("subnetId", of.id, `It is not in the VPC of ${record.id}.`);
          }
          const [other] = records.find(routeTable, call.account_id, of.id);
          if (other !== undefined && other.id !== record.id) {
            throw new AwsError(
              "Resource.AlreadyAssociated",
              `the specified association for route table ${record.id} conflicts with an existing association`,
            );
          }
          if (present.some((one) => one.SubnetId === of.id)) return {};
          return { Associations: [...present, association(record.id, { SubnetId: of.id })] };
        }
        const gateway = input.GatewayId ?? "";
        if (gateway.startsWith("vgw-")) await records.require(vpnGateway, call.account_id, gateway);
        else await records.require(internetGateway, call.account_id, gateway);
        if (present.some((one) => one.GatewayId === gateway)) return {};
        return { Associations: [...present, association(record.id, { GatewayId: gateway })] };
      },
      answer: (record, input) => ({
        AssociationId: record.shape.Associations?.find((one) =>
          input.SubnetId !== undefined
            ? one.SubnetId === input.SubnetId
            : one.GatewayId === input.GatewayId
        )?.RouteTableAssociationId,
        AssociationState: { State: "associated" },
      }),
    }),
    DisassociateRouteTable: n.changes(routeTable, {
      id: (input, call) => byAssociation(input.AssociationId, call).table.id,
      change: (record, input, call) => {
        if (byAssociation(input.AssociationId, call).association.Main === true) {
          throw invalidParameter(
            "AssociationId",
            input.AssociationId,
            "The main route table of a VPC cannot be disassociated.",
          );
        }
        return {
          Associations: record.shape.Associations?.filter((one) =>
            one.RouteTableAssociationId !== input.AssociationId
          ),
        };
      },
    }),
    ReplaceRouteTableAssociation: n.changes(routeTable, {
      id: "RouteTableId",
      change: (record, input, call) => {
        const { table, association: old } = byAssociation(input.AssociationId, call);
        if (table.shape.VpcId !== record.shape.VpcId) {
          throw invalidParameter("routeTableId", record.id, "It belongs to another VPC.");
        }
        if (table.id === record.id) return {};
        const fresh = {
          ...old,
          RouteTableId: record.id,
          RouteTableAssociationId: newId("rtbassoc-"),
        };
        return { Associations: [...record.shape.Associations ?? [], fresh] };
      },
      after: async (record, input, call) => {
        const [old] = records.find(routeTable, call.account_id, input.AssociationId)
          .filter((one) => one.id !== record.id);
        if (old === undefined) return;
        await records.change(routeTable, call.account_id, old.id, (now) => ({
          Associations: now.shape.Associations?.filter((one) =>
            one.RouteTableAssociationId !== input.AssociationId
          ),
        }));
      },
      answer: (record) => ({
        NewAssociationId: record.shape.Associations?.at(-1)?.RouteTableAssociationId,
        AssociationState: { State: "associated" },
      }),
    }),

    CreateRoute: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        const destination = readDestination(input);
        const target = await readTarget(input, record, call);
        const routes = record.shape.Routes ?? [];
        if (routes.some((one) => destinationOf(one) === destinationOf(destination))) {
          throw new AwsError(
            "RouteAlreadyExists",
            `The route identified by ${destinationOf(destination)} already exists.`,
          );
        }
        if (routes.length >= 500) {
          throw new AwsError("RouteLimitExceeded", "A route table may have 500 routes.");
        }
        return {
          Routes: [...routes, {
            ...destination,
            ...target,
            Origin: "CreateRoute",
            State: "active",
          }],
        };
      },
    }),
    ReplaceRoute: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        const destination = readDestination(input);
        const target = input.LocalTarget === true
          ? { GatewayId: "local" }
          : await readTarget(input, record, call);
        const routes = record.shape.Routes ?? [];
        const old = routes.find((one) => destinationOf(one) === destinationOf(destination));
        if (old === undefined) throw noRoute(record.id, destinationOf(destination));
        const fresh: Route = {
          ...destination,
          ...target,
          ...(old.Origin === undefined ? {} : { Origin: old.Origin }),
          State: "active",
        };
        return { Routes: routes.map((one) => one === old ? fresh : one) };
      },
    }),
    DeleteRoute: n.changes(routeTable, {
      id: "RouteTableId",
      change: (record, input) => {
        const destination = destinationOf(readDestination(input));
        const old = record.shape.Routes?.find((one) => destinationOf(one) === destination);
        if (old === undefined) throw noRoute(record.id, destination);
        if (old.GatewayId === "local") {
          throw invalidParameter(
            "destinationCidrBlock",
            destination,
            `cannot remove local route ${destination} in route table ${record.id}`,
          );
        }
        return { Routes: record.shape.Routes?.filter((one) => one !== old) };
      },
    }),
    EnableVgwRoutePropagation: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        const gateway = await records.require(vpnGateway, call.account_id, input.GatewayId);
        if (!gateway.shape.VpcAttachments?.some((one) => one.VpcId === record.shape.VpcId)) {
          throw new AwsError(
            "Gateway.NotAttached",
            `The gateway '${gateway.id}' is not attached to the VPC of ${record.id}.`,
          );
        }
        const others = record.shape.PropagatingVgws?.filter((one) => one.GatewayId !== gateway.id);
        return { PropagatingVgws: [...others ?? [], { GatewayId: gateway.id }] };
      },
    }),
    DisableVgwRoutePropagation: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        await records.require(vpnGateway, call.account_id, input.GatewayId);
        return {
          PropagatingVgws: record.shape.PropagatingVgws?.filter((one) =>
            one.GatewayId !== input.GatewayId
          ),
        };
      },
    }),
  } satisfies ActionTable;
};
