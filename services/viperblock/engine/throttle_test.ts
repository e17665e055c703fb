import assert from "node:assert/strict";
import { Throttle } from "./throttle.ts";

Deno.test("a volume without limits is never held up", () => {
  const throttle = new Throttle({}, () => 0);
  for (let i = 0; i < 1e5; i++) assert.ok(throttle.admit(1 << 20));
});

Deno.test("over time no more requests and bytes are let in than the limits say, and no fewer", () => {
  for (const bytes of [4096, 1 << 20]) {
    let now = 0;
    const throttle = new Throttle({ iops: 3000, throughput_bytes: 125 << 20 }, () => now);
    let admitted = 0;
    for (; now < 60_000; now += 5) while (throttle.admit(bytes)) admitted++;
    const wanted = Math.min(3000, (125 << 20) / bytes);
    // One second's worth may be used at once.
    const expected = wanted * 61;
    assert.ok(admitted <= expected + 2 && admitted > expected * 0.98, `${admitted} of ${expected}`);
  }
});

Deno.test("after a pause one second's worth passes at once, and limits may change at any time", () => {
  let now = 0;
  const throttle = new Throttle({ iops: 100 }, () => now);
  while (throttle.admit(1));
  now = 3_600_000;
  let burst = 0;
  while (throttle.admit(1)) burst++;
  assert.equal(burst, 100);
  throttle.set({ iops: 500 });
  burst = 0;
  while (throttle.admit(1)) burst++;
  assert.equal(burst, 500);
});

Deno.test("however long it was idle, and however full its buckets were, one second's worth passes at once", () => {
  let now = 0;
  const throttle = new Throttle({ iops: 1600, throughput_bytes: 1 << 20 }, () => now);
  const burst = (bytes: number) => {
    let [requests, passed] = [0, 0];
    for (; throttle.admit(bytes); requests++) passed += bytes;
    return { requests, passed };
  };
  now = 3_600_000;
  const fresh = burst(1).requests;
  assert.ok(fresh >= 1600 && fresh <= 1700, `${fresh} requests at once`);
  now += 3_600_000;
  for (let i = 0; i < 800; i++) assert.ok(throttle.admit(1));
  now += 3_600_000;
  const after = burst(1).requests;
  assert.ok(after >= 1600 && after <= 1700, `${after} requests at once`);
  now += 3_600_000;
  const { passed } = burst(4096);
  assert.ok(passed >= 1 << 20 && passed <= 1.0625 * (1 << 20) + 4096, `${passed} bytes at once`);
});
