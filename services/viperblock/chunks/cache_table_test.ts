import assert from "node:assert/strict";
import { blockBytes, DamagedData } from "../format.ts";
import { type CacheEntry, mostSlots, readCacheTable, writeCacheTable } from "./cache_table.ts";

const shape = { volumeId: "vol-1", slots: 32, slotBlocks: 1024 };
const entry = (sequence: number): CacheEntry => ({
  name: { owner: "vol-0123456789abcdef0", epoch: 3, sequence },
  windows: 5,
});

function table(entries: readonly (CacheEntry | undefined)[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(blockBytes);
  writeCacheTable(bytes, shape, entries);
  return bytes;
}

Deno.test("a cache table says what was written, slot by slot", () => {
  const entries = [entry(1), undefined, entry(7)];
  const read = readCacheTable(table(entries), shape);
  assert.deepEqual(read.slice(0, 3), entries);
  assert.equal(read.length, 32);
  assert.ok(read.slice(3).every((each) => each === undefined));
  assert.equal(mostSlots, 63);
});

Deno.test("a flipped bit in an entry empties its slot alone, whichever bit it is", () => {
  const whole = table([entry(1), entry(2), entry(3)]);
  for (let bit = 0; bit < 64 * 8; bit++) {
    const bytes = whole.slice();
    const at = 128 + (bit >> 3);
    bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
    const [first, second, third] = readCacheTable(bytes, shape);
    assert.deepEqual([first, third], [entry(1), entry(3)]);
    assert.ok(second === undefined, `bit ${bit}`);
  }
});

Deno.test("a table of another volume, version or shape, or a torn head, is none", () => {
  const bytes = table([entry(1)]);
  for (
    const other of [{ ...shape, volumeId: "vol-2" }, { ...shape, slots: 16 }, {
      ...shape,
      slotBlocks: 12,
    }]
  ) assert.throws(() => readCacheTable(bytes, other), DamagedData);
  for (let at = 0; at < 64; at++) {
    const torn = bytes.slice();
    torn[at] = (torn[at] as number) ^ 1;
    assert.throws(() => readCacheTable(torn, shape), DamagedData);
  }
  assert.throws(() => readCacheTable(new Uint8Array(blockBytes), shape), DamagedData);
  assert.throws(() => readCacheTable(bytes.subarray(0, 512), shape), DamagedData);
});
