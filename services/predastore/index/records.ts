/**
 * Where the copies of a row's record stand, whatever table the row is in.
 *
 * One copy counts in each directory. A copy that compaction moved is exchanged in its row together with
 * the count of live bytes, or not at all: `move` says whether the row still named the old place.
 */
import type { Location } from "../blob_directory.ts";
import { packLocations, sameLocation, type ShardPlace, unpackLocations } from "../layout.ts";
import { type Bytes, keyBytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";
import type { SegmentTable } from "./segments.ts";

/** Which row a small record belongs to. */
export type RecordOwner =
  | { readonly kind: "bucket"; readonly id: number }
  | { readonly kind: "object"; readonly bucket: number; readonly key: string }
  | { readonly kind: "extent"; readonly id: number }
  | { readonly kind: "upload"; readonly id: string }
  | { readonly kind: "part"; readonly upload: string; readonly number: number };

function ownerRow(owner: RecordOwner): [string, string, (string | number | Bytes)[]] {
  switch (owner.kind) {
    case "bucket":
      return ["buckets", "id = ?", [owner.id]];
    case "object":
      return ["objects", "bucket = ? and key = ?", [owner.bucket, keyBytes(owner.key)]];
    case "extent":
      return ["extents", "id = ?", [owner.id]];
    case "upload":
      return ["uploads", "id = ?", [owner.id]];
    case "part":
      return ["parts", "upload = ? and number = ?", [owner.upload, owner.number]];
  }
}

/** The copies of a record that its row does not know yet. */
export function addedCopies(
  known: readonly Location[],
  locations: readonly Location[],
): Location[] {
  // One copy in each directory counts; after a move the older copy may be read again.
  return locations.filter((location) => !known.some((one) => one.directory === location.directory));
}

export class RecordCopies {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;

  constructor(database: IndexDatabase, segments: SegmentTable) {
    this.#database = database;
    this.#segments = segments;
  }

  /** A record was rewritten by compaction: its copy at `from` now stands at `to`. */
  move(
    owner: RecordOwner,
    from: Location,
    to: Location,
  ): boolean {
    const [table, where, values] = ownerRow(owner);
    const row = this.#database.one(`select record from ${table} where ${where}`, ...values);
    if (row === undefined) return false;
    const known = unpackLocations(row["record"] as Bytes);
    const at = known.findIndex((location) => sameLocation(location, from));
    if (at < 0) return false;
    known[at] = to;
    this.#database.run(
      `update ${table} set record = ? where ${where}`,
      packLocations(known),
      ...values,
    );
    this.#segments.accountRecords([from], -1);
    this.#segments.accountRecords([to], 1);
    return true;
  }

  /** Whether the record at `location` is the one that the index uses. */
  uses(owner: RecordOwner, location: ShardPlace): boolean {
    const [table, where, values] = ownerRow(owner);
    const row = this.#database.one(`select record from ${table} where ${where}`, ...values);
    return row !== undefined &&
      unpackLocations(row["record"] as Bytes).some((known) => sameLocation(known, location));
  }
}
