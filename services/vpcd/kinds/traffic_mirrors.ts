/** Traffic mirrors as records: filters with their rules, targets and sessions. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type RuleShape = Shape<Ec2.TrafficMirrorFilterRule>;
export const mirrorRule = kind<RuleShape>({
  name: "traffic-mirror-filter-rule",
  idPrefix: "tmfr-",
  id: "TrafficMirrorFilterRuleId",
  owner: null,
  notFound: "InvalidTrafficMirrorFilterRuleId.NotFound",
  filters: [
    "traffic-mirror-filter-id",
    "traffic-mirror-filter-rule-id",
    "rule-number",
    "rule-action",
    "traffic-direction",
    "protocol",
    "source-cidr-block",
    "destination-cidr-block",
    "description",
  ],
  references: { TrafficMirrorFilterId: "traffic-mirror-filter" },
});

export const mirrorFilter = kind<Shape<Ec2.TrafficMirrorFilter>>({
  name: "traffic-mirror-filter",
  idPrefix: "tmf-",
  id: "TrafficMirrorFilterId",
  owner: null,
  notFound: "InvalidTrafficMirrorFilterId.NotFound",
  filters: ["description", "traffic-mirror-filter-id"],
  shows: (record, records) => {
    const rules = records.find(mirrorRule, record.account_id, record.id)
      .map((one) => records.show(mirrorRule, one));
    return {
      IngressFilterRules: rules.filter((one) => one.TrafficDirection === "ingress"),
      EgressFilterRules: rules.filter((one) => one.TrafficDirection === "egress"),
    };
  },
});

export const mirrorTarget = kind<Shape<Ec2.TrafficMirrorTarget>>({
  name: "traffic-mirror-target",
  idPrefix: "tmt-",
  id: "TrafficMirrorTargetId",
  notFound: "InvalidTrafficMirrorTargetId.NotFound",
  filters: [
    "description",
    "network-interface-id",
    "network-load-balancer-arn",
    "traffic-mirror-target-id",
  ],
  references: { NetworkInterfaceId: "network-interface" },
});

export type SessionShape = Shape<Ec2.TrafficMirrorSession>;
export const mirrorSession = kind<SessionShape>({
  name: "traffic-mirror-session",
  idPrefix: "tms-",
  id: "TrafficMirrorSessionId",
  notFound: "InvalidTrafficMirrorSessionId.NotFound",
  filters: [
    "description",
    "network-interface-id",
    "packet-length",
    "session-number",
    "traffic-mirror-filter-id",
    "traffic-mirror-session-id",
    "traffic-mirror-target-id",
    "virtual-network-id",
  ],
  references: {
    NetworkInterfaceId: "network-interface",
    TrafficMirrorTargetId: "traffic-mirror-target",
    TrafficMirrorFilterId: "traffic-mirror-filter",
  },
});
