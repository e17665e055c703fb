/** Rules of security groups: authorised, revoked, changed and shown one by one or as permissions. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../../resources/errors.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import {
  type Permission,
  type RuleRecord,
  type RuleShape,
  rulesOf,
  securityGroupRule,
} from "../kinds/security_group_rules.ts";
import { type GroupRecord, securityGroup } from "../kinds/security_groups.ts";
import { defaultVpcOf } from "../kinds/vpcs.ts";
import type { Network } from "../network.ts";

const rulesPerGroup = 1000;

const protocols: Readonly<Record<string, string>> = {
  "6": "tcp",
  "17": "udp",
  "1": "icmp",
  "58": "icmpv6",
};

type Peer = Pick<RuleShape, "CidrIpv4" | "CidrIpv6" | "PrefixListId" | "ReferencedGroupInfo">;
type Wanted = Peer & Pick<RuleShape, "IpProtocol" | "FromPort" | "ToPort" | "Description">;

/** What makes two rules one. */
const keyOf = (rule: Wanted) =>
  [
    rule.IpProtocol,
    rule.IpProtocol === "-1" ? -1 : rule.FromPort ?? -1,
    rule.IpProtocol === "-1" ? -1 : rule.ToPort ?? -1,
    rule.CidrIpv4 ?? rule.CidrIpv6 ?? rule.PrefixListId ?? rule.ReferencedGroupInfo?.GroupId,
  ].join(" ");

function checkPorts(protocol: string, from: number | undefined, to: number | undefined): void {
  if (protocol !== "tcp" && protocol !== "udp") return;
  if (from === undefined || to === undefined) {
    throw invalidParameter("portRange", `${from}-${to}`, "TCP and UDP rules need both ports.");
  }
  if (from < 0 || to > 65_535 || from > to) {
    throw invalidParameter("portRange", `${from}-${to}`, "Invalid TCP/UDP port range");
  }
}

const description = (text: string | undefined) => {
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

type Permissive = Pick<
  Input<"AuthorizeSecurityGroupIngress">,
  "IpPermissions" | "CidrIp" | "FromPort" | "ToPort" | "IpProtocol" | "SourceSecurityGroupName"
>;

/** The single rules that a request speaks of. @throws AwsError */
function readRules(input: Permissive, account: string): Wanted[] {
  const legacy: Permission[] = input.CidrIp === undefined && input.IpProtocol === undefined
    ? []
    : [{
      ...(input.IpProtocol === undefined ? {} : { IpProtocol: input.IpProtocol }),
      ...(input.FromPort === undefined ? {} : { FromPort: input.FromPort }),
      ...(input.ToPort === undefined ? {} : { ToPort: input.ToPort }),
      IpRanges: input.CidrIp === undefined ? [] : [{ CidrIp: input.CidrIp }],
    }];
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
    const ports = protocol === "-1" ? { FromPort: -1, ToPort: -1 } : {
      FromPort: one.FromPort ?? -1,
      ToPort: one.ToPort ?? -1,
    };
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
      rules.push({
        ...base,
        ReferencedGroupInfo: { GroupId: pair.GroupId, UserId: pair.UserId ?? account },
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

const noRule = () =>
  new AwsError(
    "InvalidPermission.NotFound",
    "The specified rule does not exist in this security group.",
  );

export const securityGroupRuleActions = ({ operations: n, records }: Network) => {
  const groupOf = async (
    input: { readonly GroupId?: string | undefined; readonly GroupName?: string | undefined },
    call: Call,
  ): Promise<GroupRecord> => {
    if (input.GroupId !== undefined) {
      return await records.require(securityGroup, call.account_id, input.GroupId);
    }
    if (input.GroupName === undefined) throw missingParameter("groupName or groupId");
    const of = defaultVpcOf(records, call.account_id)?.id;
    const found = records.find(securityGroup, call.account_id, input.GroupName)
      .find((one) => one.shape.VpcId === of && one.shape.GroupName === input.GroupName);
    if (found === undefined) {
      throw new AwsError(
        "InvalidGroup.NotFound",
        `The security group '${input.GroupName}' does not exist`,
      );
    }
    return found;
  };
  /** Groups and lists that rules name are there. */
  const checkPeers = async (rules: readonly Wanted[], call: Call) => {
    for (const rule of rules) {
      const group = rule.ReferencedGroupInfo;
      if (group?.GroupId !== undefined && group.UserId === call.account_id) {
        await records.require(securityGroup, call.account_id, group.GroupId);
      } else if (group !== undefined && group.GroupId === undefined) {
        throw missingParameter("groupId");
      }
      if (rule.PrefixListId !== undefined) {
        await records.require(records.kindNamed("prefix-list"), call.account_id, rule.PrefixListId);
      }
    }
  };
  const authorize = (egress: boolean) => {
    type Request = Input<"AuthorizeSecurityGroupIngress">;
    const decide = async (input: Request, call: Call) => {
      const group = await groupOf(input, call);
      const rules = readRules(input, call.account_id);
      await checkPeers(rules, call);
      const present = rulesOf(records, group).filter((one) => one.shape.IsEgress === egress);
      for (const rule of rules) {
        if (present.some((one) => keyOf(one.shape) === keyOf(rule))) {
          throw new AwsError(
            "InvalidPermission.Duplicate",
            `the specified rule "peer: ${keyOf(rule)}" already exists`,
          );
        }
      }
      if (present.length + rules.length > rulesPerGroup) {
        throw new AwsError(
          "RulesPerSecurityGroupLimitExceeded",
          `A security group may have ${rulesPerGroup} rules of each direction.`,
        );
      }
      tagsFromSpecifications(input.TagSpecifications, ["security-group-rule"]);
      return { group, rules };
    };
    return {
      check: async (input: Request, call: Call) => void await decide(input, call),
      run: async (input: Request, call: Call) => {
        const { group, rules } = await decide(input, call);
        const tags = tagsFromSpecifications(input.TagSpecifications, ["security-group-rule"]);
        const made: RuleRecord[] = [];
        for (const rule of rules) {
          made.push(
            await records.create(securityGroupRule, call.account_id, {
              ...rule,
              GroupId: group.id,
              GroupOwnerId: call.account_id,
              IsEgress: egress,
            }, { tags: tags["security-group-rule"] ?? {} }),
          );
        }
        return {
          Return: true,
          SecurityGroupRules: made.map((rule) => records.show(securityGroupRule, rule)),
        };
      },
    };
  };
  const revoke = (egress: boolean) => {
    type Request = Input<"RevokeSecurityGroupIngress">;
    const decide = async (input: Request, call: Call): Promise<RuleRecord[]> => {
      const group = await groupOf(input, call);
      const present = rulesOf(records, group).filter((one) => one.shape.IsEgress === egress);
      if ((input.SecurityGroupRuleIds ?? []).length > 0) {
        return (input.SecurityGroupRuleIds ?? []).map((id) => {
          const found = present.find((one) => one.id === id);
          if (found !== undefined) return found;
          throw new AwsError(
            "InvalidSecurityGroupRuleId.NotFound",
            `The security group rule ID '${id}' does not exist`,
          );
        });
      }
      return readRules(input, call.account_id).map((rule) => {
        const found = present.find((one) => keyOf(one.shape) === keyOf(rule));
        if (found !== undefined) return found;
        throw noRule();
      });
    };
    return {
      check: async (input: Request, call: Call) => void await decide(input, call),
      run: async (input: Request, call: Call) => {
        const rules = await decide(input, call);
        for (const rule of rules) {
          await records.remove(securityGroupRule, call.account_id, rule.id);
        }
        return {
          Return: true,
          UnknownIpPermissions: [],
          RevokedSecurityGroupRules: rules.map((rule) => records.show(securityGroupRule, rule)),
        };
      },
    };
  };
  const describeAgain = (egress: boolean) => {
    type Request = Input<"UpdateSecurityGroupRuleDescriptionsIngress">;
    const decide = async (input: Request, call: Call) => {
      const group = await groupOf(input, call);
      const present = rulesOf(records, group).filter((one) => one.shape.IsEgress === egress);
      const byId = (input.SecurityGroupRuleDescriptions ?? []).map((one) => ({
        rule: present.find((rule) => rule.id === one.SecurityGroupRuleId),
        note: description(one.Description),
      }));
      const byRule = input.IpPermissions === undefined
        ? []
        : readRules(input, call.account_id).map((wanted) => ({
          rule: present.find((one) => keyOf(one.shape) === keyOf(wanted)),
          note: description(wanted.Description),
        }));
      const all = [...byId, ...byRule];
      if (all.length === 0) {
        throw missingParameter("ipPermissions or securityGroupRuleDescriptions");
      }
      return all.map(({ rule, note }) => {
        if (rule !== undefined) return { rule, note };
        throw noRule();
      });
    };
    return {
      check: async (input: Request, call: Call) => void await decide(input, call),
      run: async (input: Request, call: Call) => {
        for (const { rule, note } of await decide(input, call)) {
          await records.change(securityGroupRule, call.account_id, rule.id, () => ({
            Description: undefined,
            ...note,
          }));
        }
        return { Return: true };
      },
    };
  };
  return {
    AuthorizeSecurityGroupIngress: n.custom(authorize(false)),
    AuthorizeSecurityGroupEgress: n.custom(authorize(true)),
    RevokeSecurityGroupIngress: n.custom(revoke(false)),
    RevokeSecurityGroupEgress: n.custom(revoke(true)),
    UpdateSecurityGroupRuleDescriptionsIngress: n.custom(describeAgain(false)),
    UpdateSecurityGroupRuleDescriptionsEgress: n.custom(describeAgain(true)),
    DescribeSecurityGroupRules: n.describes(securityGroupRule, {
      list: "SecurityGroupRules",
      ids: "SecurityGroupRuleIds",
    }),
    ModifySecurityGroupRules: n.custom({
      check: async (input, call) => void await readChanges(input, call),
      run: async (input, call) => {
        for (const { id, rule } of await readChanges(input, call)) {
          await records.change(securityGroupRule, call.account_id, id, () => ({
            CidrIpv4: undefined,
            CidrIpv6: undefined,
            PrefixListId: undefined,
            ReferencedGroupInfo: undefined,
            Description: undefined,
            ...rule,
          }));
        }
        return { Return: true };
      },
    }),
  } satisfies ActionTable;

  async function readChanges(input: Input<"ModifySecurityGroupRules">, call: Call) {
    const group = await records.require(securityGroup, call.account_id, input.GroupId);
    const changes: { id: string; rule: Wanted }[] = [];
    for (const { SecurityGroupRuleId: id, SecurityGroupRule: wanted } of input.SecurityGroupRules) {
      const present = rulesOf(records, group).find((one) => one.id === id);
      if (present === undefined) {
        throw new AwsError(
          "InvalidSecurityGroupRuleId.NotFound",
          `The security group rule ID '${id}' does not exist`,
        );
      }
      if (wanted === undefined) throw missingParameter("securityGroupRule");
      const note = wanted.Description === undefined ? {} : { Description: wanted.Description };
      const [rule] = readRules({
        IpPermissions: [{
          IpProtocol: wanted.IpProtocol ?? present.shape.IpProtocol,
          ...(wanted.FromPort === undefined ? {} : { FromPort: wanted.FromPort }),
          ...(wanted.ToPort === undefined ? {} : { ToPort: wanted.ToPort }),
          IpRanges: wanted.CidrIpv4 === undefined ? [] : [{ CidrIp: wanted.CidrIpv4, ...note }],
          Ipv6Ranges: wanted.CidrIpv6 === undefined ? [] : [{ CidrIpv6: wanted.CidrIpv6, ...note }],
          PrefixListIds: wanted.PrefixListId === undefined
            ? []
            : [{ PrefixListId: wanted.PrefixListId, ...note }],
          UserIdGroupPairs: wanted.ReferencedGroupId === undefined
            ? []
            : [{ GroupId: wanted.ReferencedGroupId, ...note }],
        }],
      }, call.account_id);
      if (rule === undefined) throw missingParameter("securityGroupRule");
      await checkPeers([rule], call);
      changes.push({ id: present.id, rule });
    }
    return changes;
  }
};
