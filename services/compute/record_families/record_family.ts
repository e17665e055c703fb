/** What each family of actions on records is made from. */
import type { Bus } from "../../bus/bus.ts";
import type { NodeConfig } from "../../config/node_config.ts";
import { Operations } from "../../resources/operations.ts";
import type { Records } from "../../resources/records.ts";
import type { Resources } from "../../resources/resource.ts";
import type { InstanceRecord } from "../contract.ts";
import type { HostSize } from "../instances/instance_types.ts";
import type { ComputeState } from "../state.ts";

export interface RecordFamilies {
  readonly bus: Bus;
  readonly config: NodeConfig;
  readonly operations: Operations;
  readonly records: Records;
  readonly state: ComputeState;
  readonly instances: Resources<InstanceRecord>;
  readonly host: HostSize;
}

export function recordFamilies(
  options: Omit<RecordFamilies, "operations">,
): RecordFamilies {
  const operations = new Operations({
    records: options.records,
    tokens: options.state.tokens,
    parameters: {},
  });
  return { ...options, operations };
}
