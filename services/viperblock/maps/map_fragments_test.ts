import assert from "node:assert/strict";
import { chunkContainer } from "../format.ts";
import { type Random, seeded } from "../../../tests/kit/random.ts";
import { BlockMap } from "./block_map.ts";
import { type FoundExtent, readFragments } from "./map_fragments.ts";
import { type BlockStore, mapKey, mapPartKey, type SavedMap } from "./map_objects.ts";
import { MapWriter, smallestPiece, type StoredChunk } from "./map_stream.ts";

const sizeBlocks = 200_000;
const head = { volumeId: "vol-1", epoch: 3, sizeBlocks, sequence: 7, nextSegment: 1 };

/** A saved map of several parts, by key. */
function saved(random: Random) {
  const blocks = new BlockMap(sizeBlocks);
  const chunks: StoredChunk[] = Array.from({ length: 20 }, (_, i) => ({
    name: { owner: "vol-1", epoch: 3, sequence: i },
    blocks: 1024,
    live: 1,
  }));
  for (let i = 0; i < 12_000; i++) {
    const first = random.below(sizeBlocks - 4);
    const container = chunkContainer(random.below(20));
    for (let k = 0; k < 1 + random.below(4); k++) {
      blocks.set(first + k, container, k, 1 + random.below(2 ** 32 - 1));
    }
  }
  const writer = new MapWriter(head, blocks.capture(), chunks);
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  const key = mapKey("vol-1", 3);
  while (!writer.done) {
    const piece = new Uint8Array(smallestPiece);
    objects.set(mapPartKey(key, objects.size), piece.slice(0, writer.fill(piece)));
  }
  const map: SavedMap = {
    key,
    parts: objects.size,
    epoch: 3,
    mapped_blocks: blocks.mappedBlocks,
    owners: ["vol-1"],
  };
  return { map, objects };
}

const storeOf = (objects: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): BlockStore => ({
  put: () => assert.fail("nothing is written"),
  delete: () => assert.fail("nothing is deleted"),
  get: (key) => Promise.resolve(objects.get(key)),
  list: () => assert.fail("nothing is listed"),
});

Deno.test("wherever a part of a map was cut off, no extent is said to follow over one that is lost", async () => {
  await seeded(async (random) => {
    const { map, objects } = saved(random);
    assert.ok(map.parts > 3);
    const whole = await readFragments(storeOf(objects), map, sizeBlocks);
    assert.ok(whole.hasEnd && whole.extents.every(({ follows }) => follows));
    const places = new Map(whole.extents.map(({ first }, i) => [first, i]));
    const placeOf = ({ first }: FoundExtent) => places.get(first) as number;
    const number = random.below(map.parts);
    const key = mapPartKey(map.key, number);
    const part = objects.get(key) as Uint8Array<ArrayBuffer>;
    const from = random.below(part.length >> 2) * 4;
    // Some of these are between two records.
    for (let length = from; length < Math.min(from + 256, part.length); length += 4) {
      const cut = new Map(objects).set(key, part.slice(0, length));
      const { extents, hasEnd } = await readFragments(storeOf(cut), map, sizeBlocks);
      for (const [i, extent] of extents.entries()) {
        if (!extent.follows || !places.has(extent.first)) continue;
        const before = extents[i - 1];
        const expected = before === undefined ? 0 : placeOf(before) + 1;
        assert.equal(placeOf(extent), expected, `part ${number} cut off at ${length}`);
      }
      const last = extents.at(-1);
      if (hasEnd && last !== undefined) assert.equal(placeOf(last), whole.extents.length - 1);
    }
  });
});
