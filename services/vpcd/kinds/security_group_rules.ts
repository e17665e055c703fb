/** The rules of security groups as records, and as the permissions that EC2 shows of a group. */
import { kind, type KindRecord, type OtherRecords } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type RuleShape = Shape<Ec2.SecurityGroupRule>;
export type RuleRecord = KindRecord<RuleShape>;
export type Permission = Shape<Ec2.IpPermission>;

export const securityGroupRule = kind<RuleShape>({
  name: "security-group-rule",
  idPrefix: "sgr-",
  id: "SecurityGroupRuleId",
  owner: null,
  notFound: "InvalidSecurityGroupRuleId.NotFound",
  filters: ["group-id"],
  indexed: ["PrefixListId"],
  references: { "ReferencedGroupInfo.GroupId": "security-group", GroupId: "security-group" },
  quota: { most: 200_000, code: "RulesPerSecurityGroupLimitExceeded" },
});

export const rulesOf = (
  records: OtherRecords,
  group: Pick<KindRecord<unknown>, "account_id" | "id">,
) =>
  records.find(securityGroupRule, group.account_id, group.id)
    .filter((rule) => rule.shape.GroupId === group.id);

/** Rules of one group as EC2's permissions: by protocol and ports. */
export function permissionsOf(rules: readonly RuleRecord[]) {
  const shown = (egress: boolean): Permission[] => {
    const byPorts = new Map<string, Permission>();
    for (const { shape: rule } of rules) {
      if (rule.IsEgress !== egress) continue;
      const key = `${rule.IpProtocol} ${rule.FromPort ?? ""} ${rule.ToPort ?? ""}`;
      const note = rule.Description === undefined ? {} : { Description: rule.Description };
      const all = rule.IpProtocol === "-1";
      const one = byPorts.get(key) ?? {
        IpProtocol: rule.IpProtocol,
        ...(all || rule.FromPort === undefined ? {} : { FromPort: rule.FromPort }),
        ...(all || rule.ToPort === undefined ? {} : { ToPort: rule.ToPort }),
        IpRanges: [],
        Ipv6Ranges: [],
        PrefixListIds: [],
        UserIdGroupPairs: [],
      };
      byPorts.set(key, one);
      if (rule.CidrIpv4 !== undefined) one.IpRanges?.push({ CidrIp: rule.CidrIpv4, ...note });
      if (rule.CidrIpv6 !== undefined) one.Ipv6Ranges?.push({ CidrIpv6: rule.CidrIpv6, ...note });
      if (rule.PrefixListId !== undefined) {
        one.PrefixListIds?.push({ PrefixListId: rule.PrefixListId, ...note });
      }
      if (rule.ReferencedGroupInfo !== undefined) {
        one.UserIdGroupPairs?.push({ ...rule.ReferencedGroupInfo, ...note });
      }
    }
    return [...byPorts.values()];
  };
  return { IpPermissions: shown(false), IpPermissionsEgress: shown(true) };
}
