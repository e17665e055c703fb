/**
 * Some histories of directories that go away, fail, rot and lose their ends, with crashes and a lost index in between;
 * `deno task sim predastore --faults` runs as many others as one likes.
 */
import assert from "node:assert/strict";
import { runFaultHistory } from "../../services/predastore/simulation/fault_history.ts";

/** With what does not happen in each. */
const seeds: readonly (readonly [number, readonly string[]])[] = [
  ...[4, 20, 21].map((seed) => [seed, ["pull", "fail", "older"]] as const),
  ...[14, 19, 34, 38, 48, 55, 1033, 1047, 1086, 1120, 1129, 1145].map((seed) =>
    [seed, ["fail", "older", "cut", "rot"]] as const
  ),
  ...[1, 6, 8, 11, 12].map((seed) => [seed, ["older"]] as const),
];

Deno.test("histories of harmed directories: what was acknowledged survives, and what was deleted stays away", async () => {
  const folder = await Deno.makeTempDir({
    dir: await Deno.stat("/dev/shm").then(() => "/dev/shm", () => "/tmp"),
    prefix: "mulga-faults-",
  });
  let recoveries = 0;
  try {
    for (const [seed, leftOut] of seeds) {
      recoveries += await runFaultHistory(seed, folder, new Set(leftOut));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  assert.ok(recoveries >= 3 * seeds.length, `${recoveries} recoveries`);
});
