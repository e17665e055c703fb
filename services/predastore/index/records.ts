/**
 * Where the copies of a row's record stand, whatever table the row is in.
 *
 * One copy counts in each directory. A copy that compaction moved is exchanged in its row together with
 * the count of live bytes, or not at all: `move` says whether the row still named the old place.
 */
import type { Location } from "../segments/blob_directory.ts";
import {
  packLocations,
  sameLocation,
  type ShardPlace,
  unpackLocations,
} from "../extents/layout.ts";
import { type Bytes, keyBytes } from "./columns.ts";
import type { IndexDatabase } from "./database.ts";
import type { SegmentTable } from "./segments.ts";

/** Which row a small record belongs to. */
export type RecordOwner =
  | { readonly kind: "bucket"; readonly id: number }
  | { readonly kind: "settings"; readonly bucket: number }
  | {
    readonly kind: "object";
    readonly bucket: number;
    readonly key: string;
    readonly sequence: number;
  }
  | { readonly kind: "extent"; readonly id: number }
  | { readonly kind: "upload"; readonly id: string }
  | { readonly kind: "part"; readonly upload: string; readonly number: number };

function ownerRow(owner: RecordOwner): [string, string, (string | number | Bytes)[]] {
  switch (owner.kind) {
    case "bucket":
      return ["buckets", "id = ?", [owner.id]];
    case "settings":
      return ["settings", "bucket = ?", [owner.bucket]];
    case "object":
      return [
        "objects",
        "bucket = ? and key = ? and sequence = ?",
        [owner.bucket, keyBytes(owner.key), owner.sequence],
      ];
    case "extent":
      return ["extents", "id = ?", [owner.id]];
    case "upload":
      return ["uploads", "id = ?", [owner.id]];
    case "part":
      return ["parts", "upload = ? and number = ?", [owner.upload, owner.number]];
  }
}

/** The copies of a record that its row does not know yet: one copy in each directory counts. */
export function addedCopies(
  known: readonly Location[],
  locations: readonly Location[],
): Location[] {
  return locations.filter((location) => !known.some((one) => one.directory === location.directory));
}

export class RecordCopies {
  readonly #database: IndexDatabase;
  readonly #segments: SegmentTable;

  constructor(database: IndexDatabase, segments: SegmentTable) {
    this.#database = database;
    this.#segments = segments;
  }

  /** The number of the record that a row is made of now; undefined where a row keeps the one it has. */
  sequence(owner: RecordOwner): number | undefined {
    if (owner.kind === "object" || owner.kind === "upload") return undefined;
    const [table, where, values] = ownerRow(owner);
    const column = owner.kind === "extent" ? "revision" : "sequence";
    const row = this.#database.one(
      `select ${column} as it from ${table} where ${where}`,
      ...values,
    );
    return row?.["it"] as number | undefined;
  }

  /** The copies of a row's record as they are now; undefined when there is no such row. */
  locations(owner: RecordOwner): readonly Location[] | undefined {
    return this.#copies(owner)?.known;
  }

  #copies(owner: RecordOwner): { known: Location[]; write(now: Location[]): void } | undefined {
    const [first, where, values] = ownerRow(owner);
    // A version is in one of two tables, and may have gone over to the other.
    for (const table of owner.kind === "object" ? [first, "versions"] : [first]) {
      const row = this.#database.one(`select record from ${table} where ${where}`, ...values);
      if (row === undefined) continue;
      return {
        known: unpackLocations(row["record"] as Bytes),
        write: (now) => {
          this.#database.run(
            `update ${table} set record = ? where ${where}`,
            packLocations(now),
            ...values,
          );
        },
      };
    }
    return undefined;
  }

  /** A record was rewritten by compaction: its copy at `from` now stands at `to`. */
  move(owner: RecordOwner, from: Location, to: Location): boolean {
    const copies = this.#copies(owner);
    const at = copies?.known.findIndex((location) => sameLocation(location, from)) ?? -1;
    if (copies === undefined || at < 0) return false;
    copies.known[at] = to;
    copies.write(copies.known);
    this.#segments.accountRecords([from], -1);
    this.#segments.accountRecords([to], 1);
    return true;
  }

  /**
   * Copies that are lost go, others come in their place; nothing changes unless the row still names
   * `sound`, from which the others were made.
   */
  replace(
    owner: RecordOwner,
    sound: Location,
    lost: readonly Location[],
    made: readonly Location[],
  ): boolean {
    const copies = this.#copies(owner);
    if (copies === undefined || !copies.known.some((one) => sameLocation(one, sound))) return false;
    const left = copies.known.filter((one) => !lost.some((gone) => sameLocation(gone, one)));
    const gone = copies.known.filter((one) => !left.includes(one));
    const added = addedCopies(left, made);
    copies.write([...left, ...added]);
    this.#segments.accountRecords(gone, -1);
    this.#segments.accountRecords(added, 1);
    return true;
  }

  /** Whether the record at `location` is the one that the index uses. */
  uses(owner: RecordOwner, location: ShardPlace): boolean {
    return this.locations(owner)?.some((known) => sameLocation(known, location)) ?? false;
  }
}
