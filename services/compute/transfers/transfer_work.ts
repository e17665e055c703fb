/**
 * The work on one task, from its record to its end.
 *
 * What the caller's disk or bucket is at fault for ends the task (`deleted`, with the reason); what is only away is waited
 * for. A cancelled task takes everything back first, also what was done already when it was cancelled.
 */
import { join } from "node:path";
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import type { KindRecord } from "../../resources/kind.ts";
import { delay } from "../delay.ts";
import { type Said, saying, statusOf } from "./task_status.ts";
import type { Task, Transfer, TransferDependencies } from "./transfer.ts";
import { doTask, takeBackTask } from "./transfer_steps.ts";
import type { TaskStatus } from "./transfer_tasks.ts";

/** Long enough for a service that is started again. */
const tries = 20;
const pause_ms = 3_000;

type Record = KindRecord<object>;

export class TransferWork {
  readonly #files: string[] = [];
  readonly #transfer: Transfer;
  /** The tenth of the way that was said last. */
  #noted = -1;

  constructor(
    readonly dependencies: TransferDependencies,
    readonly task: Task,
    readonly cancelled: AbortSignal,
    readonly stopped: AbortSignal,
  ) {
    this.#transfer = {
      ...dependencies,
      account_id: task.account_id,
      task_id: task.id,
      signal: AbortSignal.any([cancelled, stopped]),
      file: (name) => {
        const path = join(dependencies.directory, `${task.id}.${name}`);
        this.#files.push(path);
        return path;
      },
      note: (message, percent) => this.#note(message, percent),
    };
  }

  /** Returns when the task has ended, or the service stops: then it goes on at the next start. */
  async run(): Promise<void> {
    const { one, account_id, id } = this.task;
    for (let attempt = 1; !this.stopped.aborted; attempt++) {
      const record = this.dependencies.state.records.get(one, account_id, id);
      if (record === undefined || hasEnded(statusOf(one, record))) return;
      try {
        if (await this.#try(record, attempt)) return;
      } finally {
        for (const path of this.#files.splice(0)) await Deno.remove(path).catch(() => {});
      }
    }
  }

  /** @returns whether that was its end, or the service's */
  async #try(record: Record, attempt: number): Promise<boolean> {
    const { one } = this.task;
    const isCancelled = statusOf(one, record) === "deleting";
    try {
      if (isCancelled) return await this.#takeBack(record, "The task was cancelled.");
      const made = await doTask(this.task, this.#transfer, record);
      const done = { Status: "completed", StatusMessage: undefined, Progress: undefined } as const;
      const settled = await this.#change(done, { ...made, ...endTime() });
      // Who cancelled it meanwhile was told so: all of it is taken back.
      if (statusOf(one, settled) === "deleting") return false;
      this.dependencies.log.info("transfer_done", { task_id: this.task.id });
      return true;
    } catch (error) {
      if (this.stopped.aborted) return true;
      if (this.cancelled.aborted && !isCancelled) return false;
      return await this.#failed(record, error, attempt);
    }
  }

  /** @returns whether that was its end */
  async #failed(record: Record, error: unknown, attempt: number): Promise<boolean> {
    const { log } = this.dependencies;
    const about = { task_id: this.task.id, ...errorFields(error) };
    if (error instanceof AwsError && error.status === 503 && attempt < tries) {
      log.warn("transfer_delayed", about);
      await this.#pause();
      return false;
    }
    const isTheirs = error instanceof AwsError && error.status < 500;
    if (!isTheirs) log.error("transfer_failed", about);
    return await this.#takeBack(
      record,
      isTheirs
        ? `ClientError: ${error.message}`
        : "ServerError: The disk could not be brought over. Try again.",
    );
  }

  /** As the store has it: its end may have been written without anybody hearing of it, and is to be believed then. */
  async #hasEnded(): Promise<boolean> {
    const { one, account_id, id } = this.task;
    const tasks = this.dependencies.state.records.of(one);
    const row = await tasks.table.read(tasks.keyOf(account_id, id));
    return row === undefined || hasEnded(statusOf(one, row.value));
  }

  /**
   * Ends the task without anything left of it. Nobody knows any more of what an ended task has left, so its end waits
   * for a store that is away.
   * @returns true
   */
  async #takeBack(record: Record, message: string): Promise<boolean> {
    while (!this.stopped.aborted) {
      try {
        if (await this.#hasEnded()) return true;
        await takeBackTask(this.task, this.#transfer, record, this.stopped);
        break;
      } catch (error) {
        this.dependencies.log.warn("transfer_cleanup_failed", {
          task_id: this.task.id,
          ...errorFields(error),
        });
        if (!(error instanceof AwsError) || error.status !== 503) break;
        await this.#pause();
      }
    }
    if (this.stopped.aborted) return true;
    await this.#change(
      { Status: "deleted", StatusMessage: message, Progress: undefined },
      endTime(),
    );
    return true;
  }

  async #change(said: Said, more: object = {}): Promise<Record> {
    const { one, account_id, id } = this.task;
    return await this.dependencies.state.records.change(one, account_id, id, (record) => {
      // What comes late says nothing of a task that is cancelled or done.
      const isLate = said.Status !== "deleted" && statusOf(one, record) !== "active";
      return isLate ? {} : { ...saying(one, record, said), ...more };
    });
  }

  /** A record is written for every tenth, not for every megabyte. */
  #note(message: string, percent: number): void {
    const tenth = Math.floor(percent / 10);
    if (tenth === this.#noted) return;
    this.#noted = tenth;
    const { id: task_id } = this.task;
    this.#change({ Status: "active", StatusMessage: message, Progress: String(percent) })
      .catch((error) =>
        this.dependencies.log.warn("progress_not_said", { task_id, ...errorFields(error) })
      );
  }

  async #pause(): Promise<void> {
    const stopped = Promise.withResolvers<void>();
    const resolve = () => stopped.resolve();
    this.stopped.addEventListener("abort", resolve, { once: true });
    if (!this.stopped.aborted) await Promise.race([delay(pause_ms), stopped.promise]);
    this.stopped.removeEventListener("abort", resolve);
  }
}

const hasEnded = (status: TaskStatus) => status === "completed" || status === "deleted";

const endTime = () => ({ EndTime: new Date().toISOString() });
