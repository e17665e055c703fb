/** Route tables as records, with their routes and associations. */
import { type AnyKind, kind, type KindRecord, type OtherRecords } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { endpoint } from "./endpoints.ts";
import { networkInterface } from "./interfaces.ts";
import { carrierGateway, egressOnlyGateway, internetGateway } from "./internet_gateways.ts";
import { localGateway } from "./local_gateways.ts";
import { natGateway } from "./nat_gateways.ts";
import { peering } from "./peering.ts";
import { transitGateway } from "./transit_gateways.ts";
import { vpnGateway } from "./vpn.ts";

export type RouteTableShape = Shape<Ec2.RouteTable>;
export type TableRecord = KindRecord<RouteTableShape>;
type Route = Shape<Ec2.Route>;

export const targets = {
  CarrierGatewayId: "carrier-gateway",
  CoreNetworkArn: undefined,
  EgressOnlyInternetGatewayId: "egress-only-internet-gateway",
  GatewayId: undefined,
  InstanceId: undefined,
  LocalGatewayId: "local-gateway",
  NatGatewayId: "natgateway",
  NetworkInterfaceId: "network-interface",
  TransitGatewayId: "transit-gateway",
  VpcPeeringConnectionId: "vpc-peering-connection",
} as const;

/** The routes with their states: one whose target leads nowhere any more is a black hole. */
const routesOf = (table: TableRecord, others: OtherRecords): Route[] =>
  (table.shape.Routes ?? []).map((route) => ({
    ...route,
    State: leadsOn(route, table, others) ? "active" : "blackhole",
  }));

function leadsOn(route: Route, { account_id, shape }: TableRecord, others: OtherRecords): boolean {
  const isThere = (one: AnyKind, id: string) => others.get(one, account_id, id) !== undefined;
  if (route.GatewayId !== undefined) {
    const id = route.GatewayId;
    const attached = others.get(internetGateway, account_id, id)?.shape.Attachments ??
      others.get(vpnGateway, account_id, id)?.shape.VpcAttachments;
    return id === "local" || isThere(endpoint, id) ||
      attached?.some((one) => one.VpcId === shape.VpcId) === true;
  }
  if (route.NatGatewayId !== undefined) {
    const state = others.get(natGateway, account_id, route.NatGatewayId)?.shape.State;
    return state === "available" || state === "pending";
  }
  if (route.VpcPeeringConnectionId !== undefined) {
    const link = others.visible(peering, account_id, route.VpcPeeringConnectionId);
    return link?.shape.Status?.Code === "active";
  }
  if (route.NetworkInterfaceId !== undefined) {
    const eni = others.get(networkInterface, account_id, route.NetworkInterfaceId);
    return eni !== undefined &&
      (route.InstanceId === undefined || eni.shape.Attachment?.InstanceId === route.InstanceId);
  }
  for (
    const [one, id] of [
      [carrierGateway, route.CarrierGatewayId],
      [egressOnlyGateway, route.EgressOnlyInternetGatewayId],
      [localGateway, route.LocalGatewayId],
      [transitGateway, route.TransitGatewayId],
    ] as const
  ) {
    if (id !== undefined) return isThere(one, id);
  }
  return true;
}

export const routeTable = kind<RouteTableShape>({
  name: "route-table",
  idPrefix: "rtb-",
  id: "RouteTableId",
  notFound: "InvalidRouteTableID.NotFound",
  filters: [
    "association.gateway-id=Associations.GatewayId",
    "association.main=Associations.Main",
    "association.route-table-association-id=Associations.RouteTableAssociationId",
    "association.route-table-id=Associations.RouteTableId",
    "association.subnet-id=Associations.SubnetId",
    "route-table-id",
    "route.destination-cidr-block=Routes.DestinationCidrBlock",
    "route.destination-ipv6-cidr-block=Routes.DestinationIpv6CidrBlock",
    "route.destination-prefix-list-id=Routes.DestinationPrefixListId",
    "route.egress-only-internet-gateway-id=Routes.EgressOnlyInternetGatewayId",
    "route.gateway-id=Routes.GatewayId",
    "route.instance-id=Routes.InstanceId",
    "route.nat-gateway-id=Routes.NatGatewayId",
    "route.origin=Routes.Origin",
    "route.transit-gateway-id=Routes.TransitGatewayId",
    "route.vpc-peering-connection-id=Routes.VpcPeeringConnectionId",
    "vpc-id",
  ],
  computed: {
    "route.state": (record, others) => routesOf(record, others).map((route) => route.State),
  },
  shows: (record, others) => ({ Routes: routesOf(record, others) }),
  references: { VpcId: "vpc", "Associations.SubnetId": "subnet" },
  indexed: [
    "Associations.RouteTableAssociationId",
    "Associations.GatewayId",
    "Routes.DestinationPrefixListId",
    ...Object.keys(targets).map((name) => `Routes.${name}`),
  ],
  quota: { most: 5000, code: "RouteTableLimitExceeded" },
});
