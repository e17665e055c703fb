/** Flow logs: who asked to be told of the traffic of what, and where to. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import { flowLog, type FlowShape } from "../kinds/flow_logs.ts";
import { type Network, oneOf, pick } from "../network.ts";

const logKinds: Readonly<Record<string, string>> = {
  VPC: "vpc",
  Subnet: "subnet",
  NetworkInterface: "network-interface",
  TransitGateway: "transit-gateway",
  TransitGatewayAttachment: "transit-gateway-attachment",
};
const defaultFormat =
  "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

export const flowLogActions = ({ operations: n, records }: Network) => {
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
            CreationTime: new Date().toISOString(),
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
  } satisfies ActionTable;
};
