/**
 * Network ACLs. Every subnet has exactly one: its VPC's default one until it is replaced. The last
 * rule of each direction, 32767, denies and is nobody's to change.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter, invalidValue } from "../../resources/errors.ts";
import { idOf, newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Input, Shape } from "../../resources/wire.ts";
import { networkAcl } from "../kinds/network_acls.ts";
import { exactlyOne, type Network, oneOf, within } from "../network.ts";

type Entry = Shape<Ec2.NetworkAclEntry>;

const last = 32_767;
const rule = (number: number, egress: boolean, action: "allow" | "deny"): Entry => ({
  CidrBlock: "0.0.0.0/0",
  Egress: egress,
  Protocol: "-1",
  RuleAction: action,
  RuleNumber: number,
});
const closed = [rule(last, true, "deny"), rule(last, false, "deny")];

const defaultAclId = (vpcId: string) => idOf("acl-", vpcId, "default");

export async function makeDefaultAcl(
  records: Records,
  account: string,
  vpcId: string,
): Promise<void> {
  await records.create(networkAcl, account, {
    Associations: [],
    Entries: [rule(100, true, "allow"), closed[0]!, rule(100, false, "allow"), closed[1]!],
    IsDefault: true,
    VpcId: vpcId,
  }, { id: await defaultAclId(vpcId) });
}

const association = (acl: string, subnet: string) => ({
  NetworkAclAssociationId: newId("aclassoc-"),
  NetworkAclId: acl,
  SubnetId: subnet,
});

/** A new subnet follows the default ACL; a second call changes nothing. */
export async function joinAcl(
  records: Records,
  account: string,
  vpcId: string,
  subnet: string,
): Promise<void> {
  if (records.find(networkAcl, account, subnet).length > 0) return;
  const id = await defaultAclId(vpcId);
  await records.change(networkAcl, account, id, (now) => ({
    Associations: [...now.shape.Associations ?? [], association(id, subnet)],
  }));
}

export async function leaveAcl(records: Records, account: string, subnet: string): Promise<void> {
  for (const acl of records.find(networkAcl, account, subnet)) {
    await records.change(networkAcl, account, acl.id, (now) => ({
      Associations: now.shape.Associations?.filter((one) => one.SubnetId !== subnet),
    }));
  }
}

/** @throws AwsError */
function readEntry(input: Input<"CreateNetworkAclEntry"> | Input<"ReplaceNetworkAclEntry">): Entry {
  within(input.RuleNumber, 1, last - 1, "ruleNumber");
  exactlyOne(input, ["CidrBlock", "Ipv6CidrBlock"]);
  const text = input.CidrBlock ?? input.Ipv6CidrBlock ?? "";
  const block = parseBlock(text);
  if (block?.version !== (input.CidrBlock === undefined ? 6 : 4)) {
    throw invalidParameter("cidrBlock", text, "This is not a valid CIDR block.");
  }
  if (!/^(?:-1|\d{1,3})$/.test(input.Protocol) || Number(input.Protocol) > 255) {
    throw invalidParameter("protocol", input.Protocol, "Expected a protocol number or -1.");
  }
  const ports = input.PortRange;
  const needsPorts = input.Protocol === "6" || input.Protocol === "17";
  if (needsPorts) {
    const { From = -1, To = -1 } = ports ?? {};
    if (From < 0 || To > 65_535 || From > To) {
      throw invalidValue("A rule of TCP or UDP needs a port range From to To.");
    }
  }
  const icmp = input.Protocol === "1" || input.Protocol === "58";
  if (icmp) {
    if (input.IcmpTypeCode?.Type === undefined) {
      throw invalidValue("A rule of ICMP needs an ICMP type and code.");
    }
    within(input.IcmpTypeCode.Type, -1, 255, "icmpTypeCode.type");
    within(input.IcmpTypeCode.Code ?? -1, -1, 255, "icmpTypeCode.code");
  }
  return {
    ...(block.version === 4
      ? { CidrBlock: showBlock(block) }
      : { Ipv6CidrBlock: showBlock(block) }),
    Egress: input.Egress,
    Protocol: input.Protocol,
    RuleAction: oneOf(input.RuleAction, ["allow", "deny"], "ruleAction", "deny"),
    RuleNumber: input.RuleNumber,
    ...(needsPorts && ports !== undefined ? { PortRange: ports } : {}),
    ...(icmp && input.IcmpTypeCode !== undefined ? { IcmpTypeCode: input.IcmpTypeCode } : {}),
  };
}

const sorted = (entries: readonly Entry[]) =>
  [...entries].sort((a, b) =>
    Number(b.Egress) - Number(a.Egress) || (a.RuleNumber ?? 0) - (b.RuleNumber ?? 0)
  );

type EntryKey = { readonly RuleNumber?: number | undefined; readonly Egress?: boolean | undefined };
const same = (a: EntryKey, b: EntryKey) => a.RuleNumber === b.RuleNumber && a.Egress === b.Egress;

const noEntry = (id: string, number: number) =>
  new AwsError(
    "InvalidNetworkAclEntry.NotFound",
    `The network acl entry with number '${number}' does not exist in network ACL '${id}'`,
  );

export const networkAclActions = ({ operations: n, records }: Network) => ({
  CreateNetworkAcl: n.creates(networkAcl, {
    make: () => ({ Associations: [], Entries: closed, IsDefault: false }),
    answer: (record, input) => ({
      NetworkAcl: records.show(networkAcl, record),
      ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
    }),
  }),
  DescribeNetworkAcls: n.describes(networkAcl, { list: "NetworkAcls", ids: "NetworkAclIds" }),
  DeleteNetworkAcl: n.deletes(networkAcl, {
    id: "NetworkAclId",
    refuse: (record) => {
      if (record.shape.IsDefault === true) {
        throw invalidValue(`default network ACL ${record.id} cannot be deleted`);
      }
      if ((record.shape.Associations ?? []).length > 0) {
        throw new AwsError(
          "DependencyViolation",
          `The networkAcl '${record.id}' has dependencies and cannot be deleted.`,
        );
      }
    },
  }),
  CreateNetworkAclEntry: n.changes(networkAcl, {
    id: "NetworkAclId",
    change: (record, input) => {
      const entry = readEntry(input);
      const entries = record.shape.Entries ?? [];
      if (entries.some((one) => same(one, entry))) {
        throw new AwsError(
          "NetworkAclEntryAlreadyExists",
          `The network acl entry identified by ${entry.RuleNumber} already exists.`,
        );
      }
      if (entries.length >= 42) {
        throw new AwsError("NetworkAclEntryLimitExceeded", "A network ACL may have 40 entries.");
      }
      return { Entries: sorted([...entries, entry]) };
    },
  }),
  ReplaceNetworkAclEntry: n.changes(networkAcl, {
    id: "NetworkAclId",
    change: (record, input) => {
      const entry = readEntry(input);
      const entries = record.shape.Entries ?? [];
      if (!entries.some((one) => same(one, entry))) throw noEntry(record.id, input.RuleNumber);
      return { Entries: entries.map((one) => same(one, entry) ? entry : one) };
    },
  }),
  DeleteNetworkAclEntry: n.changes(networkAcl, {
    id: "NetworkAclId",
    change: (record, input) => {
      within(input.RuleNumber, 1, last - 1, "ruleNumber");
      const entries = record.shape.Entries ?? [];
      if (!entries.some((one) => same(one, input))) throw noEntry(record.id, input.RuleNumber);
      return { Entries: entries.filter((one) => !same(one, input)) };
    },
  }),
  ReplaceNetworkAclAssociation: n.changes(networkAcl, {
    id: "NetworkAclId",
    change: (record, input, call) => {
      const [old] = records.find(networkAcl, call.account_id, input.AssociationId);
      const found = old?.shape.Associations?.find((one) =>
        one.NetworkAclAssociationId === input.AssociationId
      );
      if (old === undefined || found === undefined) {
        throw new AwsError(
          "InvalidAssociationID.NotFound",
          `The association ID '${input.AssociationId}' does not exist`,
        );
      }
      if (old.shape.VpcId !== record.shape.VpcId) {
        throw invalidParameter("networkAclId", record.id, "It belongs to another VPC.");
      }
      const others = record.shape.Associations?.filter((one) => one.SubnetId !== found.SubnetId);
      return { Associations: [...others ?? [], association(record.id, found.SubnetId ?? "")] };
    },
    after: async (record, input, call) => {
      const [old] = records.find(networkAcl, call.account_id, input.AssociationId)
        .filter((one) => one.id !== record.id);
      if (old === undefined) return;
      await records.change(networkAcl, call.account_id, old.id, (now) => ({
        Associations: now.shape.Associations?.filter((one) =>
          one.NetworkAclAssociationId !== input.AssociationId
        ),
      }));
    },
    answer: (record) => ({
      NewAssociationId: record.shape.Associations?.at(-1)?.NetworkAclAssociationId,
    }),
  }),
} satisfies ActionTable);
