/** Whose checkpoint is opened: a volume's own only, also where the map in it is that of a snapshot. */
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { mapMemory } from "../../../ffi/libc.ts";
import { BlockMap } from "./block_map.ts";
import { asCheckpointOf } from "./checkpoint_copy.ts";
import { Places } from "../engine/places.ts";
import { recover } from "../engine/recovery.ts";
import { chunkContainer, DamagedData } from "../format.ts";
import { FoundDisk } from "../machine/found_disk.ts";
import { loadMap } from "./map_reader.ts";
import { MapWriter, smallestPiece } from "./map_stream.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const sizeBlocks = 40_000;
const window = mapMemory(4 << 20);

/** A map of 30,000 scattered blocks, in parts. */
function mapOf(volumeId: string, checkpointOf?: string): Bytes[] {
  const map = new BlockMap(sizeBlocks);
  for (let block = 0; block < 30_000; block++) map.set(block, chunkContainer(0), block % 7, block);
  const chunk = { name: { owner: volumeId, epoch: 1, sequence: 1 }, blocks: 7, live: 30_000 };
  const writer = new MapWriter(
    {
      volumeId,
      epoch: 4,
      sizeBlocks,
      sequence: 17,
      nextSegment: 3,
      ...(checkpointOf === undefined ? {} : { checkpointOf }),
    },
    map.capture(),
    [chunk],
  );
  const parts: Bytes[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(smallestPiece);
    parts.push(piece.slice(0, writer.fill(piece)));
  }
  return parts;
}

async function joined(parts: AsyncIterable<Bytes> | Iterable<Bytes>): Promise<Bytes> {
  const all = await Array.fromAsync(parts);
  const whole = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

async function* each(parts: readonly Bytes[]): AsyncGenerator<Bytes> {
  yield* parts;
}

function opened(volumeId: string, checkpoint: Bytes): number {
  const map = new BlockMap(sizeBlocks);
  const disk = new FoundDisk("/v", new Map([["/v/map.ckpt", checkpoint]]));
  recover({ disk, memory: () => window, release() {} }, volumeId, map, new Places(map));
  return map.mappedBlocks;
}

Deno.test("another volume's checkpoint is refused; a snapshot's map, copied for the volume, is not", async () => {
  const own = await joined(mapOf("vol-1", "vol-1"));
  assert.equal(opened("vol-1", own), 30_000);
  assert.throws(() => opened("vol-2", own), DamagedData);
  const copy = await joined(asCheckpointOf("vol-2", each(mapOf("vol-1"))));
  assert.equal(opened("vol-2", copy), 30_000);
  assert.throws(() => opened("vol-1", copy), DamagedData, "not even the map's own maker");
  assert.equal(loadMap(copy, { chunk() {}, block() {} }).checkpointOf, "vol-2");
});

Deno.test("a checkpoint that does not say whose it is was written by an older release, and is opened", async () => {
  const old = await joined(mapOf("vol-1"));
  assert.equal(opened("vol-1", old), 30_000);
  assert.equal(opened("vol-clone", old), 30_000);
});

Deno.test("a saved map that was damaged on its way does not become a checkpoint", async () => {
  for (const [part, at] of [[0, 5], [0, 5000], [1, 17], [-1, -7]] as const) {
    const parts = mapOf("vol-1").map((bytes) => bytes.slice());
    const bytes = parts.at(part)!;
    const place = at < 0 ? bytes.length + at : at;
    bytes[place] = bytes[place]! ^ 8;
    await assert.rejects(joined(asCheckpointOf("vol-2", each(parts))), DamagedData);
  }
  const parts = mapOf("vol-1");
  await assert.rejects(joined(asCheckpointOf("vol-2", each(parts.slice(0, -1)))), DamagedData);
  await assert.rejects(joined(asCheckpointOf("vol-2", each([]))), DamagedData);
});

Deno.test("who calls a checkpoint his own and does not mend the checksum is found out", async () => {
  const own = await joined(mapOf("vol-1", "vol-1"));
  own.set(new TextEncoder().encode("vol-2"), 108);
  assert.throws(() => opened("vol-2", own), DamagedData);
  // With the head's checksum alone mended, that of the whole still tells.
  const view = new DataView(own.buffer);
  view.setUint32(8, 0, true);
  view.setUint32(8, crc32c(own.subarray(0, 4096)), true);
  assert.throws(() => opened("vol-2", own), DamagedData);
});
