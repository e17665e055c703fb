/** Security groups as records; their rules are records of their own. */
import { kind, type KindRecord, type OtherRecords } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { permissionsOf, type RuleRecord, rulesOf } from "./security_group_rules.ts";

export type GroupShape = Shape<Ec2.SecurityGroup> & {
  /** Other VPCs that the group is associated with. */
  readonly AssociatedVpcs?: readonly string[];
};
export type GroupRecord = KindRecord<GroupShape>;

const ofRules =
  (egress: boolean, read: (rule: RuleRecord["shape"]) => string | number | undefined) =>
  (record: GroupRecord, records: OtherRecords) =>
    rulesOf(records, record).filter((rule) => rule.shape.IsEgress === egress)
      .map((rule) => read(rule.shape));

const ruleFilters = (egress: boolean) => {
  const prefix = egress ? "egress.ip-permission" : "ip-permission";
  return {
    [`${prefix}.cidr`]: ofRules(egress, (rule) => rule.CidrIpv4),
    [`${prefix}.from-port`]: ofRules(egress, (rule) => rule.FromPort),
    [`${prefix}.group-id`]: ofRules(egress, (rule) => rule.ReferencedGroupInfo?.GroupId),
    [`${prefix}.user-id`]: ofRules(egress, (rule) => rule.ReferencedGroupInfo?.UserId),
    [`${prefix}.ipv6-cidr`]: ofRules(egress, (rule) => rule.CidrIpv6),
    [`${prefix}.prefix-list-id`]: ofRules(egress, (rule) => rule.PrefixListId),
    [`${prefix}.protocol`]: ofRules(egress, (rule) => rule.IpProtocol),
    [`${prefix}.to-port`]: ofRules(egress, (rule) => rule.ToPort),
  };
};

export const securityGroup = kind<GroupShape>({
  name: "security-group",
  idPrefix: "sg-",
  id: "GroupId",
  notFound: "InvalidGroup.NotFound",
  malformed: "InvalidGroupId.Malformed",
  filters: ["description", "group-id", "group-name", "vpc-id"],
  computed: { ...ruleFilters(false), ...ruleFilters(true) },
  shows: (record, records) => permissionsOf(rulesOf(records, record)),
  references: { VpcId: "vpc" },
  indexed: ["AssociatedVpcs", "GroupName"],
  quota: { most: 2500, code: "SecurityGroupLimitExceeded" },
});
