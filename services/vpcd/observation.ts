/** Flow logs, traffic mirroring, and connect endpoints: ways to look at a network and to get into it. */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable, Call } from "../resources/actions.ts";
import { parseBlock, showBlock } from "../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../resources/errors.ts";
import { newId } from "../resources/ids.ts";
import { kind, type KindRecord } from "../resources/kind.ts";
import { tagsFromSpecifications } from "../resources/tags.ts";
import type { Ec2, Shape } from "../resources/wire.ts";
import {
  checkGroups,
  makeServiceInterface,
  networkInterface,
  removeServiceInterfaces,
} from "./interfaces.ts";
import { arn, exactlyOne, type Network, oneOf, pick, within } from "./network.ts";
import { subnet } from "./subnets.ts";

type FlowShape = Shape<Ec2.FlowLog>;
export const flowLog = kind<FlowShape>({
  name: "vpc-flow-log",
  idPrefix: "fl-",
  id: "FlowLogId",
  owner: null,
  notFound: "InvalidFlowLogId.NotFound",
  filters: [
    "deliver-log-status=DeliverLogsStatus",
    "flow-log-id",
    "log-destination-type",
    "log-group-name",
    "resource-id",
    "traffic-type",
  ],
  indexed: ["ResourceId"],
});

type RuleShape = Shape<Ec2.TrafficMirrorFilterRule>;
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

type SessionShape = Shape<Ec2.TrafficMirrorSession>;
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

export const connectEndpoint = kind<Shape<Ec2.Ec2InstanceConnectEndpoint>>({
  name: "instance-connect-endpoint",
  idPrefix: "eice-",
  id: "InstanceConnectEndpointId",
  notFound: "InvalidInstanceConnectEndpointId.NotFound",
  filters: ["instance-connect-endpoint-id", "state", "subnet-id", "vpc-id"],
  references: { SubnetId: "subnet", SecurityGroupIds: "security-group" },
  page: { minimum: 1, maximum: 50, above: "refuse" },
  settles: {
    member: "State",
    to: {
      "create-in-progress": "create-complete",
      "update-in-progress": "update-complete",
      "delete-in-progress": "delete-complete",
    },
  },
  quota: { most: 50, code: "InstanceConnectEndpointLimitExceeded" },
});

const logKinds: Readonly<Record<string, string>> = {
  VPC: "vpc",
  Subnet: "subnet",
  NetworkInterface: "network-interface",
  TransitGateway: "transit-gateway",
  TransitGatewayAttachment: "transit-gateway-attachment",
};
const defaultFormat =
  "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

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

const now = () => new Date().toISOString();
const removed = (fields: readonly string[] | undefined, names: Readonly<Record<string, string>>) =>
  Object.fromEntries((fields ?? []).map((field) => {
    const member = names[field];
    if (member === undefined) {
      throw invalidParameter("removeFields", field, "It cannot be removed.");
    }
    return [member, undefined];
  }));

export const observationActions = (network: Network) => {
  const { operations: n, records, region, az } = network;
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
  const logged = async (type: string, id: string, call: Call) => {
    await records.require(records.kindNamed(logKinds[type] ?? ""), call.account_id, id);
  };
  return {
    CreateFlowLogs: n.custom({
      check: async (input, call) => {
        if (input.ResourceIds.length === 0) throw missingParameter("resourceIds");
        oneOf(input.ResourceType, Object.keys(logKinds), "resourceType", "VPC");
        const destination = oneOf(
          input.LogDestinationType,
          ["cloud-watch-logs", "s3", "kinesis-data-firehose"],
          "logDestinationType",
          "cloud-watch-logs",
        );
        if (
          destination === "cloud-watch-logs" && input.LogGroupName === undefined &&
          input.LogDestination === undefined
        ) {
          throw missingParameter("logGroupName");
        }
        if (
          destination === "s3" &&
          !/^arn:aws:s3:::[a-z0-9.-]{3,63}(?:\/.*)?$/.test(input.LogDestination ?? "")
        ) {
          throw invalidParameter(
            "logDestination",
            input.LogDestination,
            "Expected a bucket's ARN.",
          );
        }
        oneOf(input.TrafficType, ["ACCEPT", "REJECT", "ALL"], "trafficType", "ALL");
        if (![60, 600, undefined].includes(input.MaxAggregationInterval)) {
          throw invalidParameter(
            "maxAggregationInterval",
            input.MaxAggregationInterval,
            "Expected 60 or 600.",
          );
        }
        for (const id of input.ResourceIds) {
          await logged(input.ResourceType, id, call);
          const twice = records.find(flowLog, call.account_id, id).some(({ shape }) =>
            shape.TrafficType === (input.TrafficType ?? "ALL") &&
            shape.LogDestination === input.LogDestination &&
            shape.LogGroupName === input.LogGroupName
          );
          if (twice) {
            throw new AwsError(
              "FlowLogAlreadyExists",
              `There is such a flow log of ${id} already.`,
            );
          }
        }
        tagsFromSpecifications(input.TagSpecifications, ["vpc-flow-log"]);
      },
      run: async (input, call) => {
        const tags = tagsFromSpecifications(input.TagSpecifications, ["vpc-flow-log"]);
        const made: string[] = [];
        for (const ResourceId of input.ResourceIds) {
          const { id } = await records.create(flowLog, call.account_id, {
            ...pick(input, [
              "LogGroupName",
              "LogDestination",
              "DeliverLogsPermissionArn",
              "DestinationOptions",
            ]),
            CreationTime: now(),
            DeliverLogsStatus: "SUCCESS",
            FlowLogStatus: "ACTIVE",
            LogDestinationType: input.LogDestinationType ?? "cloud-watch-logs",
            LogFormat: input.LogFormat ?? defaultFormat,
            MaxAggregationInterval: input.MaxAggregationInterval ?? 600,
            ResourceId,
            TrafficType: input.TrafficType ?? "ALL",
          } as FlowShape, { tags: tags["vpc-flow-log"] ?? {} });
          made.push(id);
        }
        return {
          FlowLogIds: made,
          Unsuccessful: [],
          ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
        };
      },
    }),
    DescribeFlowLogs: n.describes(flowLog, { list: "FlowLogs", ids: "FlowLogIds" }),
    DeleteFlowLogs: n.deletes(flowLog, {
      id: "FlowLogIds",
      answer: () => ({ Unsuccessful: [] }),
    }),

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
          pick(input, [
            "SourceCidrBlock",
            "DestinationCidrBlock",
            "RuleNumber",
            "RuleAction",
            "TrafficDirection",
            "Protocol",
            "SourcePortRange",
            "DestinationPortRange",
          ]) as Partial<RuleShape>,
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
          pick(input, [
            "SourceCidrBlock",
            "DestinationCidrBlock",
            "RuleNumber",
            "RuleAction",
            "TrafficDirection",
            "Protocol",
            "SourcePortRange",
            "DestinationPortRange",
            "Description",
          ]) as Partial<RuleShape>,
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

    CreateInstanceConnectEndpoint: n.creates(connectEndpoint, {
      id: () => newId("eice-"),
      make: async (input, call) => {
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        await checkGroups(records, call.account_id, of.shape.VpcId, input.SecurityGroupIds ?? []);
        const inVpc = [...records.all(connectEndpoint, call.account_id)]
          .some((one) => one.shape.VpcId === of.shape.VpcId);
        if (inVpc) {
          throw new AwsError(
            "InstanceConnectEndpointLimitExceeded",
            `${of.shape.VpcId} has an endpoint already.`,
          );
        }
        return {
          AvailabilityZone: of.shape.AvailabilityZone ?? az,
          CreatedAt: now(),
          IpAddressType: input.IpAddressType ?? "ipv4",
          NetworkInterfaceIds: [],
          PreserveClientIp: input.PreserveClientIp ?? false,
          SecurityGroupIds: input.SecurityGroupIds ??
            [(of.shape.VpcId ?? "").replace("vpc-", "sg-")],
          State: "create-in-progress",
          StateMessage: "",
          VpcId: of.shape.VpcId,
        };
      },
      after: async (record, input, call) => {
        const eni = await makeServiceInterface(
          network,
          call.account_id,
          record.id,
          input.SubnetId,
          {
            groups: record.shape.SecurityGroupIds ?? [],
            description: `EC2 Instance Connect Endpoint ${record.id}`,
            type: "interface",
          },
        );
        await records.change(connectEndpoint, call.account_id, record.id, () => ({
          DnsName: `${record.id}.ec2-instance-connect-endpoint.${region}.internal`,
          InstanceConnectEndpointArn: arn(
            region,
            call.account_id,
            "instance-connect-endpoint",
            record.id,
          ),
          NetworkInterfaceIds: [eni.id],
        }));
      },
      answer: (record, input) => ({
        InstanceConnectEndpoint: records.show(connectEndpoint, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeInstanceConnectEndpoints: n.describes(connectEndpoint, {
      list: "InstanceConnectEndpoints",
      ids: "InstanceConnectEndpointIds",
    }),
    ModifyInstanceConnectEndpoint: n.changes(connectEndpoint, {
      id: "InstanceConnectEndpointId",
      change: async (record, input, call) => {
        await checkGroups(
          records,
          call.account_id,
          record.shape.VpcId,
          input.SecurityGroupIds ?? [],
        );
        if (input.SecurityGroupIds?.length === 0) throw missingParameter("securityGroupIds");
        return {
          ...pick(input, ["SecurityGroupIds", "PreserveClientIp"]) as Partial<
            Pick<
              KindRecord<Shape<Ec2.Ec2InstanceConnectEndpoint>>["shape"],
              "SecurityGroupIds" | "PreserveClientIp"
            >
          >,
          IpAddressType: oneOf(
            input.IpAddressType,
            ["ipv4", "dualstack", "ipv6"],
            "ipAddressType",
            "ipv4",
          ),
          State: "update-in-progress",
        };
      },
      after: async (record, input, call) => {
        if (input.SecurityGroupIds === undefined) return;
        for (const id of record.shape.NetworkInterfaceIds ?? []) {
          await records.change(networkInterface, call.account_id, id, () => ({
            Groups: (input.SecurityGroupIds ?? []).map((GroupId) => ({ GroupId, GroupName: "" })),
          }));
        }
      },
    }),
    DeleteInstanceConnectEndpoint: n.deletes(connectEndpoint, {
      id: "InstanceConnectEndpointId",
      before: async (record, _input, call) => {
        await removeServiceInterfaces(network, call.account_id, record.id, [
          record.shape.SubnetId ?? "",
        ]);
      },
      passing: () => ({ State: "delete-in-progress", SecurityGroupIds: [] }),
      answer: "InstanceConnectEndpoint",
    }),
  } satisfies ActionTable;
};
