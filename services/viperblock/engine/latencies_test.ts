import assert from "node:assert/strict";
import { Histogram, Latencies, TurnClock } from "./latencies.ts";
import { nbdCommand } from "./nbd_protocol.ts";

Deno.test("percentiles are right to an eighth, whatever the times", () => {
  const histogram = new Histogram();
  assert.equal(histogram.percentile(0.99), 0);
  const times_us = Array.from({ length: 10_000 }, (_, i) => 1.003 ** i % 1e6 + 1);
  for (const time of times_us) histogram.count(time / 1000);
  times_us.sort((a, b) => a - b);
  for (const share of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
    const exact = times_us[Math.ceil(times_us.length * share) - 1] as number;
    const told = histogram.percentile(share);
    assert.ok(told >= Math.floor(exact) && told <= exact * 1.126 + 1, `${told} for ${exact} µs`);
  }
  const counted = histogram.byOctave().reduce((sum, [, count]) => sum + count, 0);
  assert.equal(counted, times_us.length);
});

Deno.test("what takes no time, or for ever, counts too", () => {
  const histogram = new Histogram();
  for (const time_ms of [0, 1e-6, 1e9]) histogram.count(time_ms);
  assert.deepEqual(histogram.byOctave(), [[1, 2], [2 ** 28 - 1, 1]]);
  assert.equal(histogram.percentile(0.5), 1);
});

Deno.test("each kind of request is told by itself", () => {
  const latencies = new Latencies();
  assert.deepEqual(latencies.report(), {});
  for (let i = 0; i < 99; i++) latencies.count(nbdCommand.read, 0.1);
  latencies.count(nbdCommand.read, 50);
  latencies.count(nbdCommand.blockStatus, 1);
  assert.deepEqual(latencies.report(), {
    read_us_at_most_127: 99,
    read_us_at_most_65535: 1,
    read_p50_us: 103,
    read_p99_us: 103,
    read_p999_us: 53247,
  });
});

Deno.test("the clock is read once until time has passed", () => {
  let reads = 0;
  const clock = new TurnClock(() => ++reads);
  assert.deepEqual([clock.at, clock.at], [1, 1]);
  clock.expire();
  assert.deepEqual([clock.at, clock.at, reads], [2, 2, 2]);
});
