/** Rules of security groups: authorised, revoked, changed and shown one by one or as permissions. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { missingParameter } from "../../resources/errors.ts";
import { notFound } from "../../resources/ids.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import { type RuleRecord, rulesOf, securityGroupRule } from "../kinds/security_group_rules.ts";
import { type GroupRecord, securityGroup } from "../kinds/security_groups.ts";
import { requireList } from "../kinds/prefix_lists.ts";
import { defaultVpcOf } from "../kinds/vpcs.ts";
import { exactlyOne, type Network } from "../network.ts";
import { peeringBetween } from "./peering.ts";
import { description, keyOf, type Permissive, readRules, type Wanted } from "./requested_rules.ts";

const rulesPerGroup = 1000;

const duplicate = (rule: Wanted) =>
  new AwsError(
    "InvalidPermission.Duplicate",
    `the specified rule "peer: ${keyOf(rule)}" already exists`,
  );

const noRule = () =>
  new AwsError(
    "InvalidPermission.NotFound",
    "The specified rule does not exist in this security group.",
  );

export const securityGroupRuleActions = ({ operations: n, records }: Network) => {
  const named = (name: string, call: Call): GroupRecord => {
    const of = defaultVpcOf(records, call.account_id)?.id;
    const found = records.findAt(securityGroup, call.account_id, "GroupName", name)
      .find((one) => one.shape.VpcId === of);
    if (found !== undefined) return found;
    throw new AwsError("InvalidGroup.NotFound", `The security group '${name}' does not exist`);
  };
  const read = (input: Permissive, call: Call) =>
    readRules(input, call.account_id, (name) => named(name, call).id);
  const groupOf = async (
    input: { readonly GroupId?: string | undefined; readonly GroupName?: string | undefined },
    call: Call,
  ): Promise<GroupRecord> => {
    if (input.GroupId !== undefined) {
      return await records.require(securityGroup, call.account_id, input.GroupId);
    }
    if (input.GroupName === undefined) throw missingParameter("groupName or groupId");
    return named(input.GroupName, call);
  };
  /** Groups and lists that rules of `group` name are there; those of others only across a peering. */
  const checkPeers = async (group: GroupRecord, rules: readonly Wanted[], call: Call) => {
    for (const { ReferencedGroupInfo: info, PrefixListId } of rules) {
      const { GroupId: id = "", UserId: account = "" } = info ?? {};
      if (info !== undefined && account === call.account_id) {
        await records.require(securityGroup, account, id);
      } else if (info !== undefined) {
        const theirs = records.get(securityGroup, account, id)?.shape.VpcId;
        const link = peeringBetween(records, [call.account_id, account], group.shape.VpcId, theirs);
        if (link?.shape.Status?.Code !== "active") throw notFound([id], securityGroup.errors);
      }
      if (PrefixListId !== undefined) await requireList(records, call.account_id, PrefixListId);
    }
  };
  const authorize = (egress: boolean) => {
    type Request = Input<"AuthorizeSecurityGroupIngress">;
    const decide = async (input: Request, call: Call) => {
      const group = await groupOf(input, call);
      const rules = read(input, call);
      await checkPeers(group, rules, call);
      const present = rulesOf(records, group).filter((one) => one.shape.IsEgress === egress);
      for (const rule of rules) {
        if (present.some((one) => keyOf(one.shape) === keyOf(rule))) {
          throw duplicate(rule);
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
      return read(input, call).map((rule) => {
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
      const byRule = input.IpPermissions === undefined ? [] : read(input, call).map((wanted) => ({
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
    const changes: { id: string; rule: Wanted; egress: boolean | undefined }[] = [];
    for (const { SecurityGroupRuleId: id, SecurityGroupRule: wanted } of input.SecurityGroupRules) {
      const present = rulesOf(records, group).find((one) => one.id === id);
      if (present === undefined) {
        throw new AwsError(
          "InvalidSecurityGroupRuleId.NotFound",
          `The security group rule ID '${id}' does not exist`,
        );
      }
      if (wanted === undefined) throw missingParameter("securityGroupRule");
      exactlyOne(wanted, ["CidrIpv4", "CidrIpv6", "PrefixListId", "ReferencedGroupId"]);
      const note = wanted.Description === undefined ? {} : { Description: wanted.Description };
      const [rule] = read({
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
      }, call);
      if (rule === undefined) throw missingParameter("securityGroupRule");
      await checkPeers(group, [rule], call);
      changes.push({ id: present.id, rule, egress: present.shape.IsEgress });
    }
    // What the group has afterwards.
    const keys = rulesOf(records, group).map(({ id, shape }) => {
      const changed = changes.find((one) => one.id === id);
      return `${shape.IsEgress} ${keyOf(changed?.rule ?? shape)}`;
    });
    for (const { rule, egress } of changes) {
      if (keys.filter((one) => one === `${egress} ${keyOf(rule)}`).length > 1) {
        throw duplicate(rule);
      }
    }
    return changes;
  }
};
