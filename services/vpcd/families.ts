/** Every family of actions on what vpcd keeps. */
import { connectEndpointActions } from "./connect_endpoints.ts";
import { dhcpActions } from "./dhcp_options.ts";
import { elasticAddressActions } from "./elastic_addresses.ts";
import { endpointConnectionActions } from "./endpoint_connections.ts";
import { endpointServiceActions } from "./endpoint_services.ts";
import { endpointActions } from "./endpoints.ts";
import { flowLogActions } from "./flow_logs.ts";
import { interfaceActions } from "./interfaces.ts";
import { internetGatewayActions } from "./internet_gateways.ts";
import { localGatewayActions } from "./local_gateways.ts";
import { natGatewayActions } from "./nat_gateways.ts";
import type { Network } from "./network.ts";
import { networkAclActions } from "./network_acls.ts";
import { peeringActions } from "./peering.ts";
import { prefixListActions } from "./prefix_lists.ts";
import { protectionActions } from "./protections.ts";
import { routeServerActions } from "./route_servers.ts";
import { routeTableActions } from "./route_tables.ts";
import { securityGroupRuleActions } from "./security_group_rules.ts";
import { securityGroupActions } from "./security_groups.ts";
import { subnetActions } from "./subnets.ts";
import { trafficMirrorActions } from "./traffic_mirrors.ts";
import { transitGatewayActions } from "./transit_gateways.ts";
import { vpcActions } from "./vpcs.ts";
import { vpnActions } from "./vpn.ts";

export const families = (network: Network) => ({
  ...dhcpActions(network),
  ...endpointActions(network),
  ...endpointConnectionActions(network),
  ...endpointServiceActions(network),
  ...localGatewayActions(network),
  ...connectEndpointActions(network),
  ...flowLogActions(network),
  ...trafficMirrorActions(network),
  ...prefixListActions(network),
  ...protectionActions(network),
  ...routeServerActions(network),
  ...elasticAddressActions(network),
  ...interfaceActions(network),
  ...internetGatewayActions(network),
  ...natGatewayActions(network),
  ...networkAclActions(network),
  ...peeringActions(network),
  ...routeTableActions(network),
  ...securityGroupActions(network),
  ...securityGroupRuleActions(network),
  ...subnetActions(network),
  ...transitGatewayActions(network),
  ...vpcActions(network),
  ...vpnActions(network),
});
