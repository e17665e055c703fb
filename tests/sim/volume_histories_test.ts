/** Simulated histories that are always the same; `deno task soak` and `deno task sim` look for new ones. */
import { VolumeRun } from "./volume_run.ts";

Deno.test("a volume keeps its promises through crashes at any step of known histories", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    try {
      await new VolumeRun(seed).run();
    } catch (cause) {
      throw new Error(`deno task sim viperblock --seed=${seed} --count=1 --trace`, { cause });
    }
  }
});
