/** A part of a block that waits for room in the log, while other writes move the block. */
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { mapMemory } from "../../../ffi/libc.ts";
import { blockBytes, chunkContainer } from "../format.ts";
import type { Machine } from "../machine/machine.ts";
import { BlockMap, checksumAt, containerAt, indexAt } from "../maps/block_map.ts";
import type { LogWriter } from "./log_writer.ts";
import { PartialWrites } from "./partial_writes.ts";
import { Places } from "./places.ts";
import type { Reader } from "./reader.ts";
import { Requests } from "./requests.ts";
import { Slots } from "./slots.ts";

const block = 5;

Deno.test("a part of a block is laid over what was written while it waited, also where that has the number of a chunk that is gone", () => {
  const places = new Places(new BlockMap(64));
  const requests = new Requests();
  const slots = new Slots({ memory: mapMemory } as unknown as Machine);
  const bytes = slots.memory.bytes;
  /** Writes the block in a chunk of that number. */
  const write = (sequence: number) => {
    const number = places.addChunk({ owner: "vol-1", epoch: 1, sequence }, 1);
    const content = new Uint8Array(blockBytes).fill(sequence);
    places.place(block, chunkContainer(number), 0, crc32c(content));
    return { number, content };
  };
  let now = write(1);
  let hasRoom = false;
  const put: Uint8Array[] = [];
  const done: number[] = [];
  const partial: PartialWrites = new PartialWrites({
    requests,
    slots,
    places,
    log: {
      put(_block: number, from: Uint8Array, at: number) {
        if (hasRoom) put.push(from.slice(at, at + blockBytes));
        return hasRoom;
      },
    } as unknown as LogWriter,
    reader: {
      hasRoom: () => true,
      start(id: number) {
        const slot = requests.slot[id] as number;
        const column = slots.firstBlock[slot] as number;
        const leaf = places.map.leaf(block) as Uint32Array;
        slots.container[column] = containerAt(leaf, block);
        slots.index[column] = indexAt(leaf, block);
        slots.checksum[column] = checksumAt(leaf, block);
        bytes.set(now.content, slots.start[slot] as number);
        partial.readDone(id);
      },
    } as unknown as Reader,
    partDone: (id) => done.push(id),
  });
  const request = requests.take();
  partial.start(request, block * blockBytes + 100, 10, new Uint8Array(10).fill(9), 0);
  assert.ok(partial.waiting);
  // Somebody else writes all of the block, that comes into a chunk, and the one before is given up.
  places.clear(block, 1);
  places.removeChunk(now.number);
  const before = now.number;
  now = write(2);
  assert.equal(now.number, before);
  hasRoom = true;
  partial.advance(false);
  const expected = new Uint8Array(blockBytes).fill(2).fill(9, 100, 110);
  assert.deepEqual(put, [expected]);
  assert.deepEqual(done, [request]);
});
