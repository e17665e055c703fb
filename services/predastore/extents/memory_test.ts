/** What many streams hold at once is bounded, and what they held is free when they end, without the collector. */
import assert from "node:assert/strict";
import { AesGcm } from "../../../ffi/libcrypto_gcm.ts";
import { copied } from "../encryption/body_source.ts";
import { sealBody } from "../encryption/sealed_body.ts";
import { bodyOf, bytesOf, testStore } from "../test_store.ts";
import { BufferPool } from "./buffer_pool.ts";
import { DiskBuffers } from "./disk_buffers.ts";
import { fullShardBytes } from "./extent_writer.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Tells what has been taken and not given back. */
class CountedBuffers extends DiskBuffers {
  out_bytes = 0;
  override take(length: number): Bytes {
    this.out_bytes += length;
    return super.take(length);
  }
}

Deno.test("32 readers hold a stripe each, and few readers up to three more that are read ahead", async () => {
  await using test = await testStore();
  const bucket = await test.bucket();
  const stripe = fullShardBytes(1);
  await test.store.objects.put(bucket, "body", bodyOf(bytesOf(1, 6 * stripe)));
  const object = test.store.objects.find(bucket, "body");
  const extent = test.store.index.extents.find(object?.extents?.[0]?.[0] ?? -1);
  assert.ok(extent !== undefined);
  const begun = async (count: number) => {
    const buffers = new CountedBuffers();
    const readers = Array.from(
      { length: count },
      () => test.store.reader.read(extent, 0, extent.size, buffers),
    );
    const held: number[] = [];
    for (const reader of readers) {
      const before = buffers.out_bytes;
      await reader.next();
      held.push(Math.floor((buffers.out_bytes - before) / stripe));
    }
    for (const reader of readers) await reader.return(undefined);
    return held;
  };
  const ofFew = [4, 4, 4, 4, 3, 2, 2, 2];
  assert.deepEqual(await begun(8), ofFew);
  assert.deepEqual(await begun(32), [...ofFew, ...Array(24).fill(1)]);
  // Those that ended are no readers any more.
  assert.deepEqual(await begun(1), [4]);
});

Deno.test("what a sealed body went through is free when it has been read", async () => {
  const pieceBytes = 100_000;
  using cipher = new AesGcm(bytesOf(1, 32));
  const read = new Set<ArrayBuffer>();
  const digest = { update: (bytes: Bytes) => void read.add(bytes.buffer) };
  const chunks = (async function* () {
    for (let at = 0; at < 12; at++) yield await Promise.resolve(bytesOf(at, 50_000));
  })();
  const sink = {
    room: (wanted: number) => Promise.resolve(new Uint8Array(wanted)),
    filled: () => Promise.resolve(),
  };
  await sealBody({ cipher, pieceBytes }, copied(chunks), [digest], sink, () => {}, 600_000);
  // Three that plain text is gathered in.
  assert.deepEqual([...read].map((memory) => memory.byteLength), [0, 0, 0]);
});

Deno.test("a pool keeps so many buffers, and frees the one that was wanted least", () => {
  const pool = new BufferPool(2);
  const taken = [pool.take(4_096), pool.take(4_096), pool.take(8_192)] as const;
  for (const buffer of taken) pool.give(buffer);
  assert.deepEqual(taken.map(({ length }) => length), [0, 4_096, 8_192]);
  assert.equal(pool.take(8_192), taken[2]);
});

Deno.test("disk buffers of every length are aligned, apart from each other, and used again", () => {
  const buffers = new DiskBuffers();
  const lengths = [4096, 131_072, 528_384, 1_052_672, 1_585_152, 8 << 20, 9 << 20];
  const taken = lengths.flatMap((length) => [buffers.take(length), buffers.take(length)]);
  for (const [at, buffer] of taken.entries()) {
    assert.equal(buffer.length, lengths[at >> 1]);
    const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)) as bigint;
    assert.equal(address % 4096n, 0n);
    buffer.fill(at);
  }
  for (const [at, buffer] of taken.entries()) assert.ok(buffer.every((byte) => byte === at));
  const [, , , , , , again] = taken as [...Bytes[]] as Bytes[];
  assert.ok(again !== undefined);
  // Any part of it stands for it; twice is once.
  buffers.give(again.subarray(1000));
  buffers.give(again);
  const next = [buffers.take(again.length), buffers.take(again.length)] as const;
  assert.equal(next[0].byteOffset, again.byteOffset);
  assert.equal(next[0].buffer, again.buffer);
  assert.notEqual(next[1].byteOffset, again.byteOffset);
});

Deno.test("of disk buffers that nobody uses any more 16 MiB are kept, and the rest is free at once", () => {
  const buffers = new DiskBuffers();
  const mebibyte = 1 << 20;
  const taken = Array.from({ length: 64 }, () => buffers.take(mebibyte));
  const slabs = () => new Set(taken.filter(({ length }) => length > 0).map(({ buffer }) => buffer));
  assert.equal(slabs().size, 8);
  // One that a late read may still write into.
  const late = taken.pop();
  for (const buffer of taken) buffers.give(buffer);
  assert.equal(slabs().size, 3);
  assert.equal(late?.length, mebibyte);
  // Another length gets what is kept of none, and has no more kept than there is.
  buffers.give(buffers.take(2 * mebibyte));
  assert.equal(slabs().size, 3);
});
