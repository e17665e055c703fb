/** What the work on one import or export task is given, and what all of it stands on. */
import type { Bus } from "../../bus/bus.ts";
import type { NodeConfig } from "../../config/node_config.ts";
import type { Log } from "../../log/log.ts";
import type { AnyKind } from "../../resources/kind.ts";
import type { ComputeState } from "../state.ts";
import type { DelegatedObjects } from "./delegated_objects.ts";

export type ObjectDoor = Pick<
  DelegatedObjects,
  "size" | "checkBucket" | "download" | "upload" | "remove"
>;

export interface TransferDependencies {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: Pick<NodeConfig, "node_id">;
  readonly state: ComputeState;
  readonly objects: ObjectDoor;
  /** Where files in between lie; nobody else's. */
  readonly directory: string;
}

/** Which task. */
export interface Task {
  readonly one: AnyKind;
  readonly account_id: string;
  readonly id: string;
}

/** What the work on one task is given. */
export interface Transfer extends TransferDependencies {
  readonly account_id: string;
  readonly task_id: string;
  readonly signal: AbortSignal;
  /** A file of the task's own; gone when the work has ended. */
  file(name: string): string;
  /** Says how far it is. */
  note(message: string, percent: number): void;
}
