/**
 * Simulated histories of volumes from seeds, with crashes at every step:
 * `deno task sim viperblock [--seed=N] [--count=N] [--forever] [--trace]`.
 */
import { parse, runCommand } from "../../tasks/terminal/command.ts";
import { noMapLosses } from "./map_loss.ts";
import { VolumeRun } from "./volume_run.ts";

await runCommand(async () => {
  const parsed = parse({
    name: "deno task sim viperblock",
    summary: "Runs the block engine on a simulated machine that fails and crashes as a seed says.",
    options: {
      seed: { type: "string", help: "The first seed; a random one by default" },
      count: { type: "string", help: "How many seeds, one after the other (50)" },
      forever: { type: "boolean", help: "Go on until a property does not hold" },
      "calm-openings": { type: "boolean", help: "Nothing ends while a volume is being opened" },
      "no-cache": { type: "boolean", help: "The node's disk keeps no chunks" },
      trace: { type: "boolean", help: "Say what happened in each run" },
    },
    notes: [
      "One seed is one history, with about 4,500 crashes beside and in it.",
      "A run that fails names its seed; --seed=N --count=1 --trace shows it again.",
    ],
  }, Deno.args);
  if (parsed === undefined) return;
  const { options } = parsed;
  const first = options.seed === undefined
    ? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
    : Number(options.seed);
  const count = options.forever === true ? Infinity : Number(options.count ?? 50);
  let crashes = 0;
  let branches = 0;
  let done = 0;
  let requests = 0;
  let compacted = 0;
  let cached = 0;
  let cachedWrong = 0;
  let damaged = 0;
  let refused = 0;
  let cut = 0;
  const maps = noMapLosses();
  const started = performance.now();
  for (let i = 0; i < count; i++) {
    const run = new VolumeRun(
      first + i,
      options["calm-openings"] !== true,
      options["no-cache"] !== true,
    );
    try {
      const report = await run.run();
      crashes += report.crashes;
      branches += report.branches;
      requests += report.requests;
      compacted += report.compacted;
      cached += report.cached;
      cachedWrong += report.cachedWrong;
      damaged += report.damaged;
      refused += report.refused;
      cut += report.cut;
      for (const each of Object.keys(maps) as (keyof typeof maps)[]) {
        maps[each] += report.maps[each];
      }
      if (options.trace === true) console.log(report.trace.join("\n"));
    } catch (error) {
      if (options.trace === true) console.log(run.trace.join("\n"));
      console.error(`seed ${first + i} failed after ${i} runs:`, error);
      return 1;
    }
    done++;
    if (done % 50 === 0 && done < count) report();
  }
  report();
  return 0;

  function report(): void {
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `${
        crashes + branches
      } crash schedules (${branches} branched) in ${done} histories, ${requests} requests, ${compacted} chunks compacted, ${cached} blocks read from kept chunks (${cachedWrong} wrong and fetched), ${damaged} times the flushed log damaged (${refused} openings refused, ${cut} shown as before), ${maps.lost} maps lost (${maps.exact} made anew exactly, ${maps.partly} in part) in ${
        seconds.toFixed(1)
      } s from seed ${first} on`,
    );
  }
});
