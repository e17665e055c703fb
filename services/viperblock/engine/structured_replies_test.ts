import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type Random, seeded } from "../../../tests/kit/random.ts";
import { joined } from "../../aws/bytes.ts";
import { blockBytes } from "../format.ts";
import { chunksOf, writeError, writeRead } from "./structured_replies.ts";

interface Message {
  readonly bytes: Uint8Array;
  readonly chunks: number;
}

/** What a client would receive of a read whose blocks have those containers. */
function answered(
  slot: Uint8Array,
  container: readonly number[],
  offset: number,
  length: number,
  whole = false,
): Message {
  const control = new Uint8Array(1 << 16);
  const parts: Uint8Array[] = [];
  let end = 0;
  let chunks = 0;
  writeRead({
    view: new DataView(control.buffer),
    bytes: control,
    header(size) {
      chunks++;
      parts.push(control.subarray(end, end + size));
      return (end += size) - size;
    },
    data: (skip, size) => parts.push(slot.subarray(skip, skip + size)),
  }, {
    cookieA: 1,
    cookieB: 2,
    offset,
    length,
    container: new Uint32Array([0, ...container]),
    column: 1,
    whole,
  });
  return { bytes: joined(parts), chunks };
}

/** Puts the chunks together again, as a client does; checks that they are whole and do not overlap. */
function assembled({ bytes }: Message, offset: number, length: number) {
  const view = new DataView(bytes.buffer);
  const result = new Uint8Array(length).fill(0xee);
  let covered = 0;
  let holes = 0;
  let done = false;
  for (let at = 0; at < bytes.length;) {
    assert.equal(done, false, "nothing follows the last chunk");
    assert.equal(view.getUint32(at), 0x668e33ef);
    done = view.getUint16(at + 4) === 1;
    assert.deepEqual([view.getInt32(at + 8, true), view.getInt32(at + 12, true)], [1, 2]);
    const kind = view.getUint16(at + 6);
    const payload = view.getUint32(at + 16);
    const from = Number(view.getBigUint64(at + 20)) - offset;
    if (kind === 1) {
      result.set(bytes.subarray(at + 28, at + 20 + payload), from);
      covered += payload - 8;
    } else {
      assert.deepEqual([kind, payload], [2, 12]);
      const size = view.getUint32(at + 28);
      result.fill(0, from, from + size);
      covered += size;
      holes++;
    }
    at += 20 + payload;
  }
  assert.equal(done, true);
  assert.equal(covered, length);
  return { result, holes };
}

Deno.test("a read is whole however its holes lie, and never more chunks than there is room for", () => {
  seeded((random: Random) => {
    for (let round = 0; round < 200; round++) {
      const blocks = 1 + random.below(random.below(2) === 0 ? 8 : 400);
      const longRuns = random.below(2) === 0;
      const container: number[] = [];
      while (container.length < blocks) {
        const value = random.below(2);
        const run = 1 + random.below(longRuns ? 60 : 3);
        for (let i = 0; i < run && container.length < blocks; i++) container.push(value);
      }
      const slot = new Uint8Array(blocks * blockBytes);
      for (const [i, value] of container.entries()) {
        if (value !== 0) slot.fill(1 + i % 200, i * blockBytes, (i + 1) * blockBytes);
      }
      const skip = random.below(3) === 0 ? random.below(blockBytes - 1) : 0;
      const cut = random.below(3) === 0 ? random.below(blockBytes - skip) : 0;
      const length = blocks * blockBytes - skip - cut;
      const offset = 2 ** 33 + skip;
      const whole = random.below(4) === 0;
      const message = answered(slot, container, offset, length, whole);
      const { result } = assembled(message, offset, length);
      assert.ok(Buffer.from(result).equals(slot.subarray(skip, skip + length)));
      assert.ok(message.chunks <= (whole ? 1 : chunksOf(length)), `${message.chunks} chunks`);
    }
  });
});

Deno.test("what is all hole is never sent; short holes between data are", () => {
  const hole = answered(new Uint8Array(blockBytes), [0], 0, blockBytes);
  assert.equal(hole.bytes.length, 32);
  const slot = new Uint8Array(40 * blockBytes);
  const gaps = Array.from({ length: 40 }, (_, i) => i % 2);
  assert.equal(answered(slot, gaps, 0, slot.length).chunks, 1);
  const long = Array.from({ length: 40 }, (_, i) => i < 20 ? 0 : 1);
  assert.equal(answered(slot, long, 0, slot.length).chunks, 2);
  assert.equal(answered(slot, long, 0, slot.length, true).chunks, 1);
});

Deno.test("an error says what happened and where", () => {
  const control = new Uint8Array(256);
  let size = 0;
  writeError(
    {
      view: new DataView(control.buffer),
      bytes: control,
      header: (length) => {
        size = length;
        return 0;
      },
      data: () => assert.fail("an error has no data"),
    },
    { cookieA: 7, cookieB: 8 },
    5,
    2 ** 40 + 4096,
  );
  const view = new DataView(control.buffer);
  const words = view.getUint16(24);
  assert.deepEqual([view.getUint16(4), view.getUint16(6), view.getUint32(20)], [1, 0x8002, 5]);
  assert.equal(view.getUint32(16), size - 20);
  assert.match(new TextDecoder().decode(control.subarray(26, 26 + words)), /cannot be read/);
  assert.equal(view.getBigUint64(26 + words), 2n ** 40n + 4096n);
});
