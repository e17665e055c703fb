/**
 * Crash schedules of the object store on a simulated disk, as many as wanted: every crash point of every
 * scenario in every variant first, then random histories, each with up to 64 crashes beside it. A failure
 * prints the seed that gives it again.
 */
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
import { runFaultHistory } from "../../services/predastore/simulation/fault_history.ts";
import { CommandError, parse } from "../../tasks/terminal/command.ts";
import { Progress } from "../../tasks/terminal/progress.ts";

/** What was asked for; ends the process where that is help, or not understood. */
function asked() {
  try {
    const parsed = parse({
      name: "deno task sim predastore",
      summary: "Runs the object store on a simulated disk that crashes as a seed says.",
      options: {
        schedules: { type: "string", value: "N", help: "How many crash schedules (10000)" },
        seed: { type: "string", value: "N", help: "The first seed; a random one by default" },
        only: { type: "boolean", help: "Run only the one random history of the seed" },
        faults: {
          type: "boolean",
          help: "Run histories of directories that go away, fail and rot, beside crashes",
        },
      },
      notes: ["A failure prints the seed that gives it again: --seed=N --only shows it alone."],
    }, Deno.args);
    if (parsed === undefined) Deno.exit(0);
    const { options } = parsed;
    const seed = Number(options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]);
    const wanted = Number(options.schedules ?? 10_000);
    if (!Number.isInteger(seed) || !Number.isInteger(wanted)) {
      throw new CommandError("--seed and --schedules are whole numbers.", 2);
    }
    return { seed, wanted, only: options.only === true, faults: options.faults === true };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    console.error(error.message);
    Deno.exit(error.exitCode);
  }
}

const { seed, wanted, only, faults } = asked();

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

/** @returns when so many recoveries were looked at, or one history was */
async function runFaults(tell: () => void): Promise<void> {
  for (let at = 0; done < wanted; at++) {
    try {
      done += await runFaultHistory(seed + at, folder);
    } catch (error) {
      failed++;
      done++;
      console.error(`--faults --seed ${seed + at} --only`, error);
    }
    tell();
    if (only) return;
  }
}

try {
  using progress = new Progress("crash schedules");
  const tell = () => progress.update(`${done} of ${wanted}, ${failed} failed, seed ${seed}`);
  if (faults) await runFaults(tell);
  else if (only) await runHistory(seed);
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
