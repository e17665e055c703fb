import assert from "node:assert/strict";
import { joined } from "../../aws/bytes.ts";
import { chunkContainer } from "../format.ts";
import { BlockMap } from "../maps/block_map.ts";
import { type MapWriter, smallestPiece } from "../maps/map_stream.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import { Places } from "./places.ts";
import { Snapshotter, type SnapshotterOptions } from "./snapshotter.ts";

function written(writer: MapWriter): Uint8Array {
  const pieces: Uint8Array[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(smallestPiece);
    pieces.push(piece.subarray(0, writer.fill(piece)));
  }
  return joined(pieces);
}

Deno.test("a snapshot's map that the store did not take is the same when it is stored again: parts that land late do no harm", () => {
  const map = new BlockMap(1024);
  const places = new Places(map);
  const chunk = (sequence: number, block: number) => {
    const number = places.addChunk({ owner: "vol-a", epoch: 1, sequence }, 1);
    places.place(block, chunkContainer(number), 0, sequence);
  };
  const saved: { key: string; bytes: Uint8Array }[] = [];
  const posted: FromWorker[] = [];
  let now = 1;
  const snapshotter = new Snapshotter({
    volumeId: "vol-a",
    epoch: 1,
    map,
    places,
    log: { sealSegment() {}, nextSequence: 1, nextSegment: 1, committedSequence: 0 },
    drainer: { running: false },
    checkpointer: {
      running: false,
      save(writer: MapWriter, key: string, done: (ok: boolean) => void) {
        saved.push({ key, bytes: written(writer) });
        done(saved.length > 1);
      },
    },
    post: (message: FromWorker) => posted.push(message),
    now: () => now,
    chunkBlocks: 1024,
  } as unknown as SnapshotterOptions);
  chunk(1, 5);
  snapshotter.freeze("maps/vol-a/00000001-000001");
  snapshotter.advance();
  // What the volume does meanwhile is none of the snapshot's.
  chunk(2, 5);
  chunk(3, 6);
  for (let turn = 0; turn < 4; turn++) {
    now += 10_000;
    snapshotter.advance();
  }
  const [first, second] = saved;
  assert.equal(saved.length, 2);
  assert.equal(first?.key, second?.key);
  assert.deepEqual(first?.bytes, second?.bytes);
  assert.deepEqual(posted.map(({ kind }) => kind), ["captured", "frozen"]);
});
