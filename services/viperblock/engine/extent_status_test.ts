import assert from "node:assert/strict";
import { seeded } from "../../../tests/kit/random.ts";
import { BlockMap } from "../maps/block_map.ts";
import { blockBytes } from "../format.ts";
import { extentStatus, statusBytes } from "./extent_status.ts";

function asked(map: BlockMap, offset: number, length: number, one = false) {
  const view = new DataView(new ArrayBuffer(statusBytes + 8));
  const bytes = extentStatus(map, view, 8, { offset, length, one });
  assert.ok(bytes <= statusBytes);
  assert.equal(view.getUint32(8), 1);
  const extents: { length: number; state: number }[] = [];
  for (let at = 12; at < 8 + bytes; at += 8) {
    extents.push({ length: view.getUint32(at), state: view.getUint32(at + 4) });
  }
  return extents;
}

Deno.test("the extents of a volume are told as its map has them, from any offset on", () => {
  seeded((random) => {
    const blocks = 20_000;
    const map = new BlockMap(blocks);
    for (let at = random.below(5000); at < blocks; at += 1 + random.below(4000)) {
      const run = 1 + random.below(300);
      for (let i = 0; i < run && at + i < blocks; i++) map.set(at + i, 1, i, 0);
      at += run;
    }
    const isMapped = (block: number) => map.anyMapped(block, 1);
    for (const one of [false, true]) {
      let offset = random.below(9000);
      const end = blocks * blockBytes - random.below(9000);
      while (offset < end) {
        const extents = asked(map, offset, end - offset, one);
        assert.ok(extents.length >= 1 && (!one || extents.length === 1));
        for (const { length, state } of extents) {
          assert.ok(length > 0 && offset + length <= end);
          const last = Math.floor((offset + length - 1) / blockBytes);
          for (let block = Math.floor(offset / blockBytes); block <= last; block++) {
            assert.equal(state, isMapped(block) ? 0 : 3);
          }
          offset += length;
        }
      }
    }
  });
});

Deno.test("one answer is bounded, however many extents there are and however large they are", () => {
  const map = new BlockMap(1 << 20);
  for (let block = 0; block < 8000; block += 2) map.set(block, 1, block, 0);
  assert.equal(asked(map, 0, 4096 * 8000).length, 1023);
  const full = new BlockMap(1 << 20);
  for (let block = 0; block < 1 << 18; block++) full.set(block, 1, block, 0);
  const [first] = asked(full, 0, 0xffff_f000);
  assert.deepEqual(first, { length: (1 << 17) * 4096, state: 0 });
  assert.deepEqual(asked(new BlockMap(1 << 20), 5, 0xffff_0000), [
    { length: 0xffff_0000, state: 3 },
  ]);
});
