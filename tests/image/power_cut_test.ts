/**
 * The power is cut at random moments, during the first boot and during an update. Whatever the moment:
 * the machine comes up by itself on a whole version, its gate lets that through, and what was there before
 * still is.
 *
 * Most cuts are made from one undisturbed run whose every write was kept (`write_log.ts`): the disk as a
 * cut at a random write may leave it is put together, and a machine started with it. A few are the real
 * thing: QEMU is killed at a random second. What goes wrong leaves its disk in /tmp, to be started again.
 *
 * How often: `deno task test:image --cuts N`. The seed is printed; MULGA_TEST_SEED repeats the choices.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Random, testSeed } from "../kit/random.ts";
import { host, Machine, type MachineOptions } from "./machine.ts";
import { healthy, runningVersion } from "./node.ts";
import { first, release, second, serveFolder, version } from "./versions.ts";
import { entriesOf, makeWriteLog, type Moment, WriteLog } from "./write_log.ts";

const cuts = Number(Deno.env.get("MULGA_TEST_CUTS") ?? 20);
const kills = Math.min(3, cuts);
/** How many machines start at the same time, each with one processor: emulating two costs half as much again. */
const atOnce = Math.max(1, navigator.hardwareConcurrency);
const seed = testSeed();
const disk_gib = 10;
/**
 * One that nobody has claimed: slots, boot loader and data partition are the same, and it starts in less
 * than half the time. What makes a node is cut at each of its writes in tasks/hive/first_boot.
 */
const box = { disk_gib, memory_mib: 1536, cpus: 1, seed: null } as const;
/** For a start that shares its processors with others'. */
const start_ms = 1_800_000;

const randomOf = (kind: number, cut: number) => new Random(seed + kind * 1_000_003 + cut * 7_919);

async function workDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-cuts-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** A disk of its own with what `image` has on it; holes stay holes. */
async function copyDisk(image: string, to: string): Promise<void> {
  await host("cp", "--sparse=always", image, to);
  await Deno.truncate(to, disk_gib * 2 ** 30);
}

/** Starts it, and the version that comes up is whole. @returns which one it is */
async function comesUp(machine: Machine, cut: string): Promise<string> {
  try {
    if (!machine.on) await machine.start();
    await machine.shell(start_ms);
    const took = await healthy(machine, start_ms);
    const running = await runningVersion(machine);
    console.log(`  ${cut}: ${running} healthy after ${took.toFixed(0)} s`);
    return running;
  } catch (cause) {
    const kept = `/tmp/mulga-cut-${cut.replaceAll(/[^0-9a-z]+/g, "-").slice(0, 40)}`;
    await machine.keepConsole(`${kept}.log`);
    throw new Error(`After ${cut} it did not come up; see ${kept}.log.`, { cause });
  }
}

interface Cut {
  readonly kind: number;
  readonly log: WriteLog;
  readonly from: Moment;
  /** The disk as it was before the log. */
  readonly base: string;
  readonly directory: string;
  readonly options: MachineOptions;
  /** What must hold of a machine that came up. */
  check(machine: Machine, running: string): Promise<void>;
}

/** Cut number `number` of a recorded run. */
async function recordedCut(run: Cut, number: number): Promise<void> {
  const random = randomOf(run.kind, number);
  const moment = run.log.moment(random, run.from);
  const disk = join(run.directory, `cut-${number}.raw`);
  await copyDisk(run.base, disk);
  const lost = await run.log.cut(disk, moment, random);
  const name = `${number}: cut at write ${moment - run.from} of ` +
    `${run.log.entries.length - run.from} (${
      (run.log.bytes(run.from, moment) / 1e6).toFixed(0)
    } MB; ` +
    `${lost} came to the disk)`;
  try {
    await using machine = await Machine.create({ ...run.options, image: disk });
    const running = await comesUp(machine, name);
    await run.check(machine, running);
  } catch (error) {
    const kept = `/tmp/mulga-cut-disk-${run.kind}-${number}.raw`;
    await host("cp", "--sparse=always", disk, kept);
    console.log(`  ${name}: its disk, as the cut left it, is ${kept}`);
    throw error;
  } finally {
    await Deno.remove(disk);
  }
}

/** Runs all of `work`, a few at a time, to the end, and throws the first failure. */
async function severalAtOnce(work: readonly (() => Promise<void>)[]): Promise<void> {
  const left = [...work];
  const failures: unknown[] = [];
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      await next().catch((error) => {
        console.log(`  ${error}`);
        failures.push(error);
      });
    }
  }));
  if (failures.length > 0) {
    throw new Error(`${failures.length} of ${work.length} cuts went wrong`, { cause: failures[0] });
  }
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

/** Lets it run for a while, whatever it does meanwhile, and cuts its power. */
async function killAfter(machine: Machine, ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  await machine.cutPower();
}

Deno.test(`the power may be cut at any moment of the first boot (${cuts} times)`, async () => {
  console.log(`MULGA_TEST_SEED=${seed}`);
  await using work = await workDirectory();
  const { raw: image } = await version(work.path, { version: first });
  const writeLog = join(work.path, "writes");
  await makeWriteLog(writeLog);
  let whole_s: number;
  {
    await using machine = await Machine.create({ image, ...box, writeLog });
    await machine.start();
    whole_s = await healthy(machine);
    await machine.run("sync");
    await machine.quit();
  }
  const log = await WriteLog.open(writeLog);
  console.log(
    `  an undisturbed first boot takes ${whole_s.toFixed(0)} s and makes ${log.entries.length} ` +
      `writes`,
  );
  const check = async (machine: Machine, running: string) => {
    assert.equal(running, first);
    assert.equal((await machine.run("systemctl --failed --plain --no-legend")).trim(), "");
  };
  const run = { kind: 1, log, from: 0, base: image, directory: work.path, options: box, check };
  await severalAtOnce([
    ...numbers(1, kills).map((number) => async () => {
      const at_s = randomOf(1, number).next() * whole_s;
      await using machine = await Machine.create({ image, ...box });
      await machine.start();
      await killAfter(machine, at_s * 1_000);
      const running = await comesUp(machine, `${number}: QEMU killed after ${at_s.toFixed(1)} s`);
      await check(machine, running);
    }),
    ...numbers(kills + 1, cuts).map((number) => () => recordedCut(run, number)),
  ]);
});

Deno.test(`the power may be cut at any moment of an update (${cuts} times)`, async () => {
  console.log(`MULGA_TEST_SEED=${seed}`);
  await using work = await workDirectory();
  const { raw: image } = await version(work.path, { version: first });
  const next = await version(work.path, { version: second });
  await using server = serveFolder(await release(`${work.path}/release`, [next]));
  const update = `hive update --from ${server.url} --reboot`;
  const came: Record<string, number> = {};

  // A machine in the middle of its life, which real cuts return to again and again.
  await using machine = await Machine.create({ image, ...box });
  await machine.start();
  await healthy(machine);
  await machine.run("sync; echo 'before the update' > /var/kept; sync");
  const id = await machine.run("cat /etc/machine-id");
  await machine.snapshot("ready");
  await machine.cutPower();
  const base = join(work.path, "ready.raw");
  await host(
    ...["qemu-img", "convert", "-l", "snapshot.name=ready", "-O", "raw"] as const,
    ...[join(machine.directory, "disk.qcow2"), base],
  );
  const check = async (machine: Machine, running: string) => {
    assert.ok(running === first || running === second, running);
    came[running] = (came[running] ?? 0) + 1;
    assert.equal(await machine.run("cat /var/kept"), "before the update\n");
    assert.equal(await machine.run("cat /etc/machine-id"), id);
    assert.equal((await machine.run("systemctl --failed --plain --no-legend")).trim(), "");
  };

  const writeLog = join(work.path, "writes");
  await makeWriteLog(writeLog);
  let from: Moment;
  let whole_s: number;
  {
    await using recorded = await Machine.create({ image: base, ...box, writeLog });
    await recorded.start();
    await healthy(recorded);
    await recorded.run("sync");
    from = await entriesOf(writeLog);
    await recorded.newConsole();
    const begun = performance.now();
    await (await recorded.shell()).send(update);
    await recorded.says(/Linux version/, start_ms);
    recorded.forgetShell();
    await healthy(recorded);
    await recorded.run(`until test -e /boot/EFI/Linux/mulgaos_${second}.efi; do sleep 1; done`);
    whole_s = (performance.now() - begun) / 1_000;
    assert.equal(await runningVersion(recorded), second);
    await recorded.run("sync");
    await recorded.quit();
  }
  const log = await WriteLog.open(writeLog);
  console.log(
    `  undisturbed, update, restart and blessing take ${whole_s.toFixed(0)} s and make ` +
      `${log.entries.length - from} writes, ${
        (log.bytes(from, log.entries.length) / 1e6).toFixed(0)
      } MB`,
  );
  const run = { kind: 2, log, from, base, directory: work.path, options: box, check };
  await severalAtOnce([
    // One after the other: they share the machine.
    async () => {
      for (const number of numbers(1, kills)) {
        const at_s = randomOf(2, number).next() * whole_s;
        await machine.start("ready");
        await (await machine.shell()).send(update);
        await killAfter(machine, at_s * 1_000);
        const name = `${number}: QEMU killed after ${at_s.toFixed(1)} s`;
        await check(machine, await comesUp(machine, name));
        await machine.cutPower();
      }
    },
    ...numbers(kills + 1, cuts).map((number) => () => recordedCut(run, number)),
  ]);
  console.log(`  came up on: ${JSON.stringify(came)}`);
});
