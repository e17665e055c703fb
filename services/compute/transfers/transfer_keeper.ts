/**
 * Who works on import and export tasks: one after the other on the node that has taken them on, begun
 * anew after a crash. What is done for one is in `transfer_work.ts`.
 *
 * A task's record is there before any of its work. Files in between lie in a directory of their own, which
 * is emptied at start.
 */
import { errorFields } from "../../log/log.ts";
import type { AnyKind, KindRecord } from "../../resources/kind.ts";
import { statusOf } from "./task_status.ts";
import type { TransferDependencies } from "./transfer.ts";
import { exportImageTask, importImageTask, importSnapshotTask } from "./transfer_tasks.ts";
import { TransferWork } from "./transfer_work.ts";

const kept_ms = 7 * 24 * 3600_000;
const housekeeping_ms = 3600_000;

const kinds: readonly AnyKind[] = [importImageTask, importSnapshotTask, exportImageTask];
const cancelled = new Error("the task was cancelled");

export class TransferKeeper {
  readonly #running = new Map<string, AbortController>();
  readonly #stop = new AbortController();
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
    const work = new TransferWork(
      this.dependencies,
      { one, account_id, id },
      control.signal,
      this.#stop.signal,
    );
    this.#last = this.#last.then(() => work.run())
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
}
