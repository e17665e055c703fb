/**
 * The power is cut at random moments, during the first boot and during an update. Whatever the moment:
 * the machine comes up by itself on a whole version, and its gate lets that through.
 *
 * How often: `deno task test:image --cuts N`. The seed is printed; MULGA_TEST_SEED repeats the moments.
 */
import assert from "node:assert/strict";
import { Random } from "../kit/random.ts";
import { Machine } from "./machine.ts";
import { healthy, runningVersion, seedCredential } from "./node.ts";
import { first, release, second, serveFolder, version } from "./versions.ts";

const cuts = Number(Deno.env.get("MULGA_TEST_CUTS") ?? 20);
const seed = Number(
  Deno.env.get("MULGA_TEST_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0],
);
const size = { disk_gib: 10, memory_mib: 1536, credentials: seedCredential } as const;

/** Lets it run for a while, whatever it does meanwhile, and cuts its power. */
async function cutAfter(machine: Machine, seconds: number): Promise<void> {
  const left = seconds - machine.uptime_s();
  if (left > 0) await new Promise((resolve) => setTimeout(resolve, left * 1_000));
  await machine.cutPower();
}

async function workDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-cuts-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test(`the power may be cut at any moment of the first boot (${cuts} times)`, async () => {
  console.log(`MULGA_TEST_SEED=${seed}`);
  const random = new Random(seed);
  await using work = await workDirectory();
  const { raw: image } = await version(work.path, { version: first });
  let whole_s: number;
  {
    await using machine = await Machine.create({ image, ...size });
    await machine.start();
    whole_s = await healthy(machine);
    console.log(`  an undisturbed first boot takes ${whole_s.toFixed(0)} s`);
  }
  for (let cut = 1; cut <= cuts; cut++) {
    const at_s = random.next() * whole_s;
    await using machine = await Machine.create({ image, ...size });
    await machine.start();
    await cutAfter(machine, at_s);
    await machine.start();
    try {
      const took = await healthy(machine);
      console.log(`  ${cut}: cut at ${at_s.toFixed(1)} s, healthy ${took.toFixed(0)} s after that`);
    } catch (cause) {
      await machine.keepConsole("/tmp/mulga-cut-console.log");
      throw new Error(`Cut at ${at_s} s, it did not come up; see /tmp/mulga-cut-console.log.`, {
        cause,
      });
    }
    assert.equal(await runningVersion(machine), first);
  }
});

Deno.test(`the power may be cut at any moment of an update (${cuts} times)`, async () => {
  console.log(`MULGA_TEST_SEED=${seed}`);
  const random = new Random(seed);
  await using work = await workDirectory();
  const { raw: image } = await version(work.path, { version: first });
  const next = await version(work.path, { version: second });
  await using server = serveFolder(await release(`${work.path}/release`, [next]));
  await using machine = await Machine.create({ image, ...size });
  await machine.start();
  await healthy(machine);
  await machine.run("sync; echo 'before the update' > /var/kept; sync");
  // Each round begins with this very machine, in the middle of its work.
  await machine.snapshot("ready");
  const update = `hive update --from ${server.url} --reboot`;
  const begin = async () => {
    await (await machine.shell()).send(update);
  };
  await begin();
  const from = machine.uptime_s();
  await machine.says(new RegExp(`MulgaOS ${second}`), 900_000);
  machine.forgetShell();
  await healthy(machine);
  const whole_s = machine.uptime_s() - from;
  assert.equal(await runningVersion(machine), second);
  console.log(`  undisturbed, update and restart take ${whole_s.toFixed(0)} s`);
  await machine.cutPower();
  const came: Record<string, number> = {};
  for (let cut = 1; cut <= cuts; cut++) {
    const at_s = random.next() * whole_s;
    await machine.start("ready");
    await begin();
    await cutAfter(machine, at_s);
    await machine.start();
    try {
      const took = await healthy(machine);
      const running = await runningVersion(machine);
      console.log(
        `  ${cut}: cut at ${at_s.toFixed(1)} s, ${running} healthy ${took.toFixed(0)} s after that`,
      );
      came[running] = (came[running] ?? 0) + 1;
      assert.ok(running === first || running === second, running);
      assert.equal(await machine.run("cat /var/kept"), "before the update\n");
    } catch (cause) {
      await machine.keepConsole("/tmp/mulga-cut-console.log");
      throw new Error(`Cut at ${at_s} s, it did not come up; see /tmp/mulga-cut-console.log.`, {
        cause,
      });
    }
    await machine.cutPower();
  }
  console.log(`  came up on: ${JSON.stringify(came)}`);
});
