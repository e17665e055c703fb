import assert from "node:assert/strict";
import { alignedBuffer, pageBytes } from "../../../ffi/direct_io.ts";
import {
  fragmentBytes,
  headerBytes,
  readHeader,
  readShardPage,
  recordTypes,
  roundUp,
  type ShardMeta,
  smallRecord,
  writeShardPage,
  writeSmallRecord,
} from "./record.ts";

const place = { storeId: 0x1234_5678_9abc_def0n, segment: 7, offset: 64 };
const durable = { segment: 6, offset: 8192 };

function written() {
  const record = smallRecord(recordTypes.object, 2 ** 52, { key: "k" }, new Uint8Array([1, 2, 3]));
  const bytes = new Uint8Array(roundUp(headerBytes + record.meta.length + 3, 64));
  writeSmallRecord(bytes, record, { ...place, durable });
  return bytes;
}

Deno.test("a record reads back with its sequence and how far the directory was durable", () => {
  const header = readHeader(written(), place);
  assert.ok(header !== undefined && !("short" in header));
  assert.equal(header.sequence, 2 ** 52);
  assert.equal(header.payloadBytes, 3);
  assert.deepEqual(header.durable, durable);
});

Deno.test("a record is none at another place, in another segment or of another store", () => {
  const bytes = written();
  assert.equal(readHeader(bytes, { ...place, offset: 128 }), undefined);
  assert.equal(readHeader(bytes, { ...place, segment: 8 }), undefined);
  assert.equal(readHeader(bytes, { ...place, storeId: 1n }), undefined);
});

Deno.test("any flipped bit of a header or its meta is found", () => {
  const meta = new TextEncoder().encode(JSON.stringify({ key: "k" })).length;
  for (let bit = 0; bit < 8 * (headerBytes + meta); bit++) {
    const bytes = written();
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const header = readHeader(bytes, place);
    // The two reserved bytes are under the checksum like the rest.
    assert.ok(header === undefined || "short" in header, `bit ${bit}`);
  }
});

Deno.test("a cut record asks for the bytes it lacks", () => {
  assert.deepEqual(readHeader(new Uint8Array(10), place), { short: headerBytes });
});

Deno.test("a shard's page names its owner and the checksum of each fragment", () => {
  const payload = 2 * fragmentBytes + 100;
  const buffer = alignedBuffer(pageBytes + roundUp(payload, pageBytes));
  buffer.fill(9, pageBytes, pageBytes + payload);
  const meta: ShardMeta = {
    extent: 2 ** 50,
    bucket: 3,
    stripe: 5,
    shard: 1,
    k: 2,
    m: 1,
    stripeBytes: payload,
    shardBytes: 4096,
    key: new TextEncoder().encode("é".repeat(512)),
  };
  const at = { ...place, offset: 0 };
  writeShardPage(buffer, payload, meta, { ...at, durable });
  const page = readShardPage(buffer.subarray(0, pageBytes), at);
  assert.ok(page !== undefined);
  assert.deepEqual(page.meta, meta);
  assert.equal(page.fragmentCrc(0), page.fragmentCrc(1));
  assert.notEqual(page.fragmentCrc(1), page.fragmentCrc(2));
});
