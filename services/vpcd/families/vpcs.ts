/** VPCs: their blocks, attributes, and what goes with each (`vpc_parts.ts` has what comes with it). */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  type Block,
  overlaps,
  parseBlock,
  requireBlock,
  showBlock,
} from "../../resources/addresses.ts";
import { invalidCombination, invalidParameter, invalidValue } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import type { Input } from "../../resources/wire.ts";
import { routeTable } from "../kinds/route_tables.ts";
import { securityGroup } from "../kinds/security_groups.ts";
import { allBlocksOf, subnet } from "../kinds/subnets.ts";
import { blocksOf, defaultVpcOf, vpc, type VpcRecord } from "../kinds/vpcs.ts";
import { exactlyOne, given, type Network, oneOf } from "../network.ts";
import { localRoutes } from "./route_tables.ts";
import { ownRules, removeGroup } from "./security_groups.ts";
import {
  associatedBlock,
  makeDefaultParts,
  makeDefaultVpc,
  makeParts,
  vpcShape,
} from "./vpc_parts.ts";

/** @throws AwsError `InvalidVpc.Range` */
function vpcBlock(text: string): string {
  const block = requireBlock(text, 4, "cidrBlock");
  if (block.bits < 16 || block.bits > 28) {
    throw new AwsError("InvalidVpc.Range", `The CIDR '${text}' is invalid.`);
  }
  return showBlock(block);
}

/** A block of one of the sizes that a VPC may have. @throws AwsError `InvalidParameterValue` */
function ipv6Block(text: string): Block {
  const block = requireBlock(text, 6, "ipv6CidrBlock");
  if (block.bits >= 44 && block.bits <= 60 && block.bits % 4 === 0) return block;
  throw invalidParameter("ipv6CidrBlock", text, "Expected a block of /44 to /60, in steps of /4.");
}

/** Unique local addresses that follow from the VPC's id: a cloud of one's own has no global ones. */
export function ipv6Of(seed: string): string {
  const digits = seed.replace(/^[a-z-]+/, "").padEnd(12, "0");
  const groups = [`fd${digits.slice(0, 2)}`, digits.slice(2, 6), digits.slice(6, 10)];
  const text = `${groups.join(":")}:${digits.slice(10, 12)}00::/56`;
  return showBlock(requireBlock(text, 6, "ipv6CidrBlock"));
}

const attributeNames = [
  "EnableDnsSupport",
  "EnableDnsHostnames",
  "EnableNetworkAddressUsageMetrics",
] as const;

function associateBlock(record: VpcRecord, input: Input<"AssociateVpcCidrBlock">) {
  if (input.AmazonProvidedIpv6CidrBlock === true || input.Ipv6CidrBlock !== undefined) {
    if (input.CidrBlock !== undefined) {
      throw invalidCombination("Blocks of both versions are associated one after the other.");
    }
    const present = record.shape.Ipv6CidrBlockAssociationSet ?? [];
    if (present.length >= 5) throw limit();
    const base = present.length === 0 ? record.id : newId("vpc-");
    const block = ipv6Block(input.Ipv6CidrBlock ?? ipv6Of(base));
    for (const { Ipv6CidrBlock = "" } of present) {
      const other = parseBlock(Ipv6CidrBlock);
      if (other !== undefined && overlaps(other, block)) throw conflict(block, other);
    }
    return {
      Ipv6CidrBlockAssociationSet: [...present, {
        AssociationId: newId("vpc-cidr-assoc-"),
        Ipv6CidrBlock: showBlock(block),
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
    if (overlaps(other, parsed)) throw conflict(parsed, other);
  }
  return { CidrBlockAssociationSet: [...present, associatedBlock(block)] };
}

const conflict = (block: Block, other: Block) =>
  new AwsError(
    "InvalidVpc.Range",
    `The CIDR '${showBlock(block)}' conflicts with the VPC's CIDR '${showBlock(other)}'.`,
  );

const limit = () =>
  new AwsError("VpcCidrLimitExceeded", "A VPC may have 5 CIDR blocks of each version.");

export const vpcActions = (network: Network) => {
  const { operations: n, records } = network;
  const associationOf = (input: Input<"DisassociateVpcCidrBlock">, account: string) => {
    const [record] = ["CidrBlockAssociationSet", "Ipv6CidrBlockAssociationSet"].flatMap((set) =>
      records.findAt(vpc, account, `${set}.AssociationId`, input.AssociationId)
    );
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
        if (input.Ipv6CidrBlock !== undefined) ipv6Block(input.Ipv6CidrBlock);
        return {
          ...vpcShape(vpcBlock(given(input.CidrBlock, "cidrBlock")), false),
          InstanceTenancy: tenancy,
        };
      },
      completes: (record) =>
        record.shape.IsDefault === true
          ? makeDefaultParts(network, record)
          : makeParts(records, record),
      after: async (record, input, call) => {
        const { AmazonProvidedIpv6CidrBlock, Ipv6CidrBlock } = input;
        if (AmazonProvidedIpv6CidrBlock === true || Ipv6CidrBlock !== undefined) {
          await records.change(
            vpc,
            call.account_id,
            record.id,
            (now) =>
              (now.shape.Ipv6CidrBlockAssociationSet ?? []).length > 0 ? {} : associateBlock(now, {
                VpcId: record.id,
                AmazonProvidedIpv6CidrBlock,
                Ipv6CidrBlock,
              }),
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
        const record = await makeDefaultVpc(network, call.account_id, id);
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
        (one.name === "security-group" && record.shape["GroupName"] === "default"),
      refuse: (record) => {
        // Rules of groups elsewhere may name the default group, which would go with the VPC.
        for (const group of records.findAt(securityGroup, record.account_id, "VpcId", record.id)) {
          n.refuseDependents(securityGroup, group, ownRules);
        }
      },
      before: async ({ account_id: account, id }) => {
        for (const group of records.findAt(securityGroup, account, "VpcId", id)) {
          await removeGroup(records, group);
        }
        for (const group of records.findAt(securityGroup, account, "AssociatedVpcs", id)) {
          await records.change(securityGroup, account, group.id, ({ shape }) => ({
            AssociatedVpcs: (shape.AssociatedVpcs ?? []).filter((one) => one !== id),
          }));
        }
        for (const { kind: one, record: part } of records.dependents(account, id)) {
          await records.remove(one, account, part.id);
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
        for (const other of records.find(subnet, call.account_id, record.id)) {
          for (const used of allBlocksOf(other)) {
            if (block !== undefined && overlaps(block, used)) {
              throw new AwsError(
                "InvalidCidrBlock.InUse",
                `The vpc ${record.id} currently has a subnet within CIDR block ${showBlock(block)}`,
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

const mainTableOf = (records: Records, account: string, vpcId: string): string | undefined =>
  records.find(routeTable, account, vpcId)
    .find((table) => table.shape.Associations?.some((one) => one.Main === true))?.id;
