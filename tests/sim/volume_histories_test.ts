/** Simulated histories that are always the same; `deno task soak` and `deno task sim` look for new ones. */
import assert from "node:assert/strict";
import { VolumeRun } from "./volume_run.ts";

/** Histories that once found something: seed 64089732, a write that its client left in the middle. */
const found = [64089732];

Deno.test("a volume keeps its promises through crashes at any step of known histories", async () => {
  let crashes = 0;
  for (const seed of [...found, ...Array.from({ length: 60 }, (_, i) => i + 1)]) {
    try {
      const report = await new VolumeRun(seed).run();
      crashes += report.crashes + report.branches;
    } catch (cause) {
      throw new Error(`deno task sim viperblock --seed=${seed} --count=1 --trace`, { cause });
    }
  }
  console.log(`${crashes} crash schedules`);
  assert.ok(crashes > 200_000, `only ${crashes} crash schedules`);
});
