/**
 * Crashes on the simulated disk. Here every crash point of each scenario under one variant each, and a
 * bounded number of random schedules; `deno task sim predastore` runs as many as one likes.
 */
import assert from "node:assert/strict";
import { runBranching, runSchedule } from "../../services/predastore/simulation/schedule.ts";
import {
  randomSchedule,
  scenarios,
  variantsOf,
} from "../../services/predastore/simulation/schedules.ts";
import { testSeed } from "../kit/random.ts";

/** About half a minute of a quiet machine. */
const histories = Number(Deno.env.get("HISTORIES") ?? 140);
const seed = testSeed();

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  // SQLite's files go to memory where that can be.
  const folder = await Deno.makeTempDir({
    dir: await Deno.stat("/dev/shm").then(() => "/dev/shm", () => "/tmp"),
    prefix: "mulga-sim-",
  });
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [name, groups] of Object.entries(scenarios)) {
  Deno.test(`a crash at any operation leaves the old or the new: ${name}`, async () => {
    await inFolder(async (folder) => {
      const variants = [...variantsOf(groups, seed)];
      const [first] = variants;
      if (first === undefined) return;
      for (const [k, m] of [[1, 0], [2, 1]] as const) {
        const mine = variants.filter((one) => one.k === k && one.m === m);
        const { operations, first: from } = await runSchedule(
          { ...first, k, m, crash_at: Infinity },
          folder,
        );
        for (let crash_at = 1; crash_at <= operations - from; crash_at++) {
          const variant = mine[crash_at % mine.length] ?? first;
          const schedule = { ...variant, seed: seed + crash_at, crash_at };
          await runSchedule(schedule, folder).catch((cause) => {
            throw new Error(`MULGA_TEST_SEED=${seed}: ${JSON.stringify(schedule)}`, { cause });
          });
        }
      }
    });
  });
}

Deno.test(`random histories, ${histories} of them: what was acknowledged survives a crash at any operation`, async () => {
  console.log(`MULGA_TEST_SEED=${seed}`);
  let crashes = 0;
  await inFolder(async (folder) => {
    for (let at = 0; at < histories; at++) {
      const history = randomSchedule(seed + at);
      await runSchedule(history, folder).catch((cause) => {
        throw new Error(`deno task sim predastore --seed ${seed + at} --only`, { cause });
      });
      crashes += 1 + await runBranching(history, folder).catch((cause) => {
        throw new Error(`deno task sim predastore --seed ${seed + at} --only`, { cause });
      });
    }
  });
  assert.ok(crashes >= 20 * histories, `${crashes} crashes`);
  console.log(`${crashes} crash schedules`);
});

/** Each of these once lost something: what it was, and a seed that showed it. */
const found: Readonly<Record<string, readonly number[]>> = {
  "a write into a segment that was full while it was being synced": [1013, 1045],
  "an older index that names a segment which compaction has removed": [1000, 1037, 1121],
  "a commit whose directory went offline between its write and its sync": [20262851, 20270256],
  "a record at the end of a file that was cut within its page": [1021, 1252, 1455, 1479, 1891],
};
for (const [what, seeds] of Object.entries(found)) {
  Deno.test(`once lost and lost no more: ${what}`, async () => {
    await inFolder(async (folder) => {
      for (const one of seeds) await runSchedule(randomSchedule(one), folder);
    });
  });
}
