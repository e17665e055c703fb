/** What all that is done about snapshots stands on. */
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log/log.ts";
import type { Resources } from "../../resources/resource.ts";
import type { Background } from "../background.ts";
import type { InstanceRecord } from "../contract.ts";
import type { ComputeState } from "../state.ts";

export interface SnapshotCare {
  readonly bus: Bus;
  readonly log: Log;
  readonly state: ComputeState;
  readonly instances: Resources<InstanceRecord>;
  readonly background: Background;
  /** Milliseconds since 1970. */
  clock(): number;
}
