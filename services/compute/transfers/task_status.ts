/** Where the status, message and progress of a task are in its shape, whichever kind it is of. */
import type { AnyKind, KindRecord } from "../../resources/kind.ts";
import { readPath } from "../../resources/kind.ts";
import { importSnapshotTask, type TaskStatus } from "./transfer_tasks.ts";

export interface Said {
  readonly Status: TaskStatus;
  readonly StatusMessage?: string | undefined;
  readonly Progress?: string | undefined;
}

export function statusOf(one: AnyKind, record: KindRecord<object>): TaskStatus {
  const path = one === importSnapshotTask ? "SnapshotTaskDetail.Status" : "Status";
  return String(readPath(record.shape, path)[0]) as TaskStatus;
}

/** The change of a task's shape that says that. */
export function saying(one: AnyKind, record: KindRecord<object>, said: Said): object {
  if (one !== importSnapshotTask) return said;
  const detail = (record.shape as { SnapshotTaskDetail: object }).SnapshotTaskDetail;
  return { SnapshotTaskDetail: { ...detail, ...said } };
}
