/**
 * Answers the operator: how the store is, and long work that is started once and then asked about.
 *
 * One fsck runs at a time; who asks for one while it runs is told of that one. The report of the last is
 * kept until the next begins.
 */
import type { Bus } from "../../bus/bus.ts";
import { onNode } from "../../bus/subject.ts";
import { errorFields, type Log } from "../../log/log.ts";
import {
  type FsckAnswer,
  s3Code,
  s3Fsck,
  s3Scrub,
  s3Status,
  s3Usage,
  type StoreStatus,
} from "../contract.ts";
import { bucketCode } from "./bucket_code.ts";
import { Fsck } from "../upkeep/fsck.ts";
import { storeStatus } from "./status.ts";
import type { Store } from "../store.ts";

interface Job {
  readonly id: string;
  readonly fsck: Fsck;
  answer: Pick<FsckAnswer, "report" | "error">;
}

export class Operator implements AsyncDisposable {
  readonly #store: Store;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #job: Job | undefined;
  #running: Promise<void> | undefined;

  constructor(store: Store, log: Log) {
    this.#store = store;
    this.#log = log;
  }

  answer(bus: Bus, nodeId: string, more: () => Pick<StoreStatus, "requests">): void {
    bus.answer(onNode(nodeId, s3Status), async () => ({
      ...await storeStatus(this.#store),
      ...more(),
    }));
    bus.answer(
      onNode(nodeId, s3Usage),
      () =>
        this.#store.index.buckets.usage().filter(({ account_id }) => account_id !== "").map((
          one,
        ) => ({
          ...one,
          tags: Object.fromEntries(
            (this.#store.buckets.find(one.bucket)?.settings.tags ?? [])
              .map(({ key, value }) => [key, value]),
          ),
        })),
    );
    bus.answer(
      onNode(nodeId, s3Code),
      ({ bucket, code }) => bucketCode(this.#store, bucket, code),
    );
    bus.answer(onNode(nodeId, s3Scrub), ({ start }) => {
      if (start) void this.#store.scrub.run();
      return this.#store.scrub.state();
    });
    bus.answer(onNode(nodeId, s3Fsck), ({ job }) => this.#fsck(job));
  }

  #fsck(wanted: string | undefined): FsckAnswer {
    if (wanted === undefined && this.#running === undefined) this.#begin();
    const job = this.#job;
    if (job === undefined || (wanted !== undefined && wanted !== job.id)) {
      return { job: wanted ?? "", records: 0, extents: 0, bytes: 0, error: "The check was lost." };
    }
    return { job: job.id, ...job.fsck.done, ...job.answer };
  }

  #begin(): void {
    const job: Job = { id: crypto.randomUUID(), fsck: new Fsck(this.#store), answer: {} };
    this.#job = job;
    this.#running = job.fsck.run(this.#stop.signal)
      .then((report) => {
        job.answer = { report };
      })
      .catch((error) => {
        this.#log.error("fsck_failed", errorFields(error));
        job.answer = { error: error instanceof Error ? error.message : String(error) };
      })
      .finally(() => this.#running = undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}
