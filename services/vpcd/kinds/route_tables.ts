/** Route tables as records, with their routes and associations. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type RouteTableShape = Shape<Ec2.RouteTable>;
export type TableRecord = KindRecord<RouteTableShape>;

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
    "route.state=Routes.State",
    "route.transit-gateway-id=Routes.TransitGatewayId",
    "route.vpc-peering-connection-id=Routes.VpcPeeringConnectionId",
    "vpc-id",
  ],
  references: { VpcId: "vpc", "Associations.SubnetId": "subnet" },
  indexed: [
    "Associations.RouteTableAssociationId",
    "Associations.GatewayId",
    "Routes.DestinationPrefixListId",
    ...Object.keys(targets).map((name) => `Routes.${name}`),
  ],
  quota: { most: 5000, code: "RouteTableLimitExceeded" },
});
