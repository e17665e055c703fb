/** Every kind that vpcd keeps and every family of actions on them. */
import { accountNetwork } from "./defaults.ts";
import { dhcpActions, dhcpOptions } from "./dhcp_options.ts";
import { endpointConnectionActions } from "./endpoint_connections.ts";
import { endpoint, endpointService, notification } from "./endpoint_kinds.ts";
import { endpointServiceActions } from "./endpoint_services.ts";
import { endpointActions } from "./endpoints.ts";
import {
  coipPool,
  localGateway,
  localGatewayActions,
  localGroup,
  localGroupAssociation,
  localInterface,
  localTable,
  localVpc,
} from "./local_gateways.ts";
import { connectEndpoint, connectEndpointActions } from "./connect_endpoints.ts";
import { flowLog, flowLogActions } from "./flow_logs.ts";
import {
  mirrorFilter,
  mirrorRule,
  mirrorSession,
  mirrorTarget,
  trafficMirrorActions,
} from "./traffic_mirrors.ts";
import { prefixList, prefixListActions } from "./prefix_lists.ts";
import { encryptionControl, exclusion, protectionActions } from "./protections.ts";
import {
  routeServer,
  routeServerActions,
  routeServerEndpoint,
  routeServerPeer,
} from "./route_servers.ts";
import { elasticAddress, elasticAddressActions, publicPool } from "./elastic_addresses.ts";
import { interfaceActions, networkInterface, permission } from "./interfaces.ts";
import {
  carrierGateway,
  egressOnlyGateway,
  internetGateway,
  internetGatewayActions,
} from "./internet_gateways.ts";
import { natGateway, natGatewayActions } from "./nat_gateways.ts";
import { networkAcl, networkAclActions } from "./network_acls.ts";
import type { Network } from "./network.ts";
import { peering, peeringActions } from "./peering.ts";
import { routeTable, routeTableActions } from "./route_tables.ts";
import { securityGroupRule, securityGroupRuleActions } from "./security_group_rules.ts";
import { securityGroup, securityGroupActions } from "./security_groups.ts";
import { reservation, subnet, subnetActions } from "./subnets.ts";
import {
  transitAttachment,
  transitGateway,
  transitGatewayActions,
  transitTable,
} from "./transit_gateways.ts";
import { vpc, vpcActions } from "./vpcs.ts";
import { customerGateway, vpnActions, vpnConnection, vpnGateway } from "./vpn.ts";

export const kinds = [
  coipPool,
  connectEndpoint,
  encryptionControl,
  endpoint,
  endpointService,
  exclusion,
  flowLog,
  localGateway,
  localGroup,
  localGroupAssociation,
  localInterface,
  localTable,
  localVpc,
  mirrorFilter,
  mirrorRule,
  mirrorSession,
  mirrorTarget,
  notification,
  prefixList,
  routeServer,
  routeServerEndpoint,
  routeServerPeer,
  accountNetwork,
  carrierGateway,
  customerGateway,
  dhcpOptions,
  egressOnlyGateway,
  elasticAddress,
  internetGateway,
  natGateway,
  networkAcl,
  networkInterface,
  peering,
  permission,
  publicPool,
  reservation,
  routeTable,
  securityGroup,
  securityGroupRule,
  subnet,
  transitAttachment,
  transitGateway,
  transitTable,
  vpc,
  vpnConnection,
  vpnGateway,
];

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
