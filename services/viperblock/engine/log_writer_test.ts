import assert from "node:assert/strict";
import { mapMemory } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { blockBytes, standardGeometry } from "../format.ts";
import type { Completion, Machine } from "../machine/machine.ts";
import { BlockMap } from "../maps/block_map.ts";
import { LogWriter } from "./log_writer.ts";
import { Places } from "./places.ts";

/** A log on a ring whose completions the test gives. */
function log() {
  const handlers: Completion[] = [];
  const writes: { blocks: number; finish: () => void }[] = [];
  const syncs: (() => void)[] = [];
  const answered: number[] = [];
  const flushed: number[] = [];
  const machine = {
    memory: mapMemory,
    ring: {
      kind: (handler: Completion) => handlers.push(handler) - 1,
      queue(
        operation: number,
        _fd: number,
        _offset: number,
        _address: number,
        length: number,
        _flags: number,
        kind: number,
        id: number,
      ) {
        if (operation === ringOperations.sync) syncs.push(() => handlers[kind]?.(id, 0, 0));
        else {
          const finish = () => handlers[kind]?.(id, length, 0);
          writes.push({ blocks: length / blockBytes - 1, finish });
        }
      },
    },
  } as unknown as Machine;
  const writer = new LogWriter(machine, new Places(new BlockMap(1 << 20)), {
    volumeId: "vol-test",
    epoch: 1,
    geometry: standardGeometry,
    nextSegment: 1,
    nextSequence: 1,
    committed: (request) => answered.push(request),
    flushed: (request) => flushed.push(request),
  });
  writer.spares.push({ path: "log", fd: 3 });
  let block = 0;
  /** Each a write of its own, as they come in one turn. */
  const put = (count: number) => {
    const content = new Uint8Array(blockBytes).fill(1);
    for (let i = 0; i < count; i++) {
      writer.put(block++, content, 0);
      writer.attach(block);
    }
    writer.advance();
  };
  return { writer, put, writes, syncs, answered, flushed };
}

Deno.test("a few requests at a time are each written as they come", () => {
  const { put, writes } = log();
  for (let i = 0; i < 4; i++) put(1);
  assert.deepEqual(writes.map((each) => each.blocks), [1, 1, 1, 1]);
});

Deno.test("while many blocks are being written what comes gathers into one batch", () => {
  const { writer, put, writes, answered } = log();
  put(12);
  for (let i = 0; i < 10; i++) put(2);
  assert.deepEqual(writes.map((each) => each.blocks), [12]);
  writes[0]?.finish();
  assert.deepEqual(answered.length, 12);
  writer.endHold();
  writer.advance();
  assert.deepEqual(writes.map((each) => each.blocks), [12, 20]);
});

Deno.test("what has come by the time the disk is free goes along with what gathered meanwhile", () => {
  const { writer, put, writes, flushed } = log();
  put(12);
  put(10);
  writes[0]?.finish();
  writer.advance();
  assert.deepEqual(writes.map((each) => each.blocks), [12]);
  assert.ok(writer.holding, "the loop must not sleep now");
  writer.endHold();
  put(3);
  assert.deepEqual(writes.map((each) => each.blocks), [12, 13]);
  put(10);
  writes[1]?.finish();
  writer.flush(100);
  writer.advance();
  assert.deepEqual(writes.map((each) => each.blocks), [12, 13, 10], "a flush waits for nobody");
  assert.ok(!writer.holding);
  assert.deepEqual(flushed, []);
});

Deno.test("a disk that gets free when nothing has gathered keeps nobody waiting", () => {
  const { writer, put, writes } = log();
  put(12);
  writes[0]?.finish();
  assert.ok(!writer.holding);
  writer.endHold();
  put(1);
  assert.deepEqual(writes.map((each) => each.blocks), [12, 1]);
});

Deno.test("a batch that is worth its write does not wait for another", () => {
  const { put, writes } = log();
  put(12);
  put(63);
  assert.deepEqual(writes.map((each) => each.blocks), [12]);
  put(1);
  put(500);
  assert.deepEqual(writes.map((each) => each.blocks), [12, 64, 128, 128, 128]);
});

Deno.test("flushes with nothing put between them share one sync, and none is needed for what is synced", () => {
  const { writer, put, writes, syncs, flushed } = log();
  put(4);
  put(20);
  writer.flush(100);
  writer.advance();
  writer.flush(101);
  assert.equal(writes.length, 2, "what has gathered is written for the flush");
  for (const write of writes) write.finish();
  writer.advance();
  writer.flush(102);
  assert.equal(syncs.length, 1);
  assert.deepEqual(flushed, []);
  syncs[0]?.();
  assert.deepEqual(flushed, [100, 101, 102]);
  writer.flush(103);
  writer.advance();
  assert.deepEqual(flushed, [100, 101, 102, 103]);
  assert.equal(syncs.length, 1);
});

Deno.test("a flush waits for a sync of its own when something was put since the one under way began", () => {
  const { writer, put, writes, syncs, flushed } = log();
  put(1);
  writes[0]?.finish();
  writer.flush(100);
  writer.advance();
  put(1);
  writer.flush(101);
  syncs[0]?.();
  writer.advance();
  assert.deepEqual(flushed, [100]);
  assert.equal(syncs.length, 1, "its batch is not written yet");
  writes[1]?.finish();
  writer.advance();
  assert.equal(syncs.length, 2);
  assert.deepEqual(flushed, [100]);
  syncs[1]?.();
  assert.deepEqual(flushed, [100, 101]);
});
