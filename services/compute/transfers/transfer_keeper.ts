/**
 * Who works on import and export tasks: one after the other on the node that has taken them on, begun
 * anew after a crash.
 *
 * A task's record is there before any of its work; the ids of all that it makes follow from its own, so
 * that whoever comes next takes back exactly what was made. What the caller's disk or bucket is at fault
 * for ends the task (`deleted`, with the reason); what is only away is waited for. A cancelled task takes
 * everything back first. Files in between lie in a directory of their own, which is emptied at start.
 */
import { join } from "node:path";
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import type { AnyKind, Kind, KindRecord } from "../../resources/kind.ts";
import { readPath } from "../../resources/kind.ts";
import { delay } from "../delay.ts";
import { exportImage } from "./image_export.ts";
import { importImage, importSnapshot, takeBackImport } from "./image_transfer.ts";
import type { Transfer, TransferDependencies } from "./transfer.ts";
import {
  exportImageTask,
  importImageTask,
  importSnapshotTask,
  type TaskStatus,
} from "./transfer_tasks.ts";

/** Long enough for a service that is started again. */
const tries = 20;
const pause_ms = 3_000;
const kept_ms = 7 * 24 * 3600_000;
const housekeeping_ms = 3600_000;

const kinds: readonly AnyKind[] = [importImageTask, importSnapshotTask, exportImageTask];
const cancelled = new Error("the task was cancelled");

/** Where a task's status, message and progress are in its shape. */
export function statusOf(one: AnyKind, record: KindRecord<object>): TaskStatus {
  const path = one === importSnapshotTask ? "SnapshotTaskDetail.Status" : "Status";
  return String(readPath(record.shape, path)[0]) as TaskStatus;
}

interface Said {
  readonly Status: TaskStatus;
  readonly StatusMessage?: string | undefined;
  readonly Progress?: string | undefined;
}

/** The change of a task's shape that says that. */
export function saying(one: AnyKind, record: KindRecord<object>, said: Said): object {
  if (one !== importSnapshotTask) return said;
  const detail = (record.shape as { SnapshotTaskDetail: object }).SnapshotTaskDetail;
  return { SnapshotTaskDetail: { ...detail, ...said } };
}

export class TransferKeeper {
  readonly #running = new Map<string, AbortController>();
  readonly #stop = new AbortController();
  readonly #stopped = Promise.withResolvers<void>();
  #last: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(readonly dependencies: TransferDependencies) {}

  /** Takes up what an earlier run of this node left. */
  start(): void {
    const { directory, log } = this.dependencies;
    this.#last = (async () => {
      await Deno.remove(directory, { recursive: true }).catch(() => {});
      await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    })().catch((error) => log.error("transfer_directory_failed", errorFields(error)));
    this.sweep();
    this.#timer = setInterval(() => this.sweep(), housekeeping_ms);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new Error("the service stops"));
    this.#stopped.resolve();
    await this.#last;
  }

  sweep(): void {
    const { config, state, log } = this.dependencies;
    for (const one of kinds) {
      for (const record of state.records.all(one)) {
        const shape = record.shape as { NodeId: string; EndTime?: string };
        const status = statusOf(one, record);
        if (status === "active" || status === "deleting") {
          if (shape.NodeId === config.node_id) this.drive(one, record);
        } else if (Date.now() - Date.parse(shape.EndTime ?? "") > kept_ms) {
          void state.records.remove(one, record.account_id, record.id)
            .catch((error) => log.warn("task_not_forgotten", errorFields(error)));
        }
      }
    }
  }

  /** How many tasks of an account are not done yet. */
  active(account: string): number {
    return kinds.flatMap((one) => [...this.dependencies.state.records.all(one, account)])
      .filter((record) => {
        const one = this.dependencies.state.records.kindOf(record.id);
        return one !== undefined && statusOf(one, record) === "active";
      }).length;
  }

  /** Brings a task to its end in the background, when those before it have come to theirs. */
  drive(one: AnyKind, { account_id, id }: Pick<KindRecord<object>, "account_id" | "id">): void {
    if (this.#running.has(id) || this.#stop.signal.aborted) return;
    const control = new AbortController();
    this.#running.set(id, control);
    this.#last = this.#last.then(() => this.#work(one, account_id, id, control))
      .catch((error) =>
        this.dependencies.log.error("transfer_failed", { task_id: id, ...errorFields(error) })
      )
      .finally(() => this.#running.delete(id));
  }

  /** Ends a task that is `deleting` by its record. */
  cancel(one: AnyKind, record: KindRecord<object>): void {
    const running = this.#running.get(record.id);
    if (running === undefined) this.drive(one, record);
    else running.abort(cancelled);
  }

  async #work(one: AnyKind, account_id: string, id: string, control: AbortController) {
    const { state, log, directory } = this.dependencies;
    const signal = AbortSignal.any([control.signal, this.#stop.signal]);
    const files: string[] = [];
    const change = (said: Said, more: object = {}) =>
      state.records.change(one, account_id, id, (record) => {
        // What comes late says nothing of a task that is cancelled or done.
        const isLate = said.Status !== "deleted" && statusOf(one, record) !== "active";
        return isLate ? {} : { ...saying(one, record, said), ...more };
      });
    let noted = -1;
    const transfer: Transfer = {
      ...this.dependencies,
      account_id,
      task_id: id,
      signal,
      file: (name) => {
        const path = join(directory, `${id}.${name}`);
        files.push(path);
        return path;
      },
      note: (message, percent) => {
        // A record is written for every tenth, not for every megabyte.
        const tenth = Math.floor(percent / 10);
        if (tenth === noted) return;
        noted = tenth;
        change({ Status: "active", StatusMessage: message, Progress: String(percent) })
          .catch((error) => log.warn("progress_not_said", { task_id: id, ...errorFields(error) }));
      },
    };
    const ended = () => ({ EndTime: new Date().toISOString() });
    for (let attempt = 1; !this.#stop.signal.aborted; attempt++) {
      const record = state.records.get(one, account_id, id);
      if (record === undefined) return;
      try {
        if (statusOf(one, record) === "deleting") {
          if (!await this.#takeBack(one, transfer, record)) return;
          await change({ Status: "deleted", StatusMessage: "The task was cancelled." }, ended());
          return;
        }
        const made = await this.#run(one, transfer, record);
        const settled = await change(
          { Status: "completed", StatusMessage: undefined, Progress: undefined },
          { ...made, ...ended() },
        );
        // Who cancelled it meanwhile was told so: all of it is taken back.
        if (statusOf(one, settled) === "deleting") continue;
        log.info("transfer_done", { task_id: id });
        return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (control.signal.aborted && statusOf(one, record) !== "deleting") continue;
        const isAway = error instanceof AwsError && error.status === 503 && attempt < tries;
        if (isAway) {
          log.warn("transfer_delayed", { task_id: id, ...errorFields(error) });
          await delay(pause_ms);
          continue;
        }
        const isTheirs = error instanceof AwsError && error.status < 500;
        if (!isTheirs) log.error("transfer_failed", { task_id: id, ...errorFields(error) });
        if (!await this.#takeBack(one, transfer, record)) return;
        const message = isTheirs
          ? `ClientError: ${error.message}`
          : "ServerError: The disk could not be brought over. Try again.";
        await change({ Status: "deleted", StatusMessage: message, Progress: undefined }, ended());
        return;
      } finally {
        for (const path of files.splice(0)) await Deno.remove(path).catch(() => {});
      }
    }
  }

  async #run(one: AnyKind, transfer: Transfer, record: KindRecord<object>): Promise<object> {
    const as = <S extends object>(_: Kind<S>) => record as KindRecord<S>;
    if (one === importImageTask) return await importImage(transfer, as(importImageTask));
    if (one === importSnapshotTask) return await importSnapshot(transfer, as(importSnapshotTask));
    return await exportImage(transfer, as(exportImageTask));
  }

  /**
   * Nobody knows any more of what an ended task has left, so its end waits for a block store that is away.
   * @returns false when the service stops before: the task goes on at the next start
   */
  async #takeBack(
    one: AnyKind,
    transfer: Transfer,
    record: KindRecord<object>,
  ): Promise<boolean> {
    if (one === exportImageTask) return true;
    const disks = one === importImageTask
      ? (record as KindRecord<{ Disks: readonly unknown[] }>).shape.Disks.length
      : 1;
    while (!this.#stop.signal.aborted) {
      try {
        await takeBackImport(transfer, disks);
        return true;
      } catch (error) {
        this.dependencies.log.warn("transfer_cleanup_failed", {
          task_id: record.id,
          ...errorFields(error),
        });
        if (!(error instanceof AwsError) || error.status !== 503) return true;
        await Promise.race([delay(pause_ms), this.#stopped.promise]);
      }
    }
    return false;
  }
}
