/** What others may know of vpcd: its actions, its records of interfaces, and what it answers. */
import { subject } from "../bus/subject.ts";
import type { KindRecord } from "../resources/kind.ts";
import { tagQuestionsOf } from "../resources/tag_questions.ts";
import type { Ec2, Shape } from "../resources/wire.ts";

export * from "./action_names.ts";

/** KV buckets. Keys are `<account_id>.<resource id>`. */
export const buckets = {
  records: "vpc_records",
  clientTokens: "vpc_client_tokens",
} as const;

export const tagQuestions = tagQuestionsOf("vpcd");

/** VPCs that an account may have, which nobody sets: gateways come one to a VPC. */
export const mostVpcs = 200;

/** Network interfaces as they lie in the bucket, which also holds everything else of vpcd. */
export type InterfaceRecord = KindRecord<Shape<Ec2.NetworkInterface>>;
export const interfacePrefix = "eni-";

/** What a launch wants of its network; everything is chosen where nothing is given. */
export interface InterfaceWish {
  readonly subnet_id?: string | undefined;
  readonly group_ids?: readonly string[] | undefined;
  /** Names of groups of the default VPC. */
  readonly group_names?: readonly string[] | undefined;
  readonly private_ip?: string | undefined;
  readonly secondary_ips?: readonly string[] | undefined;
  readonly secondary_count?: number | undefined;
  /** An interface that is there already. */
  readonly interface_id?: string | undefined;
  readonly device_index: number;
  readonly description?: string | undefined;
  readonly delete_on_termination: boolean;
  readonly tags?: Readonly<Record<string, string>> | undefined;
}

/** One interface of an instance, as an instance's record keeps it. */
export interface InstanceInterface {
  readonly interface_id: string;
  readonly attachment_id: string;
  readonly device_index: number;
  readonly delete_on_termination: boolean;
  readonly subnet_id: string;
  readonly subnet_cidr: string;
  readonly vpc_id: string;
  readonly vpc_cidrs: readonly string[];
  readonly mac: string;
  readonly private_ip: string;
  readonly private_ips: readonly string[];
  readonly private_dns_name: string;
  readonly groups: readonly { readonly id: string; readonly name: string }[];
  readonly public_ip?: string;
  readonly description: string;
  readonly source_dest_check: boolean;
}

export interface ClaimRequest {
  readonly account_id: string;
  readonly instance_id: string;
  /** Nothing is made: only whether it could be. */
  readonly check_only?: boolean;
  /** How many instances the launch may make, for the check of free addresses. */
  readonly count?: number;
  readonly wishes: readonly InterfaceWish[];
}

/**
 * Makes and attaches an instance's interfaces, or answers those that it has: a step that may be
 * repeated. @throws AwsError in EC2's codes
 */
export const claimInterfaces = subject<ClaimRequest, readonly InstanceInterface[]>(
  "vpcd.interfaces.claim",
  20_000,
);

/** Deletes what goes with the instance and frees the rest; repeating it is no error. */
export const releaseInterfaces = subject<
  { readonly account_id: string; readonly instance_id: string },
  null
>("vpcd.interfaces.release", 20_000);

/** Instances that have had interfaces for a while, so that those which came to nothing are found. */
export const sweepInterfaces = subject<
  null,
  readonly { readonly account_id: string; readonly instance_id: string }[]
>("vpcd.interfaces.held", 10_000);

/** The interfaces of an instance now. */
export const instanceInterfaces = subject<
  { readonly account_id: string; readonly instance_id: string },
  readonly InstanceInterface[]
>("vpcd.interfaces.of_instance", 5_000);

/** Changes an instance's primary interface. @throws AwsError in EC2's codes */
export const modifyInterface = subject<
  {
    readonly account_id: string;
    readonly instance_id: string;
    readonly group_ids?: readonly string[];
    readonly source_dest_check?: boolean;
  },
  null
>("vpcd.interfaces.modify", 10_000);

/** The account's default VPC, if it has one. */
export const defaultNetwork = subject<
  { readonly account_id: string },
  { readonly vpc_id?: string }
>("vpcd.default_network", 5_000);

/** Event: an instance's interfaces have changed. */
export const interfacesChanged = "vpcd.event.interfaces";
export interface InterfacesChanged {
  readonly account_id: string;
  readonly instance_id: string;
}

/** Whether the rules of the groups let TCP in to `port` from somewhere. */
export const portIsOpen = subject<
  { readonly account_id: string; readonly group_ids: readonly string[]; readonly port: number },
  { readonly open: boolean }
>("vpcd.port_is_open", 5_000);

/** Types of vpcd's resources by the prefix of their ids. */
export const resourceTypes: Readonly<Record<string, string>> = {
  "account-": "account-network",
  "acl-": "network-acl",
  "cagw-": "carrier-gateway",
  "cgw-": "customer-gateway",
  "dopt-": "dhcp-options",
  "eice-": "instance-connect-endpoint",
  "eigw-": "egress-only-internet-gateway",
  "eipalloc-": "elastic-ip",
  "eni-": "network-interface",
  "eni-perm-": "network-interface-permission",
  "fl-": "vpc-flow-log",
  "igw-": "internet-gateway",
  "ipv4pool-coip-": "coip-pool",
  "ipv4pool-ec2-": "ipv4pool-ec2",
  "lgw-": "local-gateway",
  "lgw-rtb-": "local-gateway-route-table",
  "lgw-vif-": "local-gateway-virtual-interface",
  "lgw-vif-grp-": "local-gateway-virtual-interface-group",
  "lgw-vif-grp-assoc-": "local-gateway-route-table-virtual-interface-group-association",
  "lgw-vpc-assoc-": "local-gateway-route-table-vpc-association",
  "nat-": "natgateway",
  "pcx-": "vpc-peering-connection",
  "pl-": "prefix-list",
  "rs-": "route-server",
  "rse-": "route-server-endpoint",
  "rsp-": "route-server-peer",
  "rtb-": "route-table",
  "scr-": "subnet-cidr-reservation",
  "sg-": "security-group",
  "sgr-": "security-group-rule",
  "subnet-": "subnet",
  "tgw-": "transit-gateway",
  "tgw-attach-": "transit-gateway-attachment",
  "tgw-rtb-": "transit-gateway-route-table",
  "tmf-": "traffic-mirror-filter",
  "tmfr-": "traffic-mirror-filter-rule",
  "tms-": "traffic-mirror-session",
  "tmt-": "traffic-mirror-target",
  "vgw-": "vpn-gateway",
  "vpc-": "vpc",
  "vpcbpa-exclude-": "vpc-block-public-access-exclusion",
  "vpce-": "vpc-endpoint",
  "vpce-nfn-": "vpc-endpoint-connection-notification",
  "vpce-svc-": "vpc-endpoint-service",
  "vpcec-": "vpc-encryption-control",
  "vpn-": "vpn-connection",
};
