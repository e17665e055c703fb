/**
 * Versions in the order in which they are listed: by key, and the newest of a key first.
 *
 * They stand in two tables, and those of a key in `versions` the other way round. So a page is merged from both as far
 * as it is needed, and costs what it shows: no key before it is looked at, and nothing is sorted, also where one
 * key has a million versions.
 */
import { type Bytes, keyText, optional, parsed } from "./columns.ts";
import type { IndexDatabase, Row } from "./database.ts";
import type { ChecksumMeta, ListedVersion } from "./rows.ts";

const columns = "key, sequence, version, marker, size, modified_ms, etag, checksum, storage_class";

const sequenceOf = (row: Row) => row["sequence"] as number;
const keyOf = (row: Row) => row["key"] as Bytes;
const sameKey = (a: Row, b: Row) => Buffer.compare(keyOf(a), keyOf(b)) === 0;

export class VersionListing {
  readonly #database: IndexDatabase;

  constructor(database: IndexDatabase) {
    this.#database = database;
  }

  /**
   * Versions from a key on, and within that key below a sequence. `latest` is told of rows that no newer one of their
   * key precedes.
   */
  page(
    bucket: number,
    start: Bytes,
    below: number,
    limit: number,
    versioned: boolean,
  ): ListedVersion[] {
    const current = this.#current(bucket, start, below, limit);
    const others = versioned ? this.#others(bucket, start, below, limit) : undefined;
    const listed: ListedVersion[] = [];
    let one = current.next().value;
    let other = others?.next().value;
    let before: Row | undefined;
    while (listed.length < limit) {
      const row = first(one, other);
      if (row === undefined) break;
      if (row === one) one = current.next().value;
      else other = others?.next().value;
      const begins = before === undefined || !sameKey(before, row);
      const onTheWay = before === undefined && below < Number.MAX_SAFE_INTEGER;
      listed.push(listedVersion(row, begins && !(onTheWay && this.#hasNewer(bucket, row))));
      before = row;
    }
    return listed;
  }

  *#current(bucket: number, start: Bytes, below: number, limit: number): Generator<Row, undefined> {
    const [at] = this.#database.all(
      `select ${columns} from objects where bucket = ? and key = ?`,
      bucket,
      start,
    );
    if (at !== undefined && sequenceOf(at) < below) yield at;
    yield* this.#pages(limit, start, (after) =>
      this.#database.all(
        `select ${columns} from objects where bucket = ? and key > ? order by key limit ?`,
        bucket,
        after,
        limit,
      ));
  }

  *#pages(
    limit: number,
    after: Bytes,
    read: (after: Bytes) => Row[],
  ): Generator<Row, undefined> {
    for (;;) {
      const rows = read(after);
      yield* rows;
      const last = rows.at(-1);
      if (last === undefined || rows.length < limit) return;
      after = keyOf(last);
    }
  }

  /** What is not current. */
  *#others(bucket: number, start: Bytes, below: number, limit: number): Generator<Row, undefined> {
    yield* this.#othersOf(bucket, start, below, limit);
    for (let after = start;;) {
      const rows = this.#database.all(
        `select ${columns} from versions where bucket = ? and key > ? order by key, sequence limit ?`,
        bucket,
        after,
        limit,
      );
      const last = rows.at(-1);
      if (last === undefined) return;
      // The last key may have more than what was read of it.
      const whole = rows.length < limit
        ? rows.length
        : rows.findLastIndex((row) => !sameKey(row, last)) + 1;
      for (let from = 0; from < whole;) {
        const one = rows[from] as Row;
        let to = from + 1;
        while (to < whole && sameKey(rows[to] as Row, one)) to++;
        yield* rows.slice(from, to).reverse();
        from = to;
      }
      if (rows.length < limit) return;
      if (whole === 0) yield* this.#othersOf(bucket, keyOf(last), Number.MAX_SAFE_INTEGER, limit);
      after = keyOf(whole === 0 ? last : rows[whole - 1] as Row);
    }
  }

  *#othersOf(bucket: number, key: Bytes, below: number, limit: number): Generator<Row, undefined> {
    for (;;) {
      const rows = this.#database.all(
        `select ${columns} from versions where bucket = ? and key = ? and sequence < ?
         order by sequence desc limit ?`,
        bucket,
        key,
        below,
        limit,
      );
      yield* rows;
      const last = rows.at(-1);
      if (last === undefined || rows.length < limit) return;
      below = sequenceOf(last);
    }
  }

  #hasNewer(bucket: number, row: Row): boolean {
    return this.#database.one(
      `select 1 from objects where bucket = ?1 and key = ?2 and sequence > ?3 union all
       select 1 from versions where bucket = ?1 and key = ?2 and sequence > ?3 limit 1`,
      bucket,
      keyOf(row),
      sequenceOf(row),
    ) !== undefined;
  }
}

function first(one: Row | undefined, other: Row | undefined): Row | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const order = Buffer.compare(keyOf(one), keyOf(other)) || sequenceOf(other) - sequenceOf(one);
  return order < 0 ? one : other;
}

function listedVersion(row: Row, latest: boolean): ListedVersion {
  return {
    key: keyText(row["key"]),
    sequence: sequenceOf(row),
    version: (row["version"] as string | null) ?? "null",
    marker: row["marker"] === 1,
    latest,
    size: row["size"] as number,
    modified_ms: row["modified_ms"] as number,
    etag: row["etag"] as string,
    ...optional("checksum", parsed<ChecksumMeta>(row["checksum"])),
    ...optional("storage_class", row["storage_class"] as string | null),
  };
}
