/** A bounded number of simulated histories; `deno task sim viperblock` runs as many as one likes. */
import { VolumeRun } from "../sim/volume_run.ts";

Deno.test("a volume keeps its promises through crashes at any step", async () => {
  const first = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  for (let seed = first; seed < first + 100; seed++) {
    try {
      await new VolumeRun(seed).run();
    } catch (cause) {
      throw new Error(`deno task sim viperblock --seed=${seed} --count=1 --trace`, { cause });
    }
  }
});
