import assert from "node:assert/strict";
import { mapMemory, unmap } from "../../../../ffi/libc.ts";
import { inFlightBytes, InFlightMemory } from "./in_flight.ts";

function made() {
  const memory = mapMemory(inFlightBytes(2, 8));
  const fresh = () => new InFlightMemory(memory, 2, 8).queue(1)!;
  return { memory, fresh };
}

Deno.test("what was begun and not given back is found again, oldest first", () => {
  const { memory, fresh } = made();
  const queue = fresh();
  assert.deepEqual(queue.recover(0), []);
  for (const head of [5, 2, 7, 1]) queue.begin(head);
  queue.undo(1);
  const batch = new Uint16Array([2]);
  queue.link(batch, 1);
  queue.unmark(batch, 1, 1);
  const next = fresh();
  assert.deepEqual(next.recover(1), [5, 7]);
  next.begin(2);
  assert.deepEqual(fresh().recover(1), [5, 7, 2]);
  unmap(memory);
});

Deno.test("a batch that was published is over, also when the end came before it was unmarked", () => {
  const { memory, fresh } = made();
  const queue = fresh();
  queue.recover(65_535);
  for (const head of [3, 4, 6]) queue.begin(head);
  const batch = new Uint16Array([6, 3]);
  queue.link(batch, 2);
  // Published: the ring says 65535 + 2. It was not: everything is done again.
  assert.deepEqual(fresh().recover(1), [4]);
  unmap(memory);
  const again = made();
  const other = again.fresh();
  other.recover(9);
  for (const head of [3, 4, 6]) other.begin(head);
  other.link(batch, 2);
  assert.deepEqual(again.fresh().recover(9), [3, 4, 6]);
  unmap(again.memory);
});

Deno.test("memory that says nonsense is not followed out of its table", () => {
  const { memory, fresh } = made();
  crypto.getRandomValues(memory.bytes);
  for (const head of fresh().recover(77)) assert.ok(head < 8);
  unmap(memory);
});
