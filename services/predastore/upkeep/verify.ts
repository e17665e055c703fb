/**
 * Reads what the index names and tells what of it is sound: the eyes of scrub, fsck and repair.
 *
 * Nothing is written here. A row that changed while it was read is looked at again by whoever asked; what
 * is told belongs to the row that was given.
 */
import { isUnanswered } from "../segments/answers.ts";
import type { Location } from "../segments/blob_directory.ts";
import type { Code } from "../extents/code.ts";
import type { Codes } from "../extents/codes.ts";
import type { Directories } from "../segments/directories.ts";
import type { ExtentReader } from "../extents/extent_reader.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { RecordOwner } from "../index/records.ts";
import type { ExtentRow, ObjectRow } from "../index/rows.ts";
import { shardPayload } from "../extents/layout.ts";

export type Flaw = "missing" | "away" | "damaged";

/** A shard that is not as it should be. */
export interface ShardFlaw {
  readonly stripe: number;
  readonly shard: number;
  readonly flaw: Flaw;
}

/** One small record with its copies, whatever it is of. */
export interface StandingRecord {
  readonly owner: RecordOwner;
  readonly sequence: number;
  readonly locations: readonly Location[];
  /** For choosing directories. */
  readonly bucket: number;
  readonly key: string;
  /** By which its directories are chosen; so many should have a copy. */
  readonly code: Code;
}

/** Every small record that the index names. */
export function* standingRecords(index: ObjectIndex, codes: Codes): Generator<StandingRecord> {
  for (const { id: bucket, settings, sequence, locations } of index.buckets.all()) {
    const code = codes.ofBucketItself(settings.code);
    yield { owner: { kind: "bucket", id: bucket }, sequence, locations, bucket, key: "", code };
  }
  for (const { bucket, settings, sequence, locations } of index.settings.all()) {
    const code = codes.ofBucketItself(settings.code);
    yield { owner: { kind: "settings", bucket }, sequence, locations, bucket, key: "", code };
  }
  for (const { id, bucket, key, meta, sequence, locations } of index.uploads.all()) {
    const code = codes.of(meta);
    yield { owner: { kind: "upload", id }, sequence, locations, bucket, key, code };
    for (const part of index.uploads.parts(id)) {
      yield {
        owner: { kind: "part", upload: id, number: part.number },
        sequence: part.sequence,
        locations: part.locations,
        bucket,
        key,
        code,
      };
    }
  }
  for (const object of index.objects.all()) yield recordOf(object, codes);
  for (const id of index.extents.ids()) {
    const extent = index.extents.find(id);
    if (extent === undefined) continue;
    const { bucket, key, revision, locations } = extent;
    yield {
      owner: { kind: "extent", id },
      sequence: revision,
      locations,
      bucket,
      key,
      code: extent,
    };
  }
}

/** The record of an object. */
export function recordOf(
  { bucket, key, sequence, locations, meta }: ObjectRow,
  codes: Codes,
): StandingRecord {
  const owner = { kind: "object", bucket, key, sequence } as const;
  return { owner, sequence, locations, bucket, key, code: codes.of(meta) };
}

/** What had no answer may be sound. */
const flawOf = (error: unknown): Flaw => isUnanswered(error) ? "away" : "damaged";

export class Verifier {
  readonly #directories: Directories;
  readonly #reader: ExtentReader;

  constructor(directories: Directories, reader: ExtentReader) {
    this.#directories = directories;
    this.#reader = reader;
  }

  /** What is wrong with a place before it is read; undefined when it can be read. */
  placeFlaw(directory: number | undefined): "missing" | "away" | undefined {
    if (directory === undefined || this.#directories.isLost(directory)) return "missing";
    return this.#directories.byNumber(directory)?.online === true ? undefined : "away";
  }

  /** Shards of a stripe that are not where the extent says; they are read when `deep`. */
  async stripeFlaws(
    extent: ExtentRow,
    stripe: number,
    deep: boolean,
  ): Promise<readonly ShardFlaw[]> {
    const shards = extent.stripes[stripe]?.shards ?? [];
    const found = await Promise.all(shards.map(async (place, shard) => {
      const row = extent.stripes[stripe];
      const bytes = row === undefined ? 0 : shardPayload(row, extent.k, shard);
      if (bytes === 0) return undefined;
      const flaw = this.placeFlaw(place?.directory);
      if (flaw !== undefined) return { stripe, shard, flaw };
      if (!deep) return undefined;
      try {
        await this.#reader.readShard(extent, stripe, shard, 0, bytes);
        return undefined;
      } catch (error) {
        return { stripe, shard, flaw: flawOf(error) };
      }
    }));
    return found.filter((one) => one !== undefined);
  }

  /** The copies of a record by what they are; they are read when `deep`. */
  async copies(record: Pick<StandingRecord, "locations" | "sequence">, deep: boolean): Promise<{
    readonly sound: readonly Location[];
    readonly flawed: readonly { readonly location: Location; readonly flaw: Flaw }[];
  }> {
    const sound: Location[] = [];
    const flawed: { location: Location; flaw: Flaw }[] = [];
    await Promise.all(record.locations.map(async (location) => {
      const flaw = this.placeFlaw(location.directory);
      if (flaw !== undefined) {
        flawed.push({ location, flaw });
        return;
      }
      try {
        if (deep) await this.#reader.readRecord(location, record.sequence);
        sound.push(location);
      } catch (error) {
        flawed.push({ location, flaw: flawOf(error) });
      }
    }));
    return { sound, flawed };
  }
}
