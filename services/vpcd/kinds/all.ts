/** Every kind that vpcd keeps. */
import { accountNetwork } from "./account_networks.ts";
import { connectEndpoint } from "./connect_endpoints.ts";
import { dhcpOptions } from "./dhcp_options.ts";
import { elasticAddress, publicPool } from "./elastic_addresses.ts";
import { endpoint, endpointService, notification } from "./endpoints.ts";
import { flowLog } from "./flow_logs.ts";
import { networkInterface, permission } from "./interfaces.ts";
import { carrierGateway, egressOnlyGateway, internetGateway } from "./internet_gateways.ts";
import {
  coipPool,
  localGateway,
  localGroup,
  localGroupAssociation,
  localInterface,
  localTable,
  localVpc,
} from "./local_gateways.ts";
import { natGateway } from "./nat_gateways.ts";
import { networkAcl } from "./network_acls.ts";
import { peering } from "./peering.ts";
import { prefixList } from "./prefix_lists.ts";
import { encryptionControl, exclusion } from "./protections.ts";
import { routeServer, routeServerEndpoint, routeServerPeer } from "./route_servers.ts";
import { routeTable } from "./route_tables.ts";
import { securityGroupRule } from "./security_group_rules.ts";
import { securityGroup } from "./security_groups.ts";
import { reservation, subnet } from "./subnets.ts";
import { mirrorFilter, mirrorRule, mirrorSession, mirrorTarget } from "./traffic_mirrors.ts";
import { transitAttachment, transitGateway, transitTable } from "./transit_gateways.ts";
import { vpc } from "./vpcs.ts";
import { customerGateway, vpnConnection, vpnGateway } from "./vpn.ts";

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
