/** Where something stands in the segments of a directory. */
import type { Durable } from "./record.ts";

/** Where a record stands. */
export interface Location {
  readonly directory: number;
  readonly segment: number;
  readonly offset: number;
  /** From the record's start to the next. */
  readonly bytes: number;
}

/** Whether `a` stands before `b` in a directory. */
export function before(a: Durable, b: Durable): boolean {
  return a.segment < b.segment || (a.segment === b.segment && a.offset < b.offset);
}
