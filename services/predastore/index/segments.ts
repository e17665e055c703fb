/**
 * How much of each segment lives, and up to where each directory has been read into the index.
 *
 * Every table counts the bytes of its records and shards in and out here, in the same transaction that
 * changes the row: what is in no row is dead, and goes with compaction. Should the counts be wrong the
 * other way, a segment stays longer than it must; compaction looks at what lives before it removes one.
 */
import type { Location } from "../segments/blob_directory.ts";
import { shardPayload, shardSpan } from "../extents/layout.ts";
import type { IndexDatabase } from "./database.ts";
import type { ExtentRecord } from "./rows.ts";
import { Sums } from "./sums.ts";

export class SegmentTable {
  readonly #database: IndexDatabase;

  /** Live bytes by directory and segment. */
  readonly #live: Sums;

  constructor(database: IndexDatabase) {
    this.#database = database;
    this.#live = new Sums(database, (id, [bytes = 0]) => {
      database.run(
        `insert into segments values (?, ?, ?)
         on conflict do update set live = live + excluded.live`,
        Math.floor(id / 2 ** 32),
        id % 2 ** 32,
        bytes,
      );
    });
  }

  #account(directory: number, segment: number, bytes: number): void {
    this.#live.add(directory * 2 ** 32 + segment, bytes);
  }

  /** Counts the copies of a record in (1) or out (-1). */
  accountRecords(locations: readonly Location[], sign: 1 | -1): void {
    for (const { directory, segment, bytes } of locations) {
      this.#account(directory, segment, sign * bytes);
    }
  }

  /** Counts the shards of an extent in (1) or out (-1). */
  accountShards(extent: ExtentRecord, sign: 1 | -1): void {
    for (const stripe of extent.stripes) {
      for (const [shard, place] of stripe.shards.entries()) {
        if (place === undefined) continue;
        const bytes = shardSpan(shardPayload(stripe, extent.k, shard));
        this.#account(place.directory, place.segment, sign * bytes);
      }
    }
  }

  /** Live bytes of every segment of a directory that holds any. */
  liveBytes(directory: number): Map<number, number> {
    this.#live.flush();
    const live = new Map<number, number>();
    for (
      const row of this.#database.all(
        "select segment, live from segments where directory = ?",
        directory,
      )
    ) {
      live.set(row["segment"] as number, row["live"] as number);
    }
    return live;
  }

  /** Its file was removed. */
  forget(directory: number, segment: number): void {
    this.#live.flush();
    this.#database.run(
      "delete from segments where directory = ? and segment = ?",
      directory,
      segment,
    );
  }

  /**
   * The first segment of a directory that no process has written into, as far as is known here. It is none below where
   * recovery reads on, though all up to there were compacted: an older index, as a power cut may leave it, does
   * not look for anything below.
   */
  unused(directory: number): number {
    this.#live.flush();
    const row = this.#database.one(
      "select max(segment) as top from segments where directory = ?",
      directory,
    );
    const highest = (row?.["top"] as number | null) ?? 0;
    return Math.max(highest + 1, this.position(directory)?.segment ?? 0);
  }

  /** Where recovery reads on in a directory. */
  position(directory: number): { segment: number; offset: number } | undefined {
    const row = this.#database.one(
      "select segment, offset from positions where directory = ?",
      directory,
    );
    return row as { segment: number; offset: number } | undefined;
  }

  setPosition(directory: number, segment: number, offset: number): void {
    this.#database.run(
      "insert or replace into positions values (?, ?, ?)",
      directory,
      segment,
      offset,
    );
  }
}
