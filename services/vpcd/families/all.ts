/** Every family of actions on what vpcd keeps. */
import { addressTransferActions } from "./address_transfers.ts";
import { cidrReservationActions } from "./cidr_reservations.ts";
import { coipPoolActions } from "./coip_pools.ts";
import { connectEndpointActions } from "./connect_endpoints.ts";
import { dhcpActions } from "./dhcp_options.ts";
import { elasticAddressActions } from "./elastic_addresses.ts";
import { endpointConnectionActions } from "./endpoint_connections.ts";
import { endpointServiceActions } from "./endpoint_services.ts";
import { endpointActions } from "./endpoints.ts";
import { flowLogActions } from "./flow_logs.ts";
import { interfaceAddressActions } from "./interface_addresses.ts";
import { interfacePermissionActions } from "./interface_permissions.ts";
import { interfaceActions } from "./interfaces.ts";
import { internetGatewayActions } from "./internet_gateways.ts";
import { localGatewayActions } from "./local_gateways.ts";
import { localInterfaceActions } from "./local_virtual_interfaces.ts";
import { natGatewayActions } from "./nat_gateways.ts";
import type { Network } from "../network.ts";
import { networkAclActions } from "./network_acls.ts";
import { peeringActions } from "./peering.ts";
import { prefixListActions } from "./prefix_lists.ts";
import { protectionActions } from "./protections.ts";
import { publicPoolActions } from "./public_pools.ts";
import { routeServerActions } from "./route_servers.ts";
import { routeTableActions } from "./route_tables.ts";
import { routeActions } from "./routes.ts";
import { securityGroupRuleActions } from "./security_group_rules.ts";
import { securityGroupActions } from "./security_groups.ts";
import { subnetActions } from "./subnets.ts";
import { trafficMirrorActions } from "./traffic_mirrors.ts";
import { transitAttachmentActions } from "./transit_attachments.ts";
import { transitGatewayActions } from "./transit_gateways.ts";
import { transitRouteTableActions } from "./transit_route_tables.ts";
import { vpcActions } from "./vpcs.ts";
import { vpnActions } from "./vpn.ts";

export const families = (network: Network) => ({
  ...addressTransferActions(network),
  ...cidrReservationActions(network),
  ...coipPoolActions(network),
  ...connectEndpointActions(network),
  ...dhcpActions(network),
  ...elasticAddressActions(network),
  ...endpointActions(network),
  ...endpointConnectionActions(network),
  ...endpointServiceActions(network),
  ...flowLogActions(network),
  ...interfaceActions(network),
  ...interfaceAddressActions(network),
  ...interfacePermissionActions(network),
  ...internetGatewayActions(network),
  ...localGatewayActions(network),
  ...localInterfaceActions(network),
  ...natGatewayActions(network),
  ...networkAclActions(network),
  ...peeringActions(network),
  ...prefixListActions(network),
  ...protectionActions(network),
  ...publicPoolActions(network),
  ...routeActions(network),
  ...routeServerActions(network),
  ...routeTableActions(network),
  ...securityGroupActions(network),
  ...securityGroupRuleActions(network),
  ...subnetActions(network),
  ...trafficMirrorActions(network),
  ...transitAttachmentActions(network),
  ...transitGatewayActions(network),
  ...transitRouteTableActions(network),
  ...vpcActions(network),
  ...vpnActions(network),
});
