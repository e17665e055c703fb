/**
 * Route tables, their routes and associations. A VPC has one main table, which subnets without an
 * association of their own follow; `routes.ts` has their routes.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { idOf, newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { internetGateway } from "../kinds/internet_gateways.ts";
import { routeTable, type RouteTableShape, type TableRecord } from "../kinds/route_tables.ts";
import { subnet } from "../kinds/subnets.ts";
import { vpc, type VpcRecord } from "../kinds/vpcs.ts";
import { vpnGateway } from "../kinds/vpn.ts";
import { exactlyOne, type Network } from "../network.ts";
import { requireSameNetwork } from "./routes.ts";

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

export const routeTableActions = ({ operations: n, records }: Network) => {
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
        const attached = gateway.startsWith("vgw-")
          ? (await records.require(vpnGateway, call.account_id, gateway)).shape.VpcAttachments
          : (await records.require(internetGateway, call.account_id, gateway)).shape.Attachments;
        requireSameNetwork(record, gateway, attached);
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
        const fresh = {
          ...old,
          RouteTableId: record.id,
          RouteTableAssociationId: newId("rtbassoc-"),
        };
        const others = record.shape.Associations?.filter((one) =>
          one.SubnetId !== old.SubnetId || one.GatewayId !== old.GatewayId ||
          one.Main !== old.Main
        );
        return { Associations: [...others ?? [], fresh] };
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
