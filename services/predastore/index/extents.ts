/**
 * Extents: where the stripes of one body stand, and the journal of shards that wait for repair.
 *
 * An extent lives while an object or a part names it; dropping it counts its shards and records out. A
 * higher revision, made when shards move, replaces a lower one and is never replaced by it.
 */
import type { Location } from "../segments/blob_directory.ts";
import { HeldExtents } from "../extents/held_extents.ts";
import {
  packLayout,
  packLocations,
  shardPayload,
  unpackLayout,
  unpackLocations,
} from "../extents/layout.ts";
import { type Bytes, keyBytes, keyText, optional, parsed } from "./columns.ts";
import type { IndexDatabase, Row } from "./database.ts";
import type { DeletionMarks } from "./deletion_marks.ts";
import { addedCopies } from "./records.ts";
import type { ExtentRecord, ExtentRow } from "./rows.ts";
import type { SegmentTable } from "./segments.ts";

export class ExtentTable {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;
  readonly #marks: DeletionMarks;
  /** What running reads still need of what is dropped. */
  readonly held = new HeldExtents();

  constructor(database: IndexDatabase, segments: SegmentTable, marks: DeletionMarks) {
    this.#database = database;
    this.#segments = segments;
    this.#marks = marks;
  }

  find(id: number): ExtentRow | undefined {
    const row = this.#database.one("select * from extents where id = ?", id);
    if (row === undefined) return undefined;
    const k = row["k"] as number;
    const m = row["m"] as number;
    return {
      id,
      bucket: row["bucket"] as number,
      key: keyText(row["key"]),
      size: row["size"] as number,
      k,
      m,
      stripes: unpackLayout(row["layout"] as Bytes, k + m),
      ...optional("upload", row["upload"] as string | null),
      revision: row["revision"] as number,
      locations: unpackLocations(row["record"] as Bytes),
    };
  }

  apply(extent: ExtentRecord, revision: number, locations: readonly Location[]): void {
    const known = this.find(extent.id);
    if (known !== undefined && known.revision > revision) return;
    if (known !== undefined && known.revision === revision) {
      const added = addedCopies(known.locations, locations);
      this.#database.run(
        "update extents set record = ? where id = ?",
        packLocations([...known.locations, ...added]),
        extent.id,
      );
      this.#segments.accountRecords(added, 1);
      return;
    }
    const isSuspect = known !== undefined && this.isSuspect(extent.id);
    if (known !== undefined) this.remove(extent.id);
    this.#database.run(
      "insert into extents values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      extent.id,
      extent.bucket,
      keyBytes(extent.key),
      extent.size,
      extent.k,
      extent.m,
      packLayout(extent.stripes, extent.k + extent.m),
      extent.upload ?? null,
      revision,
      packLocations(locations),
    );
    this.#segments.accountShards(extent, 1);
    this.#segments.accountRecords(locations, 1);
    this.#journal(extent);
    // Records are read back one copy at a time: then it is looked at when all have been.
    const mayBeTorn = !this.#marks.recovering && this.mayBeTorn({ ...extent, locations });
    if (isSuspect || mayBeTorn) this.noteDamaged(extent.id);
  }

  /**
   * Whether a shard stands in a directory that has no copy of the extent's record: what failed to make that durable may
   * have lost the shard as well.
   * @param isThere which directories are asked about
   */
  mayBeTorn(
    { stripes, locations }: Pick<ExtentRow, "stripes" | "locations">,
    isThere: (directory: number) => boolean = () => true,
  ): boolean {
    const durable = new Set(locations.map(({ directory }) => directory));
    return stripes.some(({ shards }) =>
      shards.some((place) =>
        place !== undefined && !durable.has(place.directory) && isThere(place.directory)
      )
    );
  }

  /** Journals shards that were never written, for a later repair. */
  #journal(extent: ExtentRecord): void {
    let missing = 0;
    for (const stripe of extent.stripes) {
      for (const [shard, place] of stripe.shards.entries()) {
        if (place === undefined && shardPayload(stripe, extent.k, shard) > 0) missing++;
      }
    }
    if (missing > 0) {
      this.#database.run("insert or replace into missing values (?, ?)", extent.id, missing);
    }
  }

  /** Journals that at least one shard of the extent is damaged, or may be: only who reads them all can tell. */
  noteDamaged(extent: number): void {
    this.#database.run("insert or ignore into missing values (?, 1)", extent);
    this.#database.run("insert or ignore into suspects values (?)", extent);
  }

  /** Whether a shard of the extent may be damaged where it stands. */
  isSuspect(extent: number): boolean {
    return this.#database.one("select 1 from suspects where extent = ?", extent) !== undefined;
  }

  /** Says how many shards of the extent are missing, by one who has read the others if it was suspect. */
  setMissing(extent: number, shards: number): void {
    if (shards === 0) this.#forget(extent);
    else if (this.find(extent) !== undefined) {
      this.#database.run("insert or replace into missing values (?, ?)", extent, shards);
    }
  }

  #forget(extent: number): void {
    this.#database.run("delete from missing where extent = ?", extent);
    this.#database.run("delete from suspects where extent = ?", extent);
  }

  /** Extents with shards that are known to be missing or damaged, in order. */
  journalled(): Generator<number> {
    return this.#database.distinct<number>("missing", "extent");
  }

  /** How many those are. */
  countJournalled(): number {
    return this.#database.one("select count(*) as count from missing")?.["count"] as number;
  }

  isJournalled(extent: number): boolean {
    return this.#database.one("select 1 from missing where extent = ?", extent) !== undefined;
  }

  /**
   * What named an extent is gone. While records are read back it stays until all have been: what failed may have named it
   * before what counts does.
   */
  drop(id: number): void {
    if (this.#marks.recovering) this.#marks.markReplayed(id);
    else this.remove(id);
  }

  /** Removes an extent; its shards are dead space then. */
  remove(id: number): void {
    const known = this.find(id);
    if (known === undefined) return;
    this.held.dropped(known);
    this.#segments.accountShards(known, -1);
    this.#segments.accountRecords(known.locations, -1);
    this.#database.run("delete from extents where id = ?", id);
    this.#forget(id);
  }

  /** Whether an object or a part refers to the extent. */
  isReferenced(extent: ExtentRow): boolean {
    if (extent.upload !== undefined) {
      const part = this.#database.one(
        "select 1 from parts where upload = ? and extent = ?",
        extent.upload,
        extent.id,
      );
      if (part !== undefined) return true;
    }
    return this.isInObject(extent);
  }

  /**
   * Whether a version of the object of that name is made of this extent. Versions are newer than what they are made of,
   * and most often the next one is it.
   */
  isInObject({ id, bucket, key }: ExtentRecord): boolean {
    const names = (row: Row | undefined) =>
      parsed<[number, number][]>(row?.["extents"])?.some(([one]) => one === id) === true;
    const bytes = keyBytes(key);
    const current = this.#database.one(
      "select extents from objects where bucket = ? and key = ?",
      bucket,
      bytes,
    );
    if (names(current)) return true;
    for (let [after, limit] = [id, 1];; limit = 100) {
      const rows = this.#database.all(
        `select sequence, extents from versions where bucket = ? and key = ? and sequence > ?
         order by sequence limit ?`,
        bucket,
        bytes,
        after,
        limit,
      );
      if (rows.some(names)) return true;
      if (rows.length < limit) return false;
      after = rows.at(-1)?.["sequence"] as number;
    }
  }

  /**
   * Ids above `after`, in order, of those that there are as it begins: new ones have greater ids, and whoever looks at each
   * would never catch up with those who write.
   */
  *ids(after = -1): Generator<number> {
    const last =
      (this.#database.one("select max(id) as top from extents")?.["top"] ?? -1) as number;
    for (;;) {
      const rows = this.#database.all(
        "select id from extents where id > ? and id <= ? order by id limit 1000",
        after,
        last,
      );
      if (rows.length === 0) return;
      for (const row of rows) yield after = row["id"] as number;
    }
  }
}
