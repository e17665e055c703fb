/**
 * What is done for a task of each kind, and how it is taken back. The ids of all that a task makes follow from its own, so
 * that whoever comes next takes back exactly what was made. Either may be begun anew.
 */
import type { Kind, KindRecord } from "../../resources/kind.ts";
import { exportImage, takeBackExport } from "./image_export.ts";
import { importImage, importSnapshot, takeBackImport } from "./image_transfer.ts";
import type { Task, Transfer } from "./transfer.ts";
import { exportImageTask, importImageTask, importSnapshotTask } from "./transfer_tasks.ts";

const as = <S extends object>(_: Kind<S>, record: KindRecord<object>) => record as KindRecord<S>;

/** @returns what becomes part of the task's record */
export async function doTask(
  { one }: Task,
  transfer: Transfer,
  record: KindRecord<object>,
): Promise<object> {
  if (one === importImageTask) return await importImage(transfer, as(importImageTask, record));
  if (one === importSnapshotTask) {
    return await importSnapshot(transfer, as(importSnapshotTask, record));
  }
  return await exportImage(transfer, as(exportImageTask, record));
}

/** @param signal not the task's own, which is aborted by who cancels it */
export async function takeBackTask(
  { one }: Task,
  transfer: Transfer,
  record: KindRecord<object>,
  signal: AbortSignal,
): Promise<void> {
  if (one === exportImageTask) {
    return await takeBackExport(transfer, as(exportImageTask, record), signal);
  }
  const disks = one === importImageTask ? as(importImageTask, record).shape.Disks.length : 1;
  await takeBackImport(transfer, disks);
}
