/** How a network interface comes about: its groups and addresses, and the interfaces of the cloud's own services. */
import { AwsError } from "../../aws/errors.ts";
import { idOf } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import {
  checkAddress,
  checkIpv6,
  dnsName,
  freeAddresses,
  freeIpv6,
  mostAddresses,
  privateAddress,
  requireDistinct,
} from "./interface_addresses.ts";
import {
  type InterfaceRecord,
  type InterfaceShape,
  networkInterface,
} from "../kinds/interfaces.ts";
import { securityGroup } from "../kinds/security_groups.ts";
import { subnet, type SubnetRecord } from "../kinds/subnets.ts";
import { type Network, within } from "../network.ts";

export interface NewInterface {
  readonly subnet: SubnetRecord;
  readonly groups: readonly string[];
  readonly description: string;
  readonly primary?: string | undefined;
  readonly secondary?: readonly string[];
  readonly secondaryCount?: number;
  readonly ipv6?: readonly string[];
  readonly ipv6Count?: number;
  readonly type?: string;
}

/** Locally administered, unicast, begins with 06 as EC2's do. */
const randomMac = () =>
  `06:${crypto.getRandomValues(new Uint8Array(5)).toHex().match(/../g)?.join(":")}`;

/** Shape of an interface that is free of any instance. @throws AwsError */
export function interfaceShape(
  { records, region, az }: Network,
  wanted: NewInterface,
): InterfaceShape {
  const of = wanted.subnet;
  const groups = wanted.groups.length > 0
    ? wanted.groups
    : [(of.shape.VpcId ?? "").replace(/^vpc-/, "sg-")];
  const chosen = [
    ...wanted.primary === undefined ? [] : [wanted.primary],
    ...wanted.secondary ?? [],
  ];
  requireDistinct(chosen);
  for (const address of chosen) checkAddress(records, of, address);
  const count = wanted.secondaryCount ?? 0;
  within(count, 0, 1 << 16, "secondaryPrivateIpAddressCount");
  const missing = (wanted.primary === undefined ? 1 : 0) + count;
  const found = freeAddresses(records, of, missing, chosen);
  const primary = wanted.primary ?? found.shift() ?? "";
  const others = [...wanted.secondary ?? [], ...found.slice(0, count)];
  if (others.length >= mostAddresses) {
    throw new AwsError(
      "PrivateIpAddressLimitExceeded",
      "Number of private addresses will exceed limit.",
    );
  }
  const six = wanted.ipv6?.map((address) => checkIpv6(records, of, address)) ?? [];
  requireDistinct(six);
  within(six.length + (wanted.ipv6Count ?? 0), 0, mostAddresses, "ipv6AddressCount");
  if ((wanted.ipv6Count ?? 0) > 0) six.push(...freeIpv6(records, of, wanted.ipv6Count ?? 0, six));
  return {
    AvailabilityZone: of.shape.AvailabilityZone ?? az,
    Description: wanted.description,
    Groups: groupsOf(groups),
    InterfaceType: (wanted.type ?? "interface") as "interface",
    Ipv6Addresses: six.map((Ipv6Address) => ({ Ipv6Address })),
    MacAddress: randomMac(),
    PrivateDnsName: dnsName(region, primary),
    PrivateIpAddress: primary,
    PrivateIpAddresses: [
      privateAddress(region, primary, true),
      ...others.map((one) => privateAddress(region, one, false)),
    ],
    RequesterManaged: false,
    SourceDestCheck: true,
    Status: "available",
    SubnetId: of.id,
    VpcId: of.shape.VpcId,
  };
}

/** An interface's groups, each once. @throws AwsError for too many */
export function groupsOf(ids: readonly string[]) {
  const groups = [...new Set(ids)];
  if (groups.length > 16) {
    throw new AwsError(
      "SecurityGroupsPerInterfaceLimitExceeded",
      "The maximum number of security groups per interface has been reached.",
    );
  }
  return groups.map((GroupId) => ({ GroupId, GroupName: "" }));
}

/** Every group is there and belongs to the subnet's VPC. @throws AwsError `InvalidGroup.NotFound` */
export async function checkGroups(
  records: Records,
  account: string,
  vpcId: string | undefined,
  groups: readonly string[],
): Promise<void> {
  for (const id of groups) {
    const group = await records.require(securityGroup, account, id);
    const { VpcId, AssociatedVpcs = [] } = group.shape;
    if (VpcId !== vpcId && (vpcId === undefined || !AssociatedVpcs.includes(vpcId))) {
      throw new AwsError(
        "InvalidParameter",
        `Security group ${id} and the network interface belong to different networks.`,
      );
    }
  }
}

/**
 * The interface that a service of ours has in a subnet: nobody may detach it, and its id follows from
 * its owner's. A second call finds it.
 */
export async function makeServiceInterface(
  network: Network,
  account: string,
  owner: string,
  subnetId: string,
  wanted: {
    readonly groups: readonly string[];
    readonly description: string;
    readonly type: string;
  },
): Promise<InterfaceRecord> {
  const { records } = network;
  const id = await idOf("eni-", owner, subnetId);
  const present = records.get(networkInterface, account, id);
  if (present !== undefined) return present;
  const of = await records.require(subnet, account, subnetId);
  const shape = interfaceShape(network, { subnet: of, ...wanted });
  return await records.create(networkInterface, account, {
    ...shape,
    RequesterManaged: true,
    Status: "in-use",
  }, { id });
}

/** Takes away the interfaces that a service has in these subnets. */
export async function removeServiceInterfaces(
  { records }: Network,
  account: string,
  owner: string,
  subnetIds: readonly string[],
): Promise<void> {
  for (const one of subnetIds) {
    await records.remove(networkInterface, account, await idOf("eni-", owner, one));
  }
}
