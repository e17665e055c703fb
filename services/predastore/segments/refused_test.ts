import assert from "node:assert/strict";
import { headerBytes, readHeader, recordTypes, smallRecord, writeSmallRecord } from "./record.ts";
import type { RefusedMeta } from "../index/rows.ts";
import { refusedRecords } from "./refused.ts";
import type { SmallRecord } from "./record.ts";

const place = { storeId: 1n, segment: 1, offset: 0 };

/** The numbers that a reader finds in a record, none where it takes it for torn. */
function readBack(record: SmallRecord): readonly number[] {
  const bytes = new Uint8Array(headerBytes + record.meta.length);
  writeSmallRecord(bytes, record, { ...place, durable: { segment: 0, offset: 0 } });
  const header = readHeader(bytes, place);
  if (header === undefined || "short" in header) return [];
  const meta = bytes.subarray(headerBytes, headerBytes + header.metaBytes);
  return (JSON.parse(new TextDecoder().decode(meta)) as RefusedMeta).revisions;
}

Deno.test("what is refused is read back whole, also where it is more than a record can say", () => {
  const first = 1_700_000_000_000 * 1024;
  const revisions = Array.from({ length: 2_000_000 }, (_, at) => first + at);
  const whole = smallRecord(recordTypes.refused, 1, { revisions, partial: true });
  assert.deepEqual(readBack(whole), []);
  let sequence = 0;
  const found: number[] = [];
  for (const record of refusedRecords(revisions, () => ++sequence)) {
    assert.equal(record.sequence, sequence);
    for (const revision of readBack(record)) found.push(revision);
  }
  assert.ok(found.length === revisions.length && found.every((one, at) => one === revisions[at]));
});
