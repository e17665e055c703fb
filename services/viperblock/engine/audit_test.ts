/** The books of a volume held against its map, at once and in parts. */
import assert from "node:assert/strict";
import { chunkContainer } from "../format.ts";
import { BlockMap, leafBlocks } from "../maps/block_map.ts";
import { Audit, audit } from "./audit.ts";
import { Places } from "./places.ts";

const file = { path: "", fd: -1 };
const chunkBlocks = 1024;

/** Chunks that hold blocks from the first on, all of them full. */
function inChunks(count: number, sizeBlocks = count * chunkBlocks): Places {
  const places = new Places(new BlockMap(sizeBlocks));
  const checksums = new Uint32Array(chunkBlocks);
  for (let number = 0; number < count; number++) {
    places.restoreChunk(number, { owner: "vol-1", epoch: 1, sequence: number + 1 }, chunkBlocks);
    places.placeRun(number * chunkBlocks, chunkBlocks, chunkContainer(number), 0, checksums, 0);
  }
  return places;
}

Deno.test("the books of a volume of more than 64 GiB are held against its map", () => {
  // More blocks than a JavaScript map may have entries.
  const chunks = 2 ** 24 / chunkBlocks + 1;
  assert.deepEqual(audit(inChunks(chunks)), []);
});

Deno.test("each thing that is wrong is said once", () => {
  const places = inChunks(2);
  const { map } = places;
  places.addSegment(7, file, 1, 1);
  places.place(0, 7, 3, 0);
  assert.deepEqual(audit(places).length, 1, "the segment does not know of block 0");
  (places.segment(7) as { blocks: Uint32Array }).blocks[3] = 0;
  assert.deepEqual(audit(places), []);
  // Behind the books' back.
  map.set(1, chunkContainer(0), 2, 0);
  map.set(2, chunkContainer(9), 0, 0);
  map.set(3, 8, 0, 0);
  map.set(4, chunkContainer(1), chunkBlocks, 0);
  const wrong = audit(places);
  assert.ok(wrong.some((one) => /^block 2 is in a chunk that is not known$/.test(one)));
  assert.ok(wrong.some((one) => /^segment 8 does not know that it holds block 3$/.test(one)));
  assert.ok(wrong.some((one) => /^block 4 is beyond its chunk's end$/.test(one)));
  assert.ok(wrong.some((one) => /^chunk .* holds 1020 blocks, 1023 are counted$/.test(one)));
  assert.equal(wrong.length, 4, wrong.join("\n"));
  map.set(5, chunkContainer(0), 6, 0);
  assert.match(audit(places).join("\n"), /block 6 and one before it share place 6 of chunk/);
});

Deno.test("an audit in parts is of the moment at which it began, whatever is written meanwhile", () => {
  const chunks = 8;
  const places = inChunks(chunks);
  const leaves = chunks * chunkBlocks / leafBlocks;
  const parts = new Audit(places);
  let sequence = 1;
  for (let part = 0; part < leaves; part++) {
    assert.equal(parts.step(1), false);
    // Overwritten behind and before where the audit is; a chunk that is empty by then is given back.
    const segment = places.addSegment(++sequence, file, sequence, 1);
    for (let i = 0; i < 100; i++) {
      const block = (part * 977 + i * 83) % (chunks * chunkBlocks);
      segment.blocks[i] = block;
      places.place(block, sequence, i, 0);
    }
    places.clear(part * chunkBlocks, chunkBlocks);
    if (places.chunks[part]?.live === 0) places.removeChunk(part);
  }
  assert.equal(parts.step(1), true);
  assert.deepEqual(parts.wrong, []);
  assert.deepEqual(audit(places), []);
});
