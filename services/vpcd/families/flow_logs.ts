/** Flow logs: who asked to be told of the traffic of what, and where to. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { mayBeRepeated } from "../../resources/client_tokens.ts";
import { newId } from "../../resources/ids.ts";
import type { Input } from "../../resources/wire.ts";
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
  /** @param mine ids of what an earlier try of this request may have made */
  const refuseSecond = async (
    input: Input<"CreateFlowLogs">,
    call: Call,
    mine: readonly string[],
  ) => {
    for (const resource of input.ResourceIds) {
      await logged(input.ResourceType ?? "", resource, call);
      const twice = records.find(flowLog, call.account_id, resource).some(({ id, shape }) =>
        !mine.includes(id) && shape.TrafficType === (input.TrafficType ?? "ALL") &&
        shape.LogDestination === input.LogDestination && shape.LogGroupName === input.LogGroupName
      );
      if (!twice) continue;
      throw new AwsError(
        "FlowLogAlreadyExists",
        `There is such a flow log of ${resource} already.`,
      );
    }
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
        tagsFromSpecifications(input.TagSpecifications, ["vpc-flow-log"]);
        // A request that is repeated with its token would be refused because of its own success.
        if (!mayBeRepeated(input)) await refuseSecond(input, call, []);
      },
      run: async (input, call) => {
        const tags = tagsFromSpecifications(input.TagSpecifications, ["vpc-flow-log"]);
        const make = async (ids: readonly string[]) => {
          if (mayBeRepeated(input)) await refuseSecond(input, call, ids);
          for (const [index, ResourceId] of input.ResourceIds.entries()) {
            await records.create(flowLog, call.account_id, {
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
            } as FlowShape, {
              id: ids[index] ?? newId(flowLog.idPrefix),
              tags: tags["vpc-flow-log"] ?? {},
            });
          }
          return ids;
        };
        const FlowLogIds = await n.once<readonly string[], readonly string[]>(call, {
          action: "CreateFlowLogs",
          input,
          choose: () => input.ResourceIds.map(() => newId(flowLog.idPrefix)),
          work: make,
          // All or none: another request would be refused because of what this one has made.
          undo: async (ids) => {
            for (const id of ids) await records.remove(flowLog, call.account_id, id);
          },
          again: async (ids) => {
            for (const id of ids) await records.require(flowLog, call.account_id, id);
            return ids;
          },
        });
        return {
          FlowLogIds: [...FlowLogIds],
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
