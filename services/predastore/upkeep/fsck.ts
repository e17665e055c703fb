/**
 * Checks the whole store and changes nothing: every copy of every record is read, every shard checked
 * against its checksums, every count of the index made again and compared.
 *
 * Clients go on meanwhile. A row that changed while it was read is read again, so what is told is true of
 * a row as it stood.
 */
import { directoriesOf } from "../extents/code.ts";
import type { Codes } from "../extents/codes.ts";
import type { Directories } from "../segments/directories.ts";
import type { ExtentReader } from "../extents/extent_reader.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import { sameLocation } from "../extents/layout.ts";
import { type StandingRecord, standingRecords, Verifier } from "./verify.ts";

export interface Finding {
  readonly what: string;
  readonly bucket: string;
  readonly key: string;
  /** Can still be read, or is lost. */
  readonly lost: boolean;
}

export interface FsckReport {
  readonly objects: number;
  readonly records: number;
  readonly extents: number;
  readonly shards: number;
  readonly bytes: number;
  /** Shards that stand nowhere, in a directory that is away, or with a wrong checksum. */
  readonly shards_missing: number;
  readonly shards_away: number;
  readonly shards_damaged: number;
  /** Small records with fewer sound copies than there should be. */
  readonly records_short: number;
  /** What can no longer be read. */
  readonly lost: number;
  /** Counts of the index that are wrong. */
  readonly index_errors: number;
  /** Whether every shard and every copy that should be there is there and sound. */
  readonly full_redundancy: boolean;
  readonly duration_ms: number;
  /** The first of what was found. */
  readonly findings: readonly Finding[];
}

export interface CheckedStore {
  readonly index: ObjectIndex;
  readonly codes: Codes;
  readonly directories: Directories;
  readonly reader: ExtentReader;
}

const findingsTold = 100;

export class Fsck {
  readonly #store: CheckedStore;
  readonly #verifier: Verifier;
  readonly #names = new Map<number, string>();
  readonly #findings: Finding[] = [];
  /** For those who watch it. */
  readonly done = { records: 0, extents: 0, bytes: 0 };
  #shards = 0;
  readonly #flaws = { missing: 0, away: 0, damaged: 0 };
  #short = 0;
  #lost = 0;
  #index_errors = 0;

  constructor(store: CheckedStore) {
    this.#store = store;
    this.#verifier = new Verifier(store.directories, store.reader);
  }

  async run(signal: AbortSignal): Promise<FsckReport> {
    const started = performance.now();
    const { index, codes } = this.#store;
    for (const { id, name } of index.buckets.all()) this.#names.set(id, name);
    let objects = 0;
    for (const record of standingRecords(index, codes)) {
      signal.throwIfAborted();
      await this.#record(record);
      this.#body(record);
      if (record.owner.kind === "object") objects++;
    }
    for (const id of index.extents.ids()) {
      signal.throwIfAborted();
      await this.#extent(id);
    }
    this.#counts();
    const { missing, away, damaged } = this.#flaws;
    return {
      objects,
      records: this.done.records,
      extents: this.done.extents,
      shards: this.#shards,
      bytes: this.done.bytes,
      shards_missing: missing,
      shards_away: away,
      shards_damaged: damaged,
      records_short: this.#short,
      lost: this.#lost,
      index_errors: this.#index_errors,
      full_redundancy:
        missing + away + damaged + this.#short + this.#lost + this.#index_errors === 0,
      duration_ms: Math.round(performance.now() - started),
      findings: this.#findings,
    };
  }

  #tell(bucket: number, key: string, what: string, lost = false): void {
    if (lost) this.#lost++;
    if (this.#findings.length >= findingsTold) return;
    this.#findings.push({ what, bucket: this.#names.get(bucket) ?? `#${bucket}`, key, lost });
  }

  async #record(record: StandingRecord) {
    const { index } = this.#store;
    this.done.records++;
    let { locations, sequence } = record;
    for (let attempt = 0; attempt < 5; attempt++) {
      const { sound, flawed } = await this.#verifier.copies({ locations, sequence }, true);
      const now = index.records.locations(record.owner);
      // Gone or replaced meanwhile.
      if (now === undefined) return;
      if (
        now.length !== locations.length ||
        now.some((one, at) => !sameLocation(one, locations[at] ?? one))
      ) {
        locations = now;
        sequence = index.records.sequence(record.owner) ?? sequence;
        continue;
      }
      this.done.bytes += locations.reduce((sum, { bytes }) => sum + bytes, 0);
      const { kind } = record.owner;
      if (sound.length === 0) {
        this.#tell(record.bucket, record.key, `no copy of its ${kind} record is sound`, true);
      } else if (sound.length < directoriesOf(record.code)) {
        this.#short++;
        const why = flawed.map(({ location, flaw }) => `${flaw} in ${location.directory}`).join();
        this.#tell(
          record.bucket,
          record.key,
          `${sound.length} sound copies of its ${kind} record${why === "" ? "" : ` (${why})`}`,
        );
      }
      return;
    }
  }

  /** What an object or part is made of must be known: nobody would look for its shards. */
  #body({ owner, bucket, key }: StandingRecord): void {
    const { index } = this.#store;
    const extents = owner.kind === "object"
      ? index.objects.findAt(bucket, key, owner.sequence)?.extents?.map(([id]) => id)
      : owner.kind === "part"
      ? [index.uploads.part(owner.upload, owner.number)?.extent].filter((id) => id !== undefined)
      : undefined;
    for (const id of extents ?? []) {
      if (index.extents.find(id) !== undefined) continue;
      this.#index_errors++;
      this.#tell(bucket, key, `its extent ${id} is not in the index`, true);
    }
  }

  async #extent(id: number): Promise<void> {
    const { index } = this.#store;
    again: for (let attempt = 0; attempt < 5; attempt++) {
      const extent = index.extents.find(id);
      if (extent === undefined) return;
      const flaws = { missing: 0, away: 0, damaged: 0 };
      let lostStripes = 0;
      let shards = 0;
      for (const [at, stripe] of extent.stripes.entries()) {
        const found = await this.#verifier.stripeFlaws(extent, at, true);
        if (found.length > 0 && index.extents.find(id)?.revision !== extent.revision) {
          continue again;
        }
        for (const { flaw } of found) flaws[flaw]++;
        if (found.length > extent.m) lostStripes++;
        shards += stripe.shards.length;
      }
      this.done.extents++;
      this.done.bytes += extent.size;
      this.#shards += shards;
      for (const flaw of ["missing", "away", "damaged"] as const) {
        this.#flaws[flaw] += flaws[flaw];
        if (flaws[flaw] > 0) {
          this.#tell(extent.bucket, extent.key, `${flaws[flaw]} shards ${flaw}`);
        }
      }
      if (lostStripes > 0) {
        this.#tell(extent.bucket, extent.key, `${lostStripes} stripes cannot be computed`, true);
      }
      // Only what still stands can be called unreferenced: it may have been replaced while it was read.
      const stands = index.extents.find(id)?.revision === extent.revision;
      if (stands && !index.extents.isReferenced(extent)) {
        this.#index_errors++;
        this.#tell(extent.bucket, extent.key, `extent ${id} belongs to nothing`);
      }
      return;
    }
  }

  /** Counts in the index, made again in one look that nobody can come between. */
  #counts(): void {
    for (const { bucket, what } of this.#store.index.wrongCounts()) {
      this.#index_errors++;
      this.#tell(bucket, "", what);
    }
  }
}
