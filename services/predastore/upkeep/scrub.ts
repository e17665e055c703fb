/**
 * Reads everything that lives, slowly and again and again, and has repaired what it finds: bit rot is met
 * while the other shards are still sound.
 *
 * Where a scrub is stands in the index, so that a restart goes on with it. How long ago the last one
 * ended is the scrub's age. `fsck` is the same reading without a repair and without a pause, whose
 * report counts what it saw.
 */
import { errorFields, type Log } from "../../log/log.ts";
import type { Codes } from "../extents/codes.ts";
import type { Directories } from "../segments/directories.ts";
import type { ExtentReader } from "../extents/extent_reader.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import { Pace } from "./pace.ts";
import type { Repair } from "./repair.ts";
import { standingRecords, Verifier } from "./verify.ts";

export interface ScrubbedStore {
  readonly options: { readonly log: Log; readonly scrub_bytes_per_second?: number };
  readonly index: ObjectIndex;
  readonly codes: Codes;
  readonly directories: Directories;
  readonly reader: ExtentReader;
  readonly repair: Repair;
  readonly progress: { readonly now: () => number };
}

export interface ScrubState {
  readonly running: boolean;
  /** Milliseconds since 1970; undefined before the first has ended. */
  readonly finished_ms: number | undefined;
  readonly extents_checked: number;
  readonly records_checked: number;
  readonly bytes_checked: number;
  readonly damaged: number;
}

const defaultPace = 32 << 20;
/** How old a scrub may be before the next one begins. */
const scrubEvery_ms = 7 * 86_400_000;

export class Scrub {
  readonly #store: ScrubbedStore;
  readonly #verifier: Verifier;
  #pace: Pace;
  #running: Promise<void> | undefined;
  #stopped = false;
  #counts = { extents_checked: 0, records_checked: 0, bytes_checked: 0, damaged: 0 };

  constructor(store: ScrubbedStore) {
    this.#store = store;
    this.#verifier = new Verifier(store.directories, store.reader);
    this.#pace = new Pace(store.options.scrub_bytes_per_second ?? defaultPace);
  }

  state(): ScrubState {
    const finished = this.#store.index.value("scrub_finished_ms");
    return {
      running: this.#running !== undefined,
      finished_ms: finished === undefined ? undefined : Number(finished),
      ...this.#counts,
    };
  }

  /** Whether one was broken off, or the last is too old. */
  isDue(): boolean {
    const { finished_ms } = this.state();
    if (this.#store.index.value("scrub_cursor") !== undefined) return true;
    return this.#store.progress.now() - (finished_ms ?? 0) >= scrubEvery_ms;
  }

  /** Goes through everything once, from where the last one was broken off. */
  run(): Promise<void> {
    return this.#running ??= this.#all()
      .catch((error) => this.#store.options.log.error("scrub_failed", errorFields(error)))
      .finally(() => this.#running = undefined);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pace.stop();
    await this.#running;
  }

  async #all(): Promise<void> {
    const { index, codes, repair, progress, options: { log } } = this.#store;
    const cursor = Number(index.value("scrub_cursor") ?? -1);
    this.#counts = { extents_checked: 0, records_checked: 0, bytes_checked: 0, damaged: 0 };
    if (cursor < 0) {
      for (const record of standingRecords(index, codes)) {
        const bytes = record.locations.reduce((sum, one) => sum + one.bytes, 0);
        await this.#pace.take(bytes);
        if (this.#stopped) return;
        const { flawed } = await this.#verifier.copies(record, true);
        this.#counts.records_checked++;
        this.#counts.bytes_checked += bytes;
        const damaged = flawed.filter(({ flaw }) => flaw === "damaged").length;
        if (damaged === 0) continue;
        if (!index.records.uses(record.owner, record.locations[0] ?? nowhere)) continue;
        this.#counts.damaged += damaged;
        log.warn("record_damaged", { ...record.owner, copies: damaged });
        await repair.record(record, true).catch((error) =>
          log.error("record_not_repaired", { ...record.owner, ...errorFields(error) })
        );
      }
    }
    let sinceStored = 0;
    for (const id of index.extents.ids(cursor)) {
      if (this.#stopped) return;
      await this.#extent(id);
      if (++sinceStored < 64) continue;
      sinceStored = 0;
      index.transaction(() => index.setValue("scrub_cursor", String(id)));
    }
    if (this.#stopped) return;
    index.transaction(() => {
      index.removeValue("scrub_cursor");
      index.setValue("scrub_finished_ms", String(progress.now()));
    });
    log.info("scrubbed", { ...this.#counts });
  }

  async #extent(id: number): Promise<void> {
    const { index, repair, options: { log } } = this.#store;
    const extent = index.extents.find(id);
    if (extent === undefined) return;
    let damaged = 0;
    for (const [at, stripe] of extent.stripes.entries()) {
      await this.#pace.take(stripe.bytes * (extent.k + extent.m) / extent.k);
      if (this.#stopped) return;
      const flaws = await this.#verifier.stripeFlaws(extent, at, true);
      damaged += flaws.filter(({ flaw }) => flaw === "damaged").length;
      this.#counts.bytes_checked += stripe.bytes;
    }
    this.#counts.extents_checked++;
    // Compaction may have moved it while it was read.
    if (damaged === 0 || index.extents.find(id)?.revision !== extent.revision) return;
    this.#counts.damaged += damaged;
    log.warn("shards_damaged", { extent: id, key: extent.key, shards: damaged });
    await repair.extent(id, true).catch((error) =>
      log.error("extent_not_repaired", { extent: id, key: extent.key, ...errorFields(error) })
    );
  }
}

const nowhere = { directory: 255, segment: 0, offset: 0 };
