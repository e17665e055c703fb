/**
 * Events that wait to be told, in the order in which their objects changed.
 *
 * A row is written in the transaction that changes the object and removed when whoever tells it has been
 * acknowledged: an event is told at least once, and those of a key in order. Recovery that reads on tells
 * again what it applies again. An index made from nothing has forgotten what waited, and tells nothing
 * of what it reads back.
 */
import type { Cause } from "../objects/cause.ts";
import type { ObjectRecord } from "./rows.ts";
import type { IndexDatabase } from "./database.ts";
import type { SettingsTable } from "./settings.ts";

export interface ObjectEvent {
  /** `ObjectCreated:Put` and the like, without `s3:`. */
  readonly name: string;
  readonly bucket: number;
  readonly key: string;
  readonly sequence: number;
  readonly at_ms: number;
  readonly version?: string;
  readonly size?: number;
  readonly etag?: string;
  /** The class that a lifecycle rule gave it. */
  readonly storage_class?: string;
  /** Undefined for what is told again after a crash. */
  readonly cause?: Cause;
}

export interface WaitingEvent {
  readonly id: number;
  readonly event: ObjectEvent;
}

/** The name of what destinations hear when they are configured. */
export const testEvent = "s3:TestEvent";

/** The ETag of no bytes, which AWS's events give delete markers. */
const ofNothing = "d41d8cd98f00b204e9800998ecf8427e";

export class Outbox {
  readonly #database: IndexDatabase;
  readonly #settings: SettingsTable;
  /** Nothing is noted while an index is made from nothing. */
  muted = false;
  /** Called when something was noted. */
  onNoted: () => void = () => {};

  constructor(database: IndexDatabase, settings: SettingsTable) {
    this.#database = database;
    this.#settings = settings;
  }

  #note(event: ObjectEvent): void {
    this.#database.run("insert into events (body) values (?)", JSON.stringify(event));
    this.onNoted();
  }

  #wanted(bucket: number): boolean {
    return !this.muted && (this.#settings.find(bucket).notification?.length ?? 0) > 0;
  }

  /** A bucket's configuration was set: its destinations hear of it. */
  noteTest(bucket: number, at_ms: number, cause?: Cause): void {
    const rules = this.#settings.find(bucket).notification ?? [];
    if (this.muted || rules.every(({ kind }) => kind === "EventBridge")) return;
    const about = { bucket, key: "", sequence: 0, at_ms };
    this.#note({ ...about, name: testEvent, ...(cause === undefined ? {} : { cause }) });
  }

  /** A version came to stand. */
  noteMade(object: ObjectRecord, sequence: number, cause?: Cause): void {
    if (!this.#wanted(object.bucket)) return;
    const { bucket, key, version, size, etag, modified_ms } = object;
    const about = {
      ...{ bucket, key, sequence },
      ...(version === undefined ? {} : { version }),
      ...(cause === undefined ? {} : { cause }),
    };
    if (object.marker === true) {
      const name = object.made === "Lifecycle"
        ? "LifecycleExpiration:DeleteMarkerCreated"
        : "ObjectRemoved:DeleteMarkerCreated";
      this.#note({ ...about, name, etag: ofNothing, at_ms: modified_ms });
      return;
    }
    const how = object.upload !== undefined ? "CompleteMultipartUpload" : object.made ?? "Put";
    this.#note({ ...about, name: `ObjectCreated:${how}`, size, etag, at_ms: modified_ms });
  }

  /** A version got other tags, another lock or another class. */
  noteRevised(object: ObjectRecord, sequence: number, cause?: Cause): void {
    const { bucket, key, version, size, etag, meta, revised } = object;
    if (revised === undefined || !this.#wanted(bucket)) return;
    const moved = revised === "Transition";
    this.#note({
      name: moved ? "LifecycleTransition" : `Object${revised}`,
      ...{ bucket, key, sequence, etag, at_ms: Date.now() },
      ...(version === undefined ? {} : { version }),
      ...(moved ? { size, storage_class: meta.storage_class ?? "STANDARD" } : {}),
      ...(cause === undefined ? {} : { cause }),
    });
  }

  /** A version was deleted for good. */
  noteGone(
    bucket: number,
    key: string,
    sequence: number,
    version: string | undefined,
    lifecycle: boolean,
    cause?: Cause,
  ): void {
    if (!this.#wanted(bucket)) return;
    this.#note({
      name: lifecycle ? "LifecycleExpiration:Delete" : "ObjectRemoved:Delete",
      bucket,
      key,
      sequence,
      at_ms: Date.now(),
      ...(version === undefined ? {} : { version }),
      ...(cause === undefined ? {} : { cause }),
    });
  }

  waiting(limit: number): WaitingEvent[] {
    return this.#database.all("select id, body from events order by id limit ?", limit).map((
      row,
    ) => ({ id: row["id"] as number, event: JSON.parse(row["body"] as string) as ObjectEvent }));
  }

  count(): number {
    // They are numbered without gaps, and go from the first on.
    const row = this.#database.one(
      `select coalesce((select max(id) from events) - (select min(id) from events) + 1, 0) as count`,
    );
    return row?.["count"] as number;
  }

  /** All up to `id` were told. */
  told(id: number): void {
    this.#database.run("delete from events where id <= ?", id);
  }
}
