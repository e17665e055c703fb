/**
 * What no recovery may let in, as records: of so many numbers each that a record is read whole however many there are. One
 * that is longer than readers expect would be stepped over as if it were torn, and all that it refuses came back.
 */
import type { RefusedMeta } from "../index/rows.ts";
import { recordTypes, type SmallRecord, smallRecord } from "./record.ts";

const numbersEach = 16_384;

/** @param nextSequence the number of each record */
export function* refusedRecords(
  revisions: readonly number[],
  nextSequence: () => number,
): Generator<SmallRecord> {
  for (let at = 0; at < revisions.length; at += numbersEach) {
    const meta: RefusedMeta = { revisions: revisions.slice(at, at + numbersEach), partial: true };
    yield smallRecord(recordTypes.refused, nextSequence(), meta);
  }
}
