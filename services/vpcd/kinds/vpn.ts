/** Customer gateways, VPN gateways and the connections between them, as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export const customerGateway = kind<Shape<Ec2.CustomerGateway>>({
  name: "customer-gateway",
  idPrefix: "cgw-",
  id: "CustomerGatewayId",
  owner: null,
  notFound: "InvalidCustomerGatewayID.NotFound",
  malformed: "InvalidCustomerGatewayId.Malformed",
  filters: ["bgp-asn", "customer-gateway-id", "ip-address", "state", "type"],
  settles: { member: "State", to: { pending: "available" } },
  quota: { most: 500, code: "CustomerGatewayLimitExceeded" },
});

export const vpnGateway = kind<Shape<Ec2.VpnGateway>>({
  name: "vpn-gateway",
  idPrefix: "vgw-",
  id: "VpnGatewayId",
  owner: null,
  notFound: "InvalidVpnGatewayID.NotFound",
  malformed: "InvalidVpnGatewayId.Malformed",
  filters: [
    "amazon-side-asn",
    "attachment.state=VpcAttachments.State",
    "attachment.vpc-id=VpcAttachments.VpcId",
    "availability-zone",
    "state",
    "type",
    "vpn-gateway-id",
  ],
  references: { "VpcAttachments.VpcId": "vpc" },
  settles: { member: "State", to: { pending: "available" } },
  quota: { most: 500, code: "VpnGatewayLimitExceeded" },
});

export type ConnectionShape = Shape<Ec2.VpnConnection>;
export const vpnConnection = kind<ConnectionShape>({
  name: "vpn-connection",
  idPrefix: "vpn-",
  id: "VpnConnectionId",
  owner: null,
  notFound: "InvalidVpnConnectionID.NotFound",
  malformed: "InvalidVpnConnectionID",
  filters: [
    "customer-gateway-id",
    "option.static-routes-only=Options.StaticRoutesOnly",
    "route.destination-cidr-block=Routes.DestinationCidrBlock",
    "state",
    "transit-gateway-id",
    "type",
    "vpn-connection-id",
    "vpn-gateway-id",
  ],
  references: {
    CustomerGatewayId: "customer-gateway",
    VpnGatewayId: "vpn-gateway",
    TransitGatewayId: "transit-gateway",
  },
  settles: {
    member: "State",
    to: { pending: "available", modifying: "available", deleting: "deleted" },
  },
});
