/**
 * A volume of 1 TiB of which a tenth is mapped, as a crash leaves it: a checkpoint of 26.8 million blocks
 * in 26,216 chunks, spread over the volume. How long it takes until it serves, and what its map takes.
 */
import { BlockMap, leafBlocks } from "../../services/viperblock/maps/block_map.ts";
import { checkpointName, chunkBlocks, chunkContainer } from "../../services/viperblock/format.ts";
import { MapWriter, type StoredChunk } from "../../services/viperblock/maps/map_stream.ts";
import { startBare } from "../viperblock/bare_engine.ts";

const sizeBlocks = 2 ** 28;
const spread = 10;
async function writeCheckpoint(path: string): Promise<number> {
  const map = new BlockMap(sizeBlocks);
  const chunks: StoredChunk[] = [];
  for (let leaf = 0; leaf < sizeBlocks / leafBlocks; leaf += spread) {
    for (let chunk = 0; chunk < leafBlocks / chunkBlocks; chunk++) {
      const container = chunkContainer(chunks.length);
      const first = leaf * leafBlocks + chunk * chunkBlocks;
      for (let i = 0; i < chunkBlocks; i++) map.set(first + i, container, i, first ^ i);
      const name = { owner: "vol-bare", epoch: 1, sequence: chunks.length + 1 };
      chunks.push({ name, blocks: chunkBlocks, live: chunkBlocks });
    }
  }
  const head = { volumeId: "vol-bare", epoch: 1, sizeBlocks, sequence: 1, nextSegment: 1 };
  const writer = new MapWriter(head, map.capture(), chunks);
  using file = await Deno.open(path, { create: true, write: true });
  const piece = new Uint8Array(1 << 20);
  while (!writer.done) {
    const length = writer.fill(piece);
    for (let done = 0; done < length;) done += await file.write(piece.subarray(done, length));
  }
  return chunks.length * chunkBlocks;
}

export interface Opened {
  readonly seconds: readonly number[];
  readonly mappedBlocks: number;
  readonly bytesForEach: number;
}

export async function largeVolume(directory: string, rounds: number): Promise<Opened> {
  await Deno.mkdir(`${directory}/log`, { recursive: true });
  const mappedBlocks = await writeCheckpoint(`${directory}/log/${checkpointName}`);
  const seconds: number[] = [];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const engine = await startBare({
      directory,
      socket: `${directory}/socket`,
      sizeBytes: sizeBlocks * 4096,
      epoch: round + 2,
    });
    seconds.push(engine.ready.open_ms / 1000);
    bytes = engine.ready.volume_bytes;
    await engine.kill();
  }
  return { seconds, mappedBlocks, bytesForEach: bytes / mappedBlocks };
}
