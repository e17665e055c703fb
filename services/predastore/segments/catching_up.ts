/**
 * Tells a directory that has been away for long what is gone: not from a list, but from what stands in another.
 *
 * What says that something is gone, and was not heard everywhere, is kept for good in all that heard of it. So one that was
 * there all the time has it all, or has what is left of it listed. Its segments are read in order, while the store works; what
 * compaction moves meanwhile comes to stand in later ones, which are read until no other has come. It may be
 * broken off anywhere, and begins anew then: to hear something twice changes nothing.
 */
import { errorFields, type Log } from "../../log/log.ts";
import { isAbsent } from "../disk/absent.ts";
import type { BlobDirectory } from "./blob_directory.ts";
import { recordTypes, type SmallRecord } from "./record.ts";
import { scanSegment } from "./segment_scan.ts";
import { type Behind, tellAll, type Untold } from "./untold.ts";

/** Records that are told at once. */
const atOnce = 256;
const saysGone = new Set<number>([
  recordTypes.tombstone,
  recordTypes.bucketGone,
  recordTypes.uploadGone,
  recordTypes.refused,
]);

export class CatchingUp {
  readonly #untold: Untold;
  readonly #log: Log;
  readonly #all: () => readonly BlobDirectory[];
  readonly #running = new Map<BlobDirectory, Promise<void>>();
  #stopped = false;

  /** @param all that there should be */
  constructor(untold: Untold, log: Log, all: () => readonly BlobDirectory[]) {
    this.#untold = untold;
    this.#log = log;
    this.#all = all;
  }

  /** Looks which of those that are there are behind, and begins with them; returns at once. */
  begin(): void {
    for (const directory of this.#all()) {
      // One that refused a write is left alone for a while.
      if (!directory.online || directory.refusal !== undefined) continue;
      const behind = this.#untold.behind(directory.number);
      if (behind === undefined || this.#stopped || this.#running.has(directory)) continue;
      const sources = this.#sources(directory, behind);
      if (sources.length === 0) continue;
      const work = this.#catchUp(directory, behind, sources)
        .finally(() => this.#running.delete(directory));
      this.#running.set(directory, work);
    }
  }

  /** One that has it all; where none is left that was there and heard of it, all that there are. */
  #sources(directory: BlobDirectory, behind: Behind): readonly BlobDirectory[] {
    const others = this.#all().filter((one) => one !== directory);
    const whole = others.find((one) => one.online && this.#untold.canTell(one, behind));
    if (whole !== undefined) return [whole];
    // One that is away, or has not been told all yet, will tell.
    const isLeft = others.some(({ number }) => this.#untold.wasThere(number, behind));
    return isLeft || others.some(({ online }) => !online) ? [] : others;
  }

  async #catchUp(
    directory: BlobDirectory,
    { since }: Behind,
    sources: readonly BlobDirectory[],
  ): Promise<void> {
    const { path, number } = directory;
    this.#untold.beginsToCatchUp(number);
    let records = 0;
    let isDone = false;
    try {
      for (const source of sources) records += await this.#hear(directory, source, since);
      isDone = !this.#stopped;
    } catch (error) {
      this.#log.warn("blob_directory_behind", { path, ...errorFields(error) });
    }
    try {
      this.#untold.endsToCatchUp(number, isDone);
      if (isDone) this.#log.info("blob_directory_caught_up", { path, records });
    } catch (error) {
      // The index has not taken it: it is told once more.
      this.#log.warn("blob_directory_behind", { path, ...errorFields(error) });
    }
  }

  /** @returns how many records it was told */
  async #hear(directory: BlobDirectory, source: BlobDirectory, since: number): Promise<number> {
    let told = 0;
    let last = -1;
    for (;;) {
      const ids = (await source.segments()).filter((id) => id > last);
      if (ids.length === 0) return told;
      for (const segment of ids) {
        if (this.#stopped) return told;
        told += await this.#hearSegment(directory, source, segment, since);
        last = segment;
      }
    }
  }

  async #hearSegment(
    directory: BlobDirectory,
    source: BlobDirectory,
    segment: number,
    since: number,
  ): Promise<number> {
    let told = 0;
    let batch: SmallRecord[] = [];
    const flush = async () => {
      const now = batch;
      batch = [];
      if (now.length > 0) await tellAll(directory, now);
      told += now.length;
    };
    const wanted = ({ type, sequence }: { readonly type: number; readonly sequence: number }) =>
      !this.#stopped && saysGone.has(type) && sequence >= since;
    try {
      for await (const { header, meta, payload } of scanSegment(source, segment, 0, wanted)) {
        batch.push({
          type: header.type as SmallRecord["type"],
          sequence: header.sequence,
          meta,
          payload,
        });
        if (batch.length >= atOnce) await flush();
      }
    } catch (error) {
      // Compaction has moved what is left of it into a later one.
      if (!isAbsent(error)) throw error;
    }
    await flush();
    return told;
  }

  /** Returns when nothing is read any more, or what is read has had no answer for long. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running.values());
  }
}
