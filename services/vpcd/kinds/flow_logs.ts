/** Flow logs as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type FlowShape = Shape<Ec2.FlowLog>;
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
