/**
 * The single rules that a request about a security group speaks of: permissions with several peers each, or
 * the form from before there were permissions.
 */
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../../resources/errors.ts";
import type { Input } from "../../resources/wire.ts";
import type { Permission, RuleShape } from "../kinds/security_group_rules.ts";

const protocols: Readonly<Record<string, string>> = {
  "6": "tcp",
  "17": "udp",
  "1": "icmp",
  "58": "icmpv6",
};

type Peer = Pick<RuleShape, "CidrIpv4" | "CidrIpv6" | "PrefixListId" | "ReferencedGroupInfo">;
export type Wanted = Peer & Pick<RuleShape, "IpProtocol" | "FromPort" | "ToPort" | "Description">;

/** What makes two rules one. */
export const keyOf = (rule: Wanted) =>
  [
    rule.IpProtocol,
    rule.IpProtocol === "-1" ? -1 : rule.FromPort ?? -1,
    rule.IpProtocol === "-1" ? -1 : rule.ToPort ?? -1,
    rule.CidrIpv4 ?? rule.CidrIpv6 ?? rule.PrefixListId ?? rule.ReferencedGroupInfo?.GroupId,
  ].join(" ");

function checkPorts(protocol: string, from: number | undefined, to: number | undefined): void {
  if (protocol === "icmp" || protocol === "icmpv6") {
    for (const one of [from ?? -1, to ?? -1]) {
      if (one >= -1 && one <= 255) continue;
      throw invalidParameter("portRange", `${from}-${to}`, "Invalid ICMP type or code.");
    }
  }
  if (protocol !== "tcp" && protocol !== "udp") return;
  if (from === undefined || to === undefined) {
    throw invalidParameter("portRange", `${from}-${to}`, "TCP and UDP rules need both ports.");
  }
  if (from < 0 || to > 65_535 || from > to) {
    throw invalidParameter("portRange", `${from}-${to}`, "Invalid TCP/UDP port range");
  }
}

export const description = (text: string | undefined) => {
  if (text === undefined) return {};
  if (text.length > 255 || !/^[\w \-.:/()#,@[\]+=&;{}!$*]*$/.test(text)) {
    throw invalidParameter("description", text, "Up to 255 characters of EC2's set are allowed.");
  }
  return { Description: text };
};

function cidr(text: string, version: 4 | 6): string {
  const block = parseBlock(text);
  if (block?.version !== version) {
    throw invalidParameter("CIDR", text, "CIDR block is malformed");
  }
  return showBlock(block);
}

export type Permissive = Pick<
  Input<"AuthorizeSecurityGroupIngress">,
  | "IpPermissions"
  | "CidrIp"
  | "FromPort"
  | "ToPort"
  | "IpProtocol"
  | "SourceSecurityGroupName"
  | "SourceSecurityGroupOwnerId"
>;

/** Rules as requests said them before there were permissions: one block, or a group and all its traffic. */
function readOldForm(input: Permissive): Permission[] {
  const { CidrIp, IpProtocol, FromPort, ToPort, SourceSecurityGroupName: GroupName } = input;
  if (GroupName !== undefined) {
    if ([CidrIp, IpProtocol, FromPort, ToPort].some((one) => one !== undefined)) {
      throw invalidCombination("A source group's name stands without protocol, ports and block.");
    }
    const UserId = input.SourceSecurityGroupOwnerId;
    const pair = { GroupName, ...(UserId === undefined ? {} : { UserId }) };
    return [["tcp", 0, 65_535], ["udp", 0, 65_535], ["icmp", -1, -1]].map(([name, from, to]) => ({
      IpProtocol: String(name),
      FromPort: Number(from),
      ToPort: Number(to),
      UserIdGroupPairs: [pair],
    }));
  }
  if (CidrIp === undefined && IpProtocol === undefined) return [];
  return [{
    ...(IpProtocol === undefined ? {} : { IpProtocol }),
    ...(FromPort === undefined ? {} : { FromPort }),
    ...(ToPort === undefined ? {} : { ToPort }),
    IpRanges: CidrIp === undefined ? [] : [{ CidrIp }],
  }];
}

/**
 * The single rules that a request speaks of.
 * @param idOfName the group of that name in the default VPC
 * @throws AwsError
 */
export function readRules(
  input: Permissive,
  account: string,
  idOfName: (name: string) => string,
): Wanted[] {
  const legacy = readOldForm(input);
  if (legacy.length > 0 && (input.IpPermissions ?? []).length > 0) {
    throw invalidCombination("The parameters ipPermissions and cidrIp cannot be used together.");
  }
  const rules: Wanted[] = [];
  for (const one of [...input.IpPermissions as Permission[] ?? [], ...legacy]) {
    if (one.IpProtocol === undefined) throw missingParameter("ipProtocol");
    const protocol = protocols[one.IpProtocol] ?? one.IpProtocol.toLowerCase();
    const isNumber = /^\d{1,3}$/.test(protocol) && Number(protocol) < 256;
    if (!["tcp", "udp", "icmp", "icmpv6", "-1"].includes(protocol) && !isNumber) {
      throw invalidParameter("protocol", one.IpProtocol, "Invalid protocol.");
    }
    checkPorts(protocol, one.FromPort, one.ToPort);
    const hasPorts = ["tcp", "udp", "icmp", "icmpv6"].includes(protocol);
    const ports = hasPorts
      ? { FromPort: one.FromPort ?? -1, ToPort: one.ToPort ?? -1 }
      : { FromPort: -1, ToPort: -1 };
    const base = { IpProtocol: protocol, ...ports };
    for (const range of one.IpRanges ?? []) {
      rules.push({
        ...base,
        CidrIpv4: cidr(range.CidrIp ?? "", 4),
        ...description(range.Description),
      });
    }
    for (const range of one.Ipv6Ranges ?? []) {
      rules.push({
        ...base,
        CidrIpv6: cidr(range.CidrIpv6 ?? "", 6),
        ...description(range.Description),
      });
    }
    for (const list of one.PrefixListIds ?? []) {
      rules.push({ ...base, PrefixListId: list.PrefixListId, ...description(list.Description) });
    }
    for (const pair of one.UserIdGroupPairs ?? []) {
      const { GroupId = pair.GroupName === undefined ? undefined : idOfName(pair.GroupName) } =
        pair;
      if (GroupId === undefined) throw missingParameter("groupId");
      rules.push({
        ...base,
        ReferencedGroupInfo: { GroupId, UserId: pair.UserId ?? account },
        ...description(pair.Description),
      });
    }
  }
  if (rules.length === 0) throw missingParameter("ipPermissions");
  const seen = new Set<string>();
  for (const rule of rules) {
    if (seen.has(keyOf(rule))) {
      throw invalidParameter(
        "ipPermissions",
        keyOf(rule),
        "The same permission must not appear multiple times",
      );
    }
    seen.add(keyOf(rule));
  }
  return rules;
}
