/** Traffic mirroring: filters with their rules, targets, and the sessions that tie an interface to both. */
import type { ActionTable } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import {
  mirrorFilter,
  mirrorRule,
  mirrorSession,
  mirrorTarget,
  type RuleShape,
  type SessionShape,
} from "../kinds/traffic_mirrors.ts";
import { exactlyOne, type Network, oneOf, pick, within } from "../network.ts";

/** @throws AwsError */
function checkRule(shape: Partial<RuleShape>): Partial<RuleShape> {
  const checked = { ...shape };
  for (const name of ["SourceCidrBlock", "DestinationCidrBlock"] as const) {
    const text = shape[name];
    if (text === undefined) continue;
    const block = parseBlock(text);
    if (block === undefined) throw invalidParameter(name, text, "This is not a valid CIDR block.");
    checked[name] = showBlock(block);
  }
  if (shape.RuleNumber !== undefined) within(shape.RuleNumber, 1, 32_766, "ruleNumber");
  oneOf(shape.RuleAction, ["accept", "reject"], "ruleAction", "accept");
  oneOf(shape.TrafficDirection, ["ingress", "egress"], "trafficDirection", "ingress");
  if (shape.Protocol !== undefined) within(shape.Protocol, 0, 255, "protocol");
  for (const range of [shape.SourcePortRange, shape.DestinationPortRange]) {
    if (range !== undefined && (range.FromPort ?? 0) > (range.ToPort ?? 65_535)) {
      throw invalidParameter("portRange", `${range.FromPort}-${range.ToPort}`, "From is after To.");
    }
  }
  return checked;
}

const removed = (fields: readonly string[] | undefined, names: Readonly<Record<string, string>>) =>
  Object.fromEntries((fields ?? []).map((field) => {
    const member = names[field];
    if (member === undefined) {
      throw invalidParameter("removeFields", field, "It cannot be removed.");
    }
    return [member, undefined];
  }));

/** What a request gives a rule as it is. */
const ruleMembers = [
  "SourceCidrBlock",
  "DestinationCidrBlock",
  "RuleNumber",
  "RuleAction",
  "TrafficDirection",
  "Protocol",
  "SourcePortRange",
  "DestinationPortRange",
] as const;

export const trafficMirrorActions = ({ operations: n, records }: Network) => {
  const checkNumber = (shape: Partial<SessionShape>, account: string, own?: string) => {
    if (shape.SessionNumber === undefined) return;
    within(shape.SessionNumber, 1, 32_766, "sessionNumber");
    const twice = records.find(mirrorSession, account, shape.NetworkInterfaceId ?? "")
      .some((one) => one.id !== own && one.shape.SessionNumber === shape.SessionNumber);
    if (twice) {
      throw invalidParameter(
        "sessionNumber",
        shape.SessionNumber,
        "The interface has this session number already.",
      );
    }
  };
  const uniqueRule = (rule: Partial<RuleShape>, account: string, own?: string) => {
    const twice = records.find(mirrorRule, account, rule.TrafficMirrorFilterId ?? "").some((one) =>
      one.id !== own && one.shape.RuleNumber === rule.RuleNumber &&
      one.shape.TrafficDirection === rule.TrafficDirection
    );
    if (twice) {
      throw invalidParameter(
        "ruleNumber",
        rule.RuleNumber,
        "The filter has this rule number already.",
      );
    }
  };
  return {
    CreateTrafficMirrorFilter: n.creates(mirrorFilter, {
      make: () => ({ NetworkServices: [] }),
      answer: "TrafficMirrorFilter",
    }),
    DescribeTrafficMirrorFilters: n.describes(mirrorFilter, {
      list: "TrafficMirrorFilters",
      ids: "TrafficMirrorFilterIds",
    }),
    ModifyTrafficMirrorFilterNetworkServices: n.changes(mirrorFilter, {
      id: "TrafficMirrorFilterId",
      change: ({ shape }, input) => {
        const all = [...input.AddNetworkServices ?? [], ...input.RemoveNetworkServices ?? []];
        for (const one of all) oneOf(one, ["amazon-dns"], "networkServices", "amazon-dns");
        const left = new Set([...shape.NetworkServices ?? [], ...input.AddNetworkServices ?? []]);
        for (const one of input.RemoveNetworkServices ?? []) left.delete(one);
        return { NetworkServices: [...left] };
      },
      answer: "TrafficMirrorFilter",
    }),
    DeleteTrafficMirrorFilter: n.deletes(mirrorFilter, {
      id: "TrafficMirrorFilterId",
      takes: (one) => one.name === mirrorRule.name,
      before: async (record, _input, call) => {
        for (const rule of records.find(mirrorRule, call.account_id, record.id)) {
          await records.remove(mirrorRule, call.account_id, rule.id);
        }
      },
      answer: ([record]) => ({ TrafficMirrorFilterId: record?.id }),
    }),
    CreateTrafficMirrorFilterRule: n.creates(mirrorRule, {
      answer: "TrafficMirrorFilterRule",
      make: async (input, call) => {
        await records.require(mirrorFilter, call.account_id, input.TrafficMirrorFilterId);
        uniqueRule(input as Partial<RuleShape>, call.account_id);
        return checkRule(
          pick(input, ruleMembers) as Partial<RuleShape>,
        );
      },
    }),
    DescribeTrafficMirrorFilterRules: n.describes(mirrorRule, {
      list: "TrafficMirrorFilterRules",
      ids: "TrafficMirrorFilterRuleIds",
      where: (input) => (record) =>
        input.TrafficMirrorFilterId === undefined ||
        record.shape.TrafficMirrorFilterId === input.TrafficMirrorFilterId,
    }),
    ModifyTrafficMirrorFilterRule: n.changes(mirrorRule, {
      id: "TrafficMirrorFilterRuleId",
      change: (record, input, call) => {
        const changed = checkRule(
          pick(input, [...ruleMembers, "Description"]) as Partial<RuleShape>,
        );
        uniqueRule({ ...record.shape, ...changed }, call.account_id, record.id);
        return {
          ...changed,
          ...removed(input.RemoveFields, {
            "destination-port-range": "DestinationPortRange",
            "source-port-range": "SourcePortRange",
            "protocol": "Protocol",
            "description": "Description",
          }),
        };
      },
      answer: "TrafficMirrorFilterRule",
    }),
    DeleteTrafficMirrorFilterRule: n.deletes(mirrorRule, {
      id: "TrafficMirrorFilterRuleId",
      answer: ([record]) => ({ TrafficMirrorFilterRuleId: record?.id }),
    }),
    CreateTrafficMirrorTarget: n.creates(mirrorTarget, {
      answer: "TrafficMirrorTarget",
      make: (input) => {
        exactlyOne(input, [
          "NetworkInterfaceId",
          "NetworkLoadBalancerArn",
          "GatewayLoadBalancerEndpointId",
        ]);
        return {
          Type: input.NetworkInterfaceId !== undefined
            ? "network-interface"
            : input.NetworkLoadBalancerArn !== undefined
            ? "network-load-balancer"
            : "gateway-load-balancer-endpoint",
        };
      },
    }),
    DescribeTrafficMirrorTargets: n.describes(mirrorTarget, {
      list: "TrafficMirrorTargets",
      ids: "TrafficMirrorTargetIds",
    }),
    DeleteTrafficMirrorTarget: n.deletes(mirrorTarget, {
      id: "TrafficMirrorTargetId",
      answer: ([record]) => ({ TrafficMirrorTargetId: record?.id }),
    }),
    CreateTrafficMirrorSession: n.creates(mirrorSession, {
      answer: "TrafficMirrorSession",
      make: (input, call) => {
        checkNumber(input, call.account_id);
        const random = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
        return {
          VirtualNetworkId: within(
            input.VirtualNetworkId ?? random % 16_777_215,
            0,
            16_777_215,
            "virtualNetworkId",
          ),
        };
      },
    }),
    DescribeTrafficMirrorSessions: n.describes(mirrorSession, {
      list: "TrafficMirrorSessions",
      ids: "TrafficMirrorSessionIds",
    }),
    ModifyTrafficMirrorSession: n.changes(mirrorSession, {
      id: "TrafficMirrorSessionId",
      change: (record, input, call) => {
        const changed = pick(input, [
          "TrafficMirrorTargetId",
          "TrafficMirrorFilterId",
          "PacketLength",
          "SessionNumber",
          "VirtualNetworkId",
          "Description",
        ]);
        checkNumber(
          { NetworkInterfaceId: record.shape.NetworkInterfaceId, ...changed },
          call.account_id,
          record.id,
        );
        return {
          ...changed,
          ...removed(input.RemoveFields, {
            "packet-length": "PacketLength",
            "description": "Description",
            "virtual-network-id": "VirtualNetworkId",
          }),
        };
      },
      answer: "TrafficMirrorSession",
    }),
    DeleteTrafficMirrorSession: n.deletes(mirrorSession, {
      id: "TrafficMirrorSessionId",
      answer: ([record]) => ({ TrafficMirrorSessionId: record?.id }),
    }),
  } satisfies ActionTable;
};
