import assert from "node:assert/strict";
import { joined } from "../aws/bytes.ts";
import { blockBytes, chunkContainer, chunkKey } from "./format.ts";
import { checkMap } from "./fsck.ts";
import { BlockMap } from "./maps/block_map.ts";
import type { BlockStore } from "./maps/map_objects.ts";
import { MapWriter, smallestPiece } from "./maps/map_stream.ts";

const sizeBlocks = 1024;
const name = { owner: "vol-1", epoch: 1, sequence: 1 };

const nothingStored: BlockStore = {
  put: () => Promise.resolve(),
  get: () => Promise.resolve(undefined),
  delete: () => Promise.resolve(),
  async *list() {},
};

/** The map of a volume that has two blocks in one chunk. */
function liveMap(): Uint8Array<ArrayBuffer> {
  const map = new BlockMap(sizeBlocks);
  for (const block of [3, 4]) map.set(block, chunkContainer(0), block - 3, 1);
  const writer = new MapWriter(
    { volumeId: "vol-1", epoch: 1, sizeBlocks, sequence: 9, nextSegment: 2 },
    map.capture(),
    [{ name, blocks: 2, live: 2 }],
  );
  const parts: Uint8Array[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(smallestPiece);
    parts.push(piece.slice(0, writer.fill(piece)));
  }
  return joined(parts);
}

const check = (held: readonly string[] | undefined) =>
  checkMap(nothingStored, {
    id: "vol-1",
    size_bytes: sizeBlocks * blockBytes,
    map: undefined,
    inherited: undefined,
    isMounted: true,
    live: liveMap(),
    books: [],
    held: () => Promise.resolve(held === undefined ? undefined : new Set(held)),
  });

Deno.test("a chunk that is missing is damage only while the engine says that it needs it", async () => {
  const needed = await check([chunkKey(name)]);
  assert.deepEqual([needed.is_sound, needed.damaged_blocks], [false, 2]);
  const emptied = await check([]);
  assert.deepEqual([emptied.is_sound, emptied.damage, emptied.damaged_blocks], [true, [], 0]);
  // An engine that has ended cannot say so; the chunk may have gone with what followed it.
  const ended = await check(undefined);
  const why = "its chunks could not all be checked, for its engine ended meanwhile: check it again";
  assert.deepEqual([ended.is_sound, ended.damage, ended.damaged_blocks], [false, [{ why }], 0]);
});

Deno.test("a check takes little memory for each block of a volume that has many", async () => {
  const [chunks, each] = [2048, 1024];
  const map = new BlockMap(chunks * each);
  for (let block = 0; block < chunks * each; block++) {
    map.set(block, chunkContainer(Math.floor(block / each)), block % each, 0xffff_0000 + block);
  }
  const head = {
    volumeId: "vol-1",
    epoch: 1,
    sizeBlocks: chunks * each,
    sequence: 9,
    nextSegment: 2,
  };
  const table = Array.from({ length: chunks }, (_, i) => ({
    name: { owner: "vol-1", epoch: 1, sequence: i + 1 },
    blocks: each,
    live: each,
  }));
  const writer = new MapWriter(head, map.capture(), table);
  const parts: Uint8Array[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(1 << 20);
    parts.push(piece.slice(0, writer.fill(piece)));
  }
  const live = joined(parts);
  const before = Deno.memoryUsage().heapUsed;
  let most = 0;
  const report = await checkMap({
    ...nothingStored,
    get() {
      most = Math.max(most, Deno.memoryUsage().heapUsed - before);
      return Promise.resolve(undefined);
    },
  }, {
    id: "vol-1",
    size_bytes: chunks * each * blockBytes,
    map: undefined,
    inherited: undefined,
    isMounted: false,
    live,
    books: [],
  });
  assert.equal(report.damaged_blocks, chunks * each);
  const forEach = most / (chunks * each);
  assert.ok(forEach < 32, `${forEach} bytes of heap for each block`);
});
