import assert from "node:assert/strict";
import { closeFile, createEvent, mapMemory, signalEvent, unmap } from "./libc.ts";
import { Ring, ringOperations } from "./liburing.ts";

/** A ring, and a read of an event in it for each of `count` ids. */
function reading(count: number) {
  const ring = new Ring(64);
  const memory = mapMemory(4096);
  const told: number[] = [];
  const kind = ring.kind((id, result) => {
    assert.equal(result, 8);
    told.push(id);
  });
  const events = Array.from({ length: count }, () => createEvent());
  for (const [id, event] of events.entries()) {
    ring.queue(ringOperations.read, event, 0, memory.address + id * 8, 8, 0, kind, id);
  }
  return {
    ring,
    told,
    events,
    [Symbol.dispose]() {
      for (const event of events) closeFile(event);
      ring.close();
      unmap(memory);
    },
  };
}

Deno.test("what does not come is not waited for together with what does", () => {
  using read = reading(3);
  read.ring.turn(0);
  signalEvent(read.events[1] as number);
  while (read.told.length === 0) read.ring.turn(3);
  assert.deepEqual(read.told, [1]);
});

Deno.test("several that have come are told in one turn", () => {
  using read = reading(3);
  read.ring.turn(0);
  for (const event of read.events) signalEvent(event);
  while (read.told.length < 3) read.ring.turn(3);
  assert.deepEqual(read.told.toSorted(), [0, 1, 2]);
});

Deno.test("a ring that waits for several still waits when none comes for longer than it gathers", async () => {
  using read = reading(2);
  read.ring.turn(0);
  const event = read.events[0] as number;
  const worker = new Worker(
    "data:application/typescript," + encodeURIComponent(`
      const { symbols } = Deno.dlopen("libc.so.6", {
        write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
      });
      setTimeout(() => {
        symbols.write(${event}, new Uint8Array(new BigUint64Array([1n]).buffer), 8n);
      }, 30);
    `),
    { type: "module" },
  );
  await new Promise((resolve) => setTimeout(resolve, 0));
  let turns = 0;
  for (; read.told.length === 0; turns++) read.ring.turn(2);
  worker.terminate();
  assert.ok(turns < 20, `the wait ended ${turns} times`);
});
