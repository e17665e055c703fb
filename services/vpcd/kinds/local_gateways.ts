/** Local gateways with their tables, virtual interfaces, groups, associations and pools, as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export const localGateway = kind<Shape<Ec2.LocalGateway>>({
  name: "local-gateway",
  idPrefix: "lgw-",
  id: "LocalGatewayId",
  notFound: "InvalidLocalGatewayID.NotFound",
  filters: ["local-gateway-id", "outpost-arn", "state"],
});

export type Route = Shape<Ec2.LocalGatewayRoute>;
export type TableShape = Shape<Ec2.LocalGatewayRouteTable> & { readonly Routes?: readonly Route[] };
export const localTable = kind<TableShape>({
  name: "local-gateway-route-table",
  idPrefix: "lgw-rtb-",
  id: "LocalGatewayRouteTableId",
  notFound: "InvalidLocalGatewayRouteTableID.NotFound",
  filters: [
    "local-gateway-id",
    "local-gateway-route-table-id",
    "local-gateway-route-table-arn",
    "outpost-arn",
    "state",
  ],
  references: {
    LocalGatewayId: "local-gateway",
    "Routes.LocalGatewayVirtualInterfaceGroupId": "local-gateway-virtual-interface-group",
    "Routes.NetworkInterfaceId": "network-interface",
  },
  settles: { member: "State", to: { pending: "available", deleting: "deleted" } },
});

export const localGroup = kind<Shape<Ec2.LocalGatewayVirtualInterfaceGroup>>({
  name: "local-gateway-virtual-interface-group",
  idPrefix: "lgw-vif-grp-",
  id: "LocalGatewayVirtualInterfaceGroupId",
  notFound: "InvalidLocalGatewayVirtualInterfaceGroupID.NotFound",
  filters: [
    "local-gateway-id",
    "local-gateway-virtual-interface-group-id",
    "local-gateway-virtual-interface-id=LocalGatewayVirtualInterfaceIds",
  ],
  references: { LocalGatewayId: "local-gateway" },
  settles: { member: "ConfigurationState", to: { pending: "available", deleting: "deleted" } },
});

export const localInterface = kind<Shape<Ec2.LocalGatewayVirtualInterface>>({
  name: "local-gateway-virtual-interface",
  idPrefix: "lgw-vif-",
  id: "LocalGatewayVirtualInterfaceId",
  notFound: "InvalidLocalGatewayVirtualInterfaceID.NotFound",
  filters: [
    "local-address",
    "local-bgp-asn",
    "local-gateway-id",
    "local-gateway-virtual-interface-id",
    "peer-address",
    "peer-bgp-asn",
    "vlan",
  ],
  references: { LocalGatewayVirtualInterfaceGroupId: "local-gateway-virtual-interface-group" },
  settles: { member: "ConfigurationState", to: { pending: "available", deleting: "deleted" } },
});

export const localVpc = kind<Shape<Ec2.LocalGatewayRouteTableVpcAssociation>>({
  name: "local-gateway-route-table-vpc-association",
  idPrefix: "lgw-vpc-assoc-",
  id: "LocalGatewayRouteTableVpcAssociationId",
  notFound: "InvalidLocalGatewayRouteTableVpcAssociationID.NotFound",
  filters: [
    "local-gateway-id",
    "local-gateway-route-table-id",
    "local-gateway-route-table-vpc-association-id",
    "state",
    "vpc-id",
  ],
  references: { LocalGatewayRouteTableId: "local-gateway-route-table", VpcId: "vpc" },
  settles: { member: "State", to: { associating: "associated", disassociating: "deleted" } },
});

export const localGroupAssociation = kind<
  Shape<Ec2.LocalGatewayRouteTableVirtualInterfaceGroupAssociation>
>({
  name: "local-gateway-route-table-virtual-interface-group-association",
  idPrefix: "lgw-vif-grp-assoc-",
  id: "LocalGatewayRouteTableVirtualInterfaceGroupAssociationId",
  notFound: "InvalidLocalGatewayRouteTableVirtualInterfaceGroupAssociationID.NotFound",
  filters: [
    "local-gateway-id",
    "local-gateway-route-table-id",
    "local-gateway-route-table-virtual-interface-group-association-id",
    "local-gateway-route-table-virtual-interface-group-id=LocalGatewayVirtualInterfaceGroupId",
    "state",
  ],
  references: {
    LocalGatewayRouteTableId: "local-gateway-route-table",
    LocalGatewayVirtualInterfaceGroupId: "local-gateway-virtual-interface-group",
  },
  settles: { member: "State", to: { associating: "associated", disassociating: "deleted" } },
});

export const coipPool = kind<Shape<Ec2.CoipPool>>({
  name: "coip-pool",
  idPrefix: "ipv4pool-coip-",
  id: "PoolId",
  owner: null,
  notFound: "InvalidPoolID.NotFound",
  filters: [
    "coip-pool.local-gateway-route-table-id=LocalGatewayRouteTableId",
    "coip-pool.pool-id=PoolId",
  ],
  references: { LocalGatewayRouteTableId: "local-gateway-route-table" },
});
