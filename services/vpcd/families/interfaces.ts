/** Network interfaces: how one is made, attached, changed and shown. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidValue } from "../../resources/errors.ts";
import { idOf, newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import { showTags } from "../../resources/tags.ts";
import {
  checkAddress,
  dnsName,
  freeAddresses,
  freeIpv6,
  mostAddresses,
  privateAddress,
} from "./interface_addresses.ts";
import { elasticAddress, freeOf } from "../kinds/elastic_addresses.ts";
import {
  type InterfaceRecord,
  type InterfaceShape,
  networkInterface,
  permission,
} from "../kinds/interfaces.ts";
import { securityGroup } from "../kinds/security_groups.ts";
import { subnet, type SubnetRecord } from "../kinds/subnets.ts";
import { exactlyOne, type Network, oneOf, within } from "../network.ts";

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
export const randomMac = () =>
  `06:${crypto.getRandomValues(new Uint8Array(5)).toHex().match(/../g)?.join(":")}`;

/** Shape of an interface that is free of any instance. @throws AwsError */
export function interfaceShape(
  { records, region, az }: Network,
  account: string,
  wanted: NewInterface,
): InterfaceShape {
  const of = wanted.subnet;
  const groups = wanted.groups.length > 0
    ? [...new Set(wanted.groups)]
    : [(of.shape.VpcId ?? "").replace(/^vpc-/, "sg-")];
  if (groups.length > 16) {
    throw new AwsError(
      "SecurityGroupsPerInterfaceLimitExceeded",
      "The maximum number of security groups per interface has been reached.",
    );
  }
  const chosen = [
    ...wanted.primary === undefined ? [] : [wanted.primary],
    ...wanted.secondary ?? [],
  ];
  if (new Set(chosen).size !== chosen.length) {
    throw invalidValue("The same private address is given more than once.");
  }
  for (const address of chosen) checkAddress(records, of, address);
  const missing = (wanted.primary === undefined ? 1 : 0) + (wanted.secondaryCount ?? 0);
  const found = freeAddresses(records, of, missing + chosen.length)
    .filter((one) => !chosen.includes(one));
  const primary = wanted.primary ?? found.shift() ?? "";
  const others = [...wanted.secondary ?? [], ...found.slice(0, wanted.secondaryCount ?? 0)];
  if (others.length >= mostAddresses) {
    throw new AwsError(
      "PrivateIpAddressLimitExceeded",
      "Number of private addresses will exceed limit.",
    );
  }
  const six = [
    ...wanted.ipv6 ?? [],
    ...(wanted.ipv6Count ?? 0) > 0 ? freeIpv6(records, of, wanted.ipv6Count ?? 0) : [],
  ];
  return {
    AvailabilityZone: of.shape.AvailabilityZone ?? az,
    Description: wanted.description,
    Groups: groups.map((GroupId) => ({ GroupId, GroupName: "" })),
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
    ...(account === "" ? {} : {}),
  };
}

/** Groups with their names, which may change. */
export function showInterface(records: Records, record: InterfaceRecord) {
  return {
    ...records.show(networkInterface, record),
    Groups: (record.shape.Groups ?? []).map(({ GroupId }) => ({
      GroupId,
      GroupName: records.get(securityGroup, record.account_id, GroupId ?? "")?.shape.GroupName ??
        "",
    })),
    TagSet: showTags(record.tags),
  };
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

export function interfaceAttachment(
  instanceId: string,
  owner: string,
  index: number,
  deleteOnTermination: boolean,
) {
  return {
    AttachTime: new Date().toISOString(),
    AttachmentId: newId("eni-attach-"),
    DeleteOnTermination: deleteOnTermination,
    DeviceIndex: index,
    InstanceId: instanceId,
    InstanceOwnerId: owner,
    NetworkCardIndex: 0,
    Status: "attached" as const,
  };
}

export const interfaceActions = (network: Network) => {
  const { operations: n, records } = network;
  const byAttachment = (id: string, call: Call) => {
    const [record] = records.find(networkInterface, call.account_id, id);
    if (record === undefined) {
      throw new AwsError(
        "InvalidAttachmentID.NotFound",
        `The attachment ID '${id}' does not exist`,
      );
    }
    return record.id;
  };
  const attributeNames = [
    "description",
    "groupSet",
    "sourceDestCheck",
    "attachment",
    "associatePublicIpAddress",
  ];
  return {
    CreateNetworkInterface: n.creates(networkInterface, {
      without: [
        "Groups",
        "PrivateIpAddresses",
        "Ipv6Addresses",
        "InterfaceType",
        "PrivateIpAddress",
        "Description",
      ],
      make: async (input, call) => {
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        await checkGroups(records, call.account_id, of.shape.VpcId, input.Groups ?? []);
        const listed = input.PrivateIpAddresses ?? [];
        const primary = input.PrivateIpAddress ??
          listed.find((one) => one.Primary === true)?.PrivateIpAddress;
        return interfaceShape(network, call.account_id, {
          subnet: of,
          groups: input.Groups ?? [],
          description: input.Description ?? "",
          primary,
          secondary: listed.flatMap((one) =>
            one.Primary === true || one.PrivateIpAddress === undefined ? [] : [one.PrivateIpAddress]
          ),
          secondaryCount: input.SecondaryPrivateIpAddressCount ?? 0,
          ipv6Count: input.Ipv6AddressCount ?? 0,
          ipv6: (input.Ipv6Addresses ?? []).flatMap((one) => one.Ipv6Address ?? []),
          type: oneOf(
            input.InterfaceType,
            ["efa", "branch", "trunk", "interface"] as const,
            "interfaceType",
            "interface" as const,
          ),
        });
      },
      answer: (record, input) => ({
        NetworkInterface: { ...showInterface(records, record), Status: "pending" },
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeNetworkInterfaces: n.describes(networkInterface, {
      list: "NetworkInterfaces",
      ids: "NetworkInterfaceIds",
      show: (record) => showInterface(records, record),
    }),
    DeleteNetworkInterface: n.deletes(networkInterface, {
      id: "NetworkInterfaceId",
      takes: (one) => one.name === "network-interface-permission" || one.name === "elastic-ip",
      refuse: (record) => {
        if (record.shape.Status === "in-use") {
          throw new AwsError(
            "InvalidParameterValue",
            `Network interface '${record.id}' is currently in use.`,
          );
        }
      },
      before: async (record) => {
        for (const one of records.find(permission, record.account_id, record.id)) {
          await records.remove(permission, record.account_id, one.id);
        }
        for (const one of records.find(elasticAddress, record.account_id, record.id)) {
          await records.change(elasticAddress, record.account_id, one.id, () => freeOf);
        }
      },
    }),
    AttachNetworkInterface: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: (record, input, call) => {
        if (record.shape.Status === "in-use") {
          throw new AwsError(
            "InvalidParameterValue",
            `Interface: [${record.id}] in use.`,
          );
        }
        within(input.DeviceIndex, 1, 7, "deviceIndex");
        const others = records.find(networkInterface, call.account_id, input.InstanceId);
        if (others.length === 0) {
          throw new AwsError(
            "InvalidInstanceID.NotFound",
            `The instance ID '${input.InstanceId}' does not exist`,
          );
        }
        if (others.some((one) => one.shape.Attachment?.DeviceIndex === input.DeviceIndex)) {
          throw new AwsError(
            "InvalidParameterValue",
            `Instance '${input.InstanceId}' already has an interface attached at device index '${input.DeviceIndex}'.`,
          );
        }
        return {
          Attachment: interfaceAttachment(
            input.InstanceId,
            call.account_id,
            input.DeviceIndex,
            false,
          ),
          Status: "in-use" as const,
        };
      },
      answer: (record) => ({
        AttachmentId: record.shape.Attachment?.AttachmentId,
        NetworkCardIndex: 0,
      }),
    }),
    DetachNetworkInterface: n.changes(networkInterface, {
      id: (input, call) => byAttachment(input.AttachmentId, call),
      change: (record) => {
        if (record.shape.Attachment?.DeviceIndex === 0) {
          throw new AwsError(
            "OperationNotPermitted",
            "The network interface at device index 0 cannot be detached.",
          );
        }
        return { Attachment: undefined, Status: "available" as const };
      },
    }),
    ModifyNetworkInterfaceAttribute: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: async (record, input, call) => {
        exactlyOne(input, [
          "Description",
          "Groups",
          "SourceDestCheck",
          "Attachment",
          "EnaSrdSpecification",
          "ConnectionTrackingSpecification",
          "EnablePrimaryIpv6",
          "AssociatePublicIpAddress",
        ]);
        if (input.Groups !== undefined) {
          if (input.Groups.length === 0) throw invalidValue("An interface needs a security group.");
          await checkGroups(records, call.account_id, record.shape.VpcId, input.Groups);
          return {
            Groups: [...new Set(input.Groups)].map((GroupId) => ({ GroupId, GroupName: "" })),
          };
        }
        if (input.Attachment !== undefined) {
          const attachment = record.shape.Attachment;
          if (attachment?.AttachmentId !== input.Attachment.AttachmentId) {
            throw new AwsError(
              "InvalidAttachmentID.NotFound",
              `The attachment ID '${input.Attachment.AttachmentId}' does not exist`,
            );
          }
          return {
            Attachment: {
              ...attachment,
              DeleteOnTermination: input.Attachment.DeleteOnTermination ?? false,
            },
          };
        }
        return {
          ...(input.Description === undefined
            ? {}
            : { Description: input.Description.Value ?? "" }),
          ...(input.SourceDestCheck === undefined
            ? {}
            : { SourceDestCheck: input.SourceDestCheck.Value ?? true }),
          ...(input.ConnectionTrackingSpecification === undefined
            ? {}
            : { ConnectionTrackingConfiguration: input.ConnectionTrackingSpecification }),
        };
      },
    }),
    ResetNetworkInterfaceAttribute: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: (_record, input) => {
        oneOf(
          input.SourceDestCheck,
          ["SourceDestCheck", "sourceDestCheck", "true"],
          "sourceDestCheck",
          "true",
        );
        return { SourceDestCheck: true };
      },
    }),
    DescribeNetworkInterfaceAttribute: n.custom({
      reads: true,
      check: (input) => void oneOf(input.Attribute, attributeNames, "attribute", "description"),
      run: async (input, call) => {
        const record = await records.require(
          networkInterface,
          call.account_id,
          input.NetworkInterfaceId,
        );
        const shown = showInterface(records, record);
        const name = input.Attribute ?? "description";
        return {
          NetworkInterfaceId: record.id,
          ...(name === "description" ? { Description: { Value: shown.Description ?? "" } } : {}),
          ...(name === "groupSet" ? { Groups: shown.Groups } : {}),
          ...(name === "sourceDestCheck"
            ? { SourceDestCheck: { Value: shown.SourceDestCheck ?? true } }
            : {}),
          ...(name === "attachment" && shown.Attachment !== undefined
            ? { Attachment: shown.Attachment }
            : {}),
        };
      },
    }),
  } satisfies ActionTable;
};

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
  const shape = interfaceShape(network, account, { subnet: of, ...wanted });
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
