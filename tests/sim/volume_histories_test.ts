/** Simulated histories that are always the same; `deno task soak` and `deno task sim` look for new ones. */
import { VolumeRun } from "./volume_run.ts";

/** Histories that once found something: seed 64089732, a write that its client left in the middle. */
const found = [64089732];

Deno.test("a volume keeps its promises through crashes at any step of known histories", async () => {
  for (const seed of [...found, ...Array.from({ length: 60 }, (_, i) => i + 1)]) {
    try {
      await new VolumeRun(seed).run();
    } catch (cause) {
      throw new Error(`deno task sim viperblock --seed=${seed} --count=1 --trace`, { cause });
    }
  }
});
