/** Subnets: a block of their VPC's, an ACL; free addresses are counted when shown. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  type Block,
  contains,
  overlaps,
  parseBlock,
  requireBlock,
  showBlock,
} from "../../resources/addresses.ts";
import { invalidParameter, invalidValue } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import { zoneId } from "../../resources/zone_names.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { reservation, subnet, type SubnetRecord, type SubnetShape } from "../kinds/subnets.ts";
import { blocksOf, defaultVpcOf, vpc, type VpcRecord } from "../kinds/vpcs.ts";
import { arn, exactlyOne, given, type Network, oneOf } from "../network.ts";
import { joinAcl, leaveAcl } from "./network_acls.ts";
import { leaveTables } from "./route_tables.ts";

/** @throws AwsError `InvalidSubnet.Range`, `InvalidSubnet.Conflict` */
function checkBlock(text: string, of: VpcRecord, records: Records): string {
  const block = requireBlock(text, 4, "cidrBlock");
  if (block.bits < 16 || block.bits > 28) {
    throw new AwsError("InvalidSubnet.Range", `The CIDR '${text}' is invalid.`);
  }
  if (!blocksOf(of).some((outer) => contains(outer, block))) {
    throw new AwsError("InvalidSubnet.Range", `The CIDR '${text}' is invalid.`);
  }
  for (const other of records.find(subnet, of.account_id, of.id)) {
    const used = parseBlock(other.shape.CidrBlock ?? "");
    if (used !== undefined && overlaps(block, used)) {
      throw new AwsError(
        "InvalidSubnet.Conflict",
        `The CIDR '${text}' conflicts with another subnet`,
      );
    }
  }
  return showBlock(block);
}

function ipv6Association(text: string, of: VpcRecord, records: Records) {
  const block = requireBlock(text, 6, "ipv6CidrBlock");
  const outer = (of.shape.Ipv6CidrBlockAssociationSet ?? []).flatMap((one) =>
    parseBlock(one.Ipv6CidrBlock ?? "") ?? []
  );
  if (block.bits !== 64 || !outer.some((one) => contains(one, block))) {
    throw new AwsError("InvalidSubnet.Range", `The IPv6 CIDR '${text}' is invalid.`);
  }
  for (const other of records.find(subnet, of.account_id, of.id)) {
    for (const one of other.shape.Ipv6CidrBlockAssociationSet ?? []) {
      const used: Block | undefined = parseBlock(one.Ipv6CidrBlock ?? "");
      if (used !== undefined && overlaps(used, block)) {
        throw new AwsError(
          "InvalidSubnet.Conflict",
          `The IPv6 CIDR '${text}' conflicts with another subnet`,
        );
      }
    }
  }
  return {
    AssociationId: newId("subnet-cidr-assoc-"),
    Ipv6CidrBlock: showBlock(block),
    Ipv6CidrBlockState: { State: "associated" as const },
  };
}

function subnetShape(
  { region, az }: Pick<Network, "region" | "az">,
  account: string,
  id: string,
  of: string,
  block: string,
  isDefault: boolean,
): SubnetShape {
  return {
    AssignIpv6AddressOnCreation: false,
    AvailabilityZone: az,
    AvailabilityZoneId: zoneId(az),
    CidrBlock: block,
    DefaultForAz: isDefault,
    EnableDns64: false,
    Ipv6CidrBlockAssociationSet: [],
    Ipv6Native: false,
    MapCustomerOwnedIpOnLaunch: false,
    MapPublicIpOnLaunch: isDefault,
    PrivateDnsNameOptionsOnLaunch: {
      EnableResourceNameDnsAAAARecord: false,
      EnableResourceNameDnsARecord: false,
      HostnameType: "ip-name",
    },
    State: "pending",
    SubnetArn: arn(region, account, "subnet", id),
    VpcId: of,
  };
}

const modifiable = [
  "AssignIpv6AddressOnCreation",
  "CustomerOwnedIpv4Pool",
  "DisableLniAtDeviceIndex",
  "EnableDns64",
  "EnableLniAtDeviceIndex",
  "EnableResourceNameDnsAAAARecordOnLaunch",
  "EnableResourceNameDnsARecordOnLaunch",
  "MapCustomerOwnedIpOnLaunch",
  "MapPublicIpOnLaunch",
  "PrivateDnsHostnameTypeOnLaunch",
] as const;

export const subnetActions = (network: Network) => {
  const { operations: n, records, az } = network;
  const checkZone = (name: string | undefined, id: string | undefined) => {
    if ((name ?? az) !== az || (id ?? zoneId(az)) !== zoneId(az)) {
      throw invalidParameter(
        "availabilityZone",
        name ?? id,
        `Subnets can currently only be created in the following availability zones: ${az}.`,
      );
    }
  };
  return {
    CreateSubnet: n.creates(subnet, {
      answer: "Subnet",
      without: ["AvailabilityZone", "AvailabilityZoneId", "Ipv6CidrBlock"],
      id: () => newId("subnet-"),
      make: async (input, call) => {
        checkZone(input.AvailabilityZone, input.AvailabilityZoneId);
        const of = await records.require(vpc, call.account_id, input.VpcId);
        const block = checkBlock(given(input.CidrBlock, "cidrBlock"), of, records);
        return {
          ...subnetShape(network, call.account_id, "", of.id, block, false),
          Ipv6CidrBlockAssociationSet: input.Ipv6CidrBlock === undefined
            ? []
            : [ipv6Association(input.Ipv6CidrBlock, of, records)],
        };
      },
      completes: async ({ account_id, id, shape }) => {
        const SubnetArn = arn(network.region, account_id, "subnet", id);
        if (shape.SubnetArn !== SubnetArn) {
          await records.change(subnet, account_id, id, () => ({ SubnetArn }));
        }
        await joinAcl(records, account_id, shape.VpcId ?? "", id);
      },
    }),

    CreateDefaultSubnet: n.custom({
      check: (input, call) => {
        checkZone(input.AvailabilityZone, input.AvailabilityZoneId);
        const of = defaultVpcOf(records, call.account_id);
        if (of === undefined) {
          throw new AwsError(
            "DefaultVpcDoesNotExist",
            "No default VPC found for this account in this region.",
          );
        }
        for (const one of records.find(subnet, call.account_id, of.id)) {
          if (one.shape.DefaultForAz === true) {
            throw new AwsError(
              "DefaultSubnetAlreadyExistsInAvailabilityZone",
              `'${one.id}' is already the default subnet in ${az}.`,
            );
          }
        }
        checkBlock(defaultBlock, of, records);
      },
      run: async (_input, call) => {
        const of = defaultVpcOf(records, call.account_id);
        const record = await makeDefaultSubnet(
          network,
          call.account_id,
          of?.id ?? "",
          newId("subnet-"),
        );
        return { Subnet: records.show(subnet, record) };
      },
    }),

    DescribeSubnets: n.describes(subnet, { list: "Subnets", ids: "SubnetIds" }),

    DeleteSubnet: n.deletes(subnet, {
      id: "SubnetId",
      takes: (one) => ["route-table", "network-acl", "subnet-cidr-reservation"].includes(one.name),
      before: async (record) => {
        await leaveTables(records, record.account_id, record.id);
        await leaveAcl(records, record.account_id, record.id);
        for (const one of records.find(reservation, record.account_id, record.id)) {
          await records.remove(reservation, record.account_id, one.id);
        }
      },
    }),

    ModifySubnetAttribute: n.changes(subnet, {
      id: "SubnetId",
      change: (record, input) => {
        exactlyOne(input, modifiable);
        if (input.AssignIpv6AddressOnCreation?.Value === true) {
          if ((record.shape.Ipv6CidrBlockAssociationSet ?? []).length === 0) {
            throw invalidValue("The subnet has no IPv6 CIDR block.");
          }
        }
        const dns = record.shape.PrivateDnsNameOptionsOnLaunch ?? {};
        return {
          ...(input.AssignIpv6AddressOnCreation === undefined
            ? {}
            : { AssignIpv6AddressOnCreation: input.AssignIpv6AddressOnCreation.Value }),
          ...(input.EnableDns64 === undefined ? {} : { EnableDns64: input.EnableDns64.Value }),
          ...(input.EnableLniAtDeviceIndex === undefined
            ? {}
            : { EnableLniAtDeviceIndex: input.EnableLniAtDeviceIndex }),
          ...(input.DisableLniAtDeviceIndex?.Value === true
            ? { EnableLniAtDeviceIndex: undefined }
            : {}),
          ...(input.MapCustomerOwnedIpOnLaunch === undefined
            ? {}
            : { MapCustomerOwnedIpOnLaunch: input.MapCustomerOwnedIpOnLaunch.Value }),
          ...(input.CustomerOwnedIpv4Pool === undefined
            ? {}
            : { CustomerOwnedIpv4Pool: input.CustomerOwnedIpv4Pool }),
          ...(input.MapPublicIpOnLaunch === undefined
            ? {}
            : { MapPublicIpOnLaunch: input.MapPublicIpOnLaunch.Value }),
          PrivateDnsNameOptionsOnLaunch: {
            ...dns,
            ...(input.PrivateDnsHostnameTypeOnLaunch === undefined ? {} : {
              HostnameType: oneOf(
                input.PrivateDnsHostnameTypeOnLaunch,
                ["ip-name", "resource-name"],
                "privateDnsHostnameTypeOnLaunch",
                "ip-name",
              ),
            }),
            ...(input.EnableResourceNameDnsARecordOnLaunch === undefined ? {} : {
              EnableResourceNameDnsARecord: input.EnableResourceNameDnsARecordOnLaunch.Value,
            }),
            ...(input.EnableResourceNameDnsAAAARecordOnLaunch === undefined ? {} : {
              EnableResourceNameDnsAAAARecord: input.EnableResourceNameDnsAAAARecordOnLaunch.Value,
            }),
          },
        };
      },
    }),

    AssociateSubnetCidrBlock: n.changes(subnet, {
      id: "SubnetId",
      change: async (record, input, call) => {
        const present = record.shape.Ipv6CidrBlockAssociationSet ?? [];
        if (present.length > 0) {
          throw new AwsError(
            "InvalidSubnet.Conflict",
            "The subnet has an IPv6 CIDR block already.",
          );
        }
        const of = await records.require(vpc, call.account_id, record.shape.VpcId ?? "");
        const block = given(input.Ipv6CidrBlock, "ipv6CidrBlock");
        return { Ipv6CidrBlockAssociationSet: [ipv6Association(block, of, records)] };
      },
      answer: (record) => ({
        SubnetId: record.id,
        Ipv6CidrBlockAssociation: record.shape.Ipv6CidrBlockAssociationSet?.[0],
      }),
    }),

    DisassociateSubnetCidrBlock: n.changes(subnet, {
      id: (input, call) => {
        const [record] = records.findAt(
          subnet,
          call.account_id,
          "Ipv6CidrBlockAssociationSet.AssociationId",
          input.AssociationId,
        );
        if (record === undefined) {
          throw new AwsError(
            "InvalidSubnetCidrBlockAssociationID.NotFound",
            `The subnet CIDR block association ID '${input.AssociationId}' does not exist`,
          );
        }
        return record.id;
      },
      change: (record, input, call) => {
        const used = record.shape.AssignIpv6AddressOnCreation === true
          ? "its subnet has assign-ipv6-address-on-creation set to true"
          : records.findAt(networkInterface, call.account_id, "SubnetId", record.id)
              .some((one) => (one.shape.Ipv6Addresses ?? []).length > 0)
          ? "network interfaces have addresses of it"
          : undefined;
        if (used !== undefined) {
          throw new AwsError(
            "InvalidCidrBlock.InUse",
            `The subnet IPv6 CIDR block with association ID ${input.AssociationId} may not be disassociated, because ${used}.`,
          );
        }
        return { Ipv6CidrBlockAssociationSet: [] };
      },
      answer: (record, input) => ({
        SubnetId: record.id,
        Ipv6CidrBlockAssociation: {
          AssociationId: input.AssociationId,
          Ipv6CidrBlockState: { State: "disassociated" },
        },
      }),
    }),
  } satisfies ActionTable;
};

/** 172.31.0.0/20, as the first default subnet at AWS. */
const defaultBlock = "172.31.0.0/20";

export async function makeDefaultSubnet(
  network: Network,
  account: string,
  of: string,
  id: string,
): Promise<SubnetRecord> {
  const { records } = network;
  const shape = subnetShape(network, account, id, of, defaultBlock, true);
  const record = await records.create(subnet, account, shape, { id });
  await joinAcl(records, account, of, id);
  return record;
}
