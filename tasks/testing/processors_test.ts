import assert from "node:assert/strict";
import { busyPercent, processorTime } from "./processors.ts";

Deno.test("what is neither idle nor waits for a disk is busy; guests are counted once", () => {
  const stat = (fields: string) => processorTime(`cpu  ${fields}\ncpu0 1 1 1 1 1 1 1 1 1 1\n`);
  const before = stat("100 10 20 800 50 5 5 10 40 0");
  assert.deepEqual(before, { busy: 150, all: 1_000 });
  const after = stat("160 10 30 820 60 5 5 10 90 0");
  assert.equal(busyPercent(before, after), 70);
  assert.equal(busyPercent(before, before), undefined);
});

Deno.test("this machine's own processors are told", () => {
  const { busy, all } = processorTime();
  assert.ok(busy > 0 && busy <= all, `${busy} of ${all}`);
});
