/**
 * VPCs: their blocks, attributes, and what comes and goes with each: the main route table, the default
 * network ACL and the default security group. Their ids follow from the VPC's, so that a creation that
 * was cut off is completed by repeating it.
 */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable } from "../resources/actions.ts";
import {
  type Block,
  overlaps,
  parseBlock,
  requireBlock,
  showBlock,
} from "../resources/addresses.ts";
import { invalidCombination, invalidValue } from "../resources/errors.ts";
import { idOf, newId } from "../resources/ids.ts";
import { kind, type KindRecord } from "../resources/kind.ts";
import type { Records } from "../resources/records.ts";
import type { Ec2, Input, Shape } from "../resources/wire.ts";
import { mostVpcs } from "./contract.ts";
import { exactlyOne, given, type Network, oneOf } from "./network.ts";
import { makeDefaultParts } from "./defaults.ts";
import { makeDefaultAcl } from "./network_acls.ts";
import { localRoutes, makeMainTable, routeTable } from "./route_tables.ts";
import { makeDefaultGroup } from "./security_groups.ts";

/** The attributes are ours: no answer about the VPC itself shows them. */
export type VpcShape = Shape<Ec2.Vpc> & {
  readonly EnableDnsSupport?: boolean;
  readonly EnableDnsHostnames?: boolean;
  readonly EnableNetworkAddressUsageMetrics?: boolean;
};
export type VpcRecord = KindRecord<VpcShape>;

export const vpc = kind<VpcShape>({
  name: "vpc",
  idPrefix: "vpc-",
  id: "VpcId",
  notFound: "InvalidVpcID.NotFound",
  filters: [
    "cidr=CidrBlock",
    "cidr-block-association.cidr-block=CidrBlockAssociationSet.CidrBlock",
    "cidr-block-association.association-id=CidrBlockAssociationSet.AssociationId",
    "cidr-block-association.state=CidrBlockAssociationSet.CidrBlockState.State",
    "dhcp-options-id",
    "ipv6-cidr-block-association.ipv6-cidr-block=Ipv6CidrBlockAssociationSet.Ipv6CidrBlock",
    "ipv6-cidr-block-association.association-id=Ipv6CidrBlockAssociationSet.AssociationId",
    "is-default",
    "isDefault=IsDefault",
    "state",
  ],
  references: { "DhcpOptionsId": "dhcp-options" },
  indexed: [
    "CidrBlockAssociationSet.AssociationId",
    "Ipv6CidrBlockAssociationSet.AssociationId",
  ],
  quota: { most: mostVpcs, code: "VpcLimitExceeded" },
  settles: { member: "State", to: { pending: "available" } },
});

export const blocksOf = (record: VpcRecord): Block[] =>
  (record.shape.CidrBlockAssociationSet ?? []).flatMap((one) =>
    parseBlock(one.CidrBlock ?? "") ?? []
  );

const associated = (block: string) => ({
  AssociationId: newId("vpc-cidr-assoc-"),
  CidrBlock: block,
  CidrBlockState: { State: "associated" as const },
});

/** @throws AwsError `InvalidVpc.Range` */
function vpcBlock(text: string): string {
  const block = requireBlock(text, 4, "cidrBlock");
  if (block.bits < 16 || block.bits > 28) {
    throw new AwsError("InvalidVpc.Range", `The CIDR '${text}' is invalid.`);
  }
  return showBlock(block);
}

/** Unique local addresses that follow from the VPC's id: a cloud of one's own has no global ones. */
export function ipv6Of(seed: string): string {
  const digits = seed.replace(/^[a-z-]+/, "").padEnd(12, "0");
  return `fd${digits.slice(0, 2)}:${digits.slice(2, 6)}:${digits.slice(6, 10)}:${
    digits.slice(10, 12)
  }00::/56`;
}

const shapeOf = (block: string, isDefault: boolean): VpcShape => ({
  CidrBlock: block,
  CidrBlockAssociationSet: [associated(block)],
  DhcpOptionsId: "default",
  EnableDnsHostnames: isDefault,
  EnableDnsSupport: true,
  InstanceTenancy: "default",
  Ipv6CidrBlockAssociationSet: [],
  IsDefault: isDefault,
  State: "pending",
});

/** Main route table, default ACL and default group; repeating it changes nothing. */
async function makeParts(records: Records, record: VpcRecord): Promise<void> {
  await makeMainTable(records, record.account_id, record.id, record.shape.CidrBlock ?? "");
  await makeDefaultAcl(records, record.account_id, record.id);
  await makeDefaultGroup(records, record.account_id, record.id);
}

/** Makes a default VPC with this id. */
export async function makeDefaultVpc(
  records: Records,
  account: string,
  id: string,
): Promise<VpcRecord> {
  const record = await records.create(vpc, account, shapeOf("172.31.0.0/16", true), { id });
  await makeParts(records, record);
  return record;
}

export const defaultVpcOf = (records: Records, account: string): VpcRecord | undefined => {
  for (const record of records.all(vpc, account)) {
    if (record.shape.IsDefault === true) return record;
  }
  return undefined;
};

const attributeNames = [
  "EnableDnsSupport",
  "EnableDnsHostnames",
  "EnableNetworkAddressUsageMetrics",
] as const;

function associateBlock(record: VpcRecord, input: Input<"AssociateVpcCidrBlock">) {
  if (input.AmazonProvidedIpv6CidrBlock === true || input.Ipv6CidrBlock !== undefined) {
    const present = record.shape.Ipv6CidrBlockAssociationSet ?? [];
    if (present.length >= 5) throw limit();
    const base = present.length === 0 ? record.id : newId("vpc-");
    return {
      Ipv6CidrBlockAssociationSet: [...present, {
        AssociationId: newId("vpc-cidr-assoc-"),
        Ipv6CidrBlock: input.Ipv6CidrBlock === undefined
          ? ipv6Of(base)
          : showBlock(requireBlock(input.Ipv6CidrBlock, 6, "ipv6CidrBlock")),
        Ipv6CidrBlockState: { State: "associated" as const },
        NetworkBorderGroup: "local",
        Ipv6Pool: "Amazon",
      }],
    };
  }
  const block = vpcBlock(given(input.CidrBlock, "cidrBlock"));
  const present = record.shape.CidrBlockAssociationSet ?? [];
  if (present.length >= 5) throw limit();
  const parsed = requireBlock(block, 4, "cidrBlock");
  for (const other of blocksOf(record)) {
    if (overlaps(other, parsed)) {
      throw new AwsError(
        "InvalidVpc.Range",
        `The CIDR '${block}' conflicts with the VPC's CIDR '${showBlock(other)}'.`,
      );
    }
  }
  return { CidrBlockAssociationSet: [...present, associated(block)] };
}

const limit = () =>
  new AwsError("VpcCidrLimitExceeded", "A VPC may have 5 CIDR blocks of each version.");

export const vpcActions = (network: Network) => {
  const { operations: n, records } = network;
  const associationOf = (input: Input<"DisassociateVpcCidrBlock">, account: string) => {
    const [record] = records.find(vpc, account, input.AssociationId);
    if (record === undefined) {
      throw new AwsError(
        "InvalidVpcCidrBlockAssociationID.NotFound",
        `The vpc CIDR block association ID '${input.AssociationId}' does not exist`,
      );
    }
    const primary =
      record.shape.CidrBlockAssociationSet?.[0]?.AssociationId === input.AssociationId;
    return { record, primary };
  };
  return {
    CreateVpc: n.creates(vpc, {
      answer: "Vpc",
      without: ["Ipv6CidrBlock", "Ipv6Pool", "AmazonProvidedIpv6CidrBlock"],
      make: (input) => {
        for (const name of ["Ipv4IpamPoolId", "Ipv6IpamPoolId"] as const) {
          if (input[name] !== undefined) {
            throw new AwsError(
              "InvalidIpamPoolId.NotFound",
              `The pool '${input[name]}' does not exist`,
            );
          }
        }
        const tenancy = oneOf(
          input.InstanceTenancy,
          ["default", "dedicated", "host"],
          "instanceTenancy",
          "default",
        );
        if (tenancy === "host") {
          throw invalidValue("The tenancy value host is not supported for VPCs.");
        }
        return {
          ...shapeOf(vpcBlock(given(input.CidrBlock, "cidrBlock")), false),
          InstanceTenancy: tenancy,
        };
      },
      after: async (record, input, call) => {
        await makeParts(records, record);
        if (input.AmazonProvidedIpv6CidrBlock === true) {
          await records.change(
            vpc,
            call.account_id,
            record.id,
            (now) =>
              (now.shape.Ipv6CidrBlockAssociationSet ?? []).length > 0
                ? {}
                : associateBlock(now, { VpcId: record.id, AmazonProvidedIpv6CidrBlock: true }),
          );
        }
      },
    }),

    CreateDefaultVpc: n.custom({
      check: (_input, call) => {
        if (defaultVpcOf(records, call.account_id) !== undefined) {
          throw new AwsError(
            "DefaultVpcAlreadyExists",
            "A Default VPC already exists for this account in this region.",
          );
        }
      },
      run: async (_input, call) => {
        const id = newId("vpc-");
        const record = await makeDefaultVpc(records, call.account_id, id);
        await makeDefaultParts(network, call.account_id, id);
        return { Vpc: records.show(vpc, record) };
      },
    }),

    DescribeVpcs: n.describes(vpc, { list: "Vpcs", ids: "VpcIds" }),

    DeleteVpc: n.deletes(vpc, {
      id: "VpcId",
      takes: (one, record) =>
        (one.name === "route-table" &&
          record.id === mainTableOf(records, record.account_id, String(record.shape["VpcId"]))) ||
        (one.name === "network-acl" && record.shape["IsDefault"] === true) ||
        (one.name === "security-group" && record.shape["GroupName"] === "default") ||
        (one.name === "security-group-rule" && record.shape["VpcId"] !== undefined),
      before: async (record) => {
        for (
          const { kind: one, record: part } of records.dependents(record.account_id, record.id)
        ) {
          if (one.name !== "security-group") await records.remove(one, record.account_id, part.id);
        }
        for (
          const { kind: one, record: part } of records.dependents(record.account_id, record.id)
        ) {
          await records.remove(one, record.account_id, part.id);
        }
      },
    }),

    ModifyVpcAttribute: n.changes(vpc, {
      id: "VpcId",
      change: (record, input) => {
        exactlyOne(input, attributeNames);
        if (input.EnableDnsHostnames?.Value === true && record.shape.EnableDnsSupport === false) {
          throw invalidCombination(
            "DNS hostnames need DNS support: enable EnableDnsSupport first.",
          );
        }
        return Object.fromEntries(
          attributeNames.flatMap((name) =>
            input[name] === undefined ? [] : [[name, input[name]?.Value ?? false]]
          ),
        );
      },
    }),

    DescribeVpcAttribute: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await records.require(vpc, call.account_id, input.VpcId);
        const names = {
          enableDnsSupport: "EnableDnsSupport",
          enableDnsHostnames: "EnableDnsHostnames",
          enableNetworkAddressUsageMetrics: "EnableNetworkAddressUsageMetrics",
        } as const;
        const name = Object.entries(names).find(([wire]) => wire === input.Attribute)?.[1];
        if (name === undefined) {
          throw invalidValue(`Value (${input.Attribute}) for parameter attribute is invalid.`);
        }
        return { VpcId: record.id, [name]: { Value: record.shape[name] ?? false } };
      },
    }),

    ModifyVpcTenancy: n.changes(vpc, {
      id: "VpcId",
      change: (_record, input) => {
        if (input.InstanceTenancy !== "default") {
          throw invalidValue("The tenancy of a VPC can only be modified to default.");
        }
        return { InstanceTenancy: "default" };
      },
      answer: () => ({ ReturnValue: true }),
    }),

    AssociateVpcCidrBlock: n.changes(vpc, {
      id: "VpcId",
      change: associateBlock,
      after: async (record, _input, call) => {
        for (const table of records.find(routeTable, call.account_id, record.id)) {
          await records.change(
            routeTable,
            call.account_id,
            table.id,
            (now) => localRoutes(now, record),
          );
        }
      },
      answer: (record, input) => ({
        VpcId: record.id,
        ...(input.CidrBlock === undefined
          ? { Ipv6CidrBlockAssociation: record.shape.Ipv6CidrBlockAssociationSet?.at(-1) }
          : { CidrBlockAssociation: record.shape.CidrBlockAssociationSet?.at(-1) }),
      }),
    }),

    DisassociateVpcCidrBlock: n.custom({
      check: (input, call) => void associationOf(input, call.account_id),
      run: async (input, call) => {
        const { record, primary } = associationOf(input, call.account_id);
        if (primary) {
          throw new AwsError(
            "OperationNotPermitted",
            "The association of the primary CIDR block of a VPC cannot be removed.",
          );
        }
        const gone = (one: { AssociationId?: string | undefined }) =>
          one.AssociationId === input.AssociationId;
        const four = record.shape.CidrBlockAssociationSet?.find(gone);
        const six = record.shape.Ipv6CidrBlockAssociationSet?.find(gone);
        const block = parseBlock(four?.CidrBlock ?? six?.Ipv6CidrBlock ?? "");
        for (const { record: other } of records.dependents(call.account_id, record.id)) {
          for (const text of subnetBlocks(other.shape)) {
            const used = parseBlock(text);
            if (block !== undefined && used !== undefined && overlaps(block, used)) {
              throw new AwsError(
                "DependencyViolation",
                `The CIDR block is used by the subnet '${other.id}' and cannot be disassociated.`,
              );
            }
          }
        }
        const changed = await records.change(vpc, call.account_id, record.id, (now) => ({
          CidrBlockAssociationSet: now.shape.CidrBlockAssociationSet?.filter((one) => !gone(one)),
          Ipv6CidrBlockAssociationSet: now.shape.Ipv6CidrBlockAssociationSet?.filter((one) =>
            !gone(one)
          ),
        }));
        for (const table of records.find(routeTable, call.account_id, record.id)) {
          await records.change(
            routeTable,
            call.account_id,
            table.id,
            (now) => localRoutes(now, changed),
          );
        }
        return {
          VpcId: record.id,
          ...(four === undefined ? {} : {
            CidrBlockAssociation: { ...four, CidrBlockState: { State: "disassociating" } },
          }),
          ...(six === undefined ? {} : {
            Ipv6CidrBlockAssociation: { ...six, Ipv6CidrBlockState: { State: "disassociating" } },
          }),
        };
      },
    }),
  } satisfies ActionTable;
};

const subnetBlocks = (shape: Readonly<Record<string, unknown>>): string[] =>
  typeof shape["SubnetArn"] === "string" ? [String(shape["CidrBlock"] ?? "")] : [];

export const mainTableOf = (records: Records, account: string, vpcId: string): string | undefined =>
  records.find(routeTable, account, vpcId)
    .find((table) => table.shape.Associations?.some((one) => one.Main === true))?.id;

export const mainTableId = (vpcId: string) => idOf("rtb-", vpcId, "main");
