/**
 * Crash schedules of the object store on a simulated disk, as many as wanted: every crash point of every
 * scenario in every variant first, then random histories, each with up to 64 crashes beside it. A failure
 * prints the seed that gives it again.
 *
 * `deno task sim predastore [--schedules N] [--seed S] [--only]`; `--only` runs the one random history of the seed.
 */
import { parseArgs } from "node:util";
import {
  runBranching,
  runSchedule,
  type Schedule,
} from "../../services/predastore/simulation/schedule.ts";
import {
  randomSchedule,
  scenarios,
  variantsOf,
} from "../../services/predastore/simulation/schedules.ts";
import { Progress } from "../../tasks/terminal/progress.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    schedules: { type: "string", default: "10000" },
    seed: { type: "string" },
    only: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log("deno task sim predastore [--schedules N] [--seed S] [--only]");
  Deno.exit(0);
}
const seed = Number(values.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]);
const wanted = Number(values.schedules);
if (!Number.isInteger(seed) || !Number.isInteger(wanted)) {
  console.error("--seed and --schedules are whole numbers.");
  Deno.exit(2);
}

// SQLite's files go to memory where that can be: they are copied at each schedule.
const folder = await Deno.makeTempDir({
  dir: await Deno.stat("/dev/shm").then(() => "/dev/shm", () => "/tmp"),
  prefix: "mulga-sim-",
});
const started = performance.now();
let done = 0;
let failed = 0;

async function run(schedule: Schedule, name: string): Promise<void> {
  try {
    await runSchedule(schedule, folder);
  } catch (error) {
    failed++;
    console.error(`${name}: ${JSON.stringify(schedule)}`, error);
  }
  done++;
}

/** The random history of a seed: the crash that it names, and those beside it. */
async function runHistory(one: number): Promise<void> {
  const name = `--seed ${one} --only`;
  await run(randomSchedule(one), name);
  try {
    done += await runBranching(randomSchedule(one), folder);
  } catch (error) {
    failed++;
    console.error(name, error);
  }
}

try {
  using progress = new Progress("crash schedules");
  const tell = () => progress.update(`${done} of ${wanted}, ${failed} failed, seed ${seed}`);
  if (values.only) await runHistory(seed);
  else {
    for (const [name, groups] of Object.entries(scenarios)) {
      for (const variant of variantsOf(groups, seed)) {
        const whole = await runSchedule({ ...variant, crash_at: Infinity }, folder);
        const points = whole.operations - whole.first;
        for (let crash_at = 1; crash_at <= points && done < wanted; crash_at++) {
          await run({ ...variant, crash_at }, name);
          tell();
        }
      }
    }
    for (let at = 0; done < wanted; at++) {
      await runHistory(seed + at);
      tell();
    }
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
const seconds = (performance.now() - started) / 1000;
console.log(JSON.stringify({ schedules: done, failed, seed, seconds: Math.round(seconds) }));
Deno.exit(failed === 0 ? 0 : 1);
