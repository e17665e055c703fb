/** kill -9 of an update at every step and at random moments: the machine always starts a whole version. */
import assert from "node:assert/strict";
import { directorySource } from "../../tasks/hive/update/source.ts";
import { isLocked, lockUpdates, readState, takeOverLock } from "../../tasks/hive/update/state.ts";
import { abortUpdate, runUpdate } from "../../tasks/hive/update/update.ts";
import { type ApplianceDisk, applianceDisk } from "./appliance_disk.ts";

const quiet = { signal: new AbortController().signal, progress: () => {} };

function spawnUpdate(machine: ApplianceDisk, folder: string, killAt = ""): Deno.ChildProcess {
  const script = new URL("killed_update.ts", import.meta.url).pathname;
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "--quiet",
      script,
      machine.directory,
      machine.updates,
      machine.boot,
      folder,
      killAt,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

/** After a kill: what starts is whole, and the update comes to its end or is taken back. */
async function requireRecovers(
  machine: ApplianceDisk,
  folder: string,
  how: "again" | "abort",
  when: string,
): Promise<void> {
  await machine.requireUntouched();
  {
    using _lock = await lockUpdates(machine.updates);
    if (how === "abort") {
      await abortUpdate(machine.site);
      assert.deepEqual(await machine.bootable(), ["0.1.0"], when);
    }
    await runUpdate(machine.site, directorySource(folder), quiet);
  }
  await machine.requireInstalled("0.2.0");
  await machine.requireUntouched();
  using _lock = await lockUpdates(machine.updates);
  await abortUpdate(machine.site);
  assert.deepEqual(await machine.bootable(), ["0.1.0"], when);
}

Deno.test("killed at any step, an update is finished by the next run or taken back", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  const whole = await spawnUpdate(machine, folder).output();
  assert.ok(whole.success);
  const steps = new TextDecoder().decode(whole.stdout).trim().split("\n");
  assert.ok(steps.length >= 10, steps.join());
  await requireRecovers(machine, folder, "abort", "done");
  for (const [at, step] of steps.entries()) {
    const { signal } = await spawnUpdate(machine, folder, step).output();
    assert.equal(signal, "SIGKILL", step);
    await requireRecovers(machine, folder, at % 2 === 0 ? "again" : "abort", step);
  }
});

Deno.test("killed while the slot is written, an update waits for what was left behind and goes on", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  console.log(`seed ${seed}`);
  let state = seed;
  for (let round = 0; round < 10; round++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const wait_ms = state % 120;
    const child = spawnUpdate(machine, folder);
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    while (!/^install$/m.test(said)) {
      const { value, done } = await reader.read();
      assert.ok(!done, "it came to the installation");
      said += value;
    }
    // Not a wait for anything: the moment of the power cut.
    await new Promise((resolve) => setTimeout(resolve, wait_ms));
    try {
      child.kill("SIGKILL");
    } catch {
      // It was quicker.
    }
    await reader.cancel();
    await child.status;
    const how = round % 2 === 0 ? "again" : "abort";
    await requireRecovers(machine, folder, how, `round ${round} after ${wait_ms} ms`);
  }
});

Deno.test("one update at a time: a second is refused, and aborting ends the first", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  const script = `import { lockUpdates } from "${new URL(
    "../../tasks/hive/update/state.ts",
    import.meta.url,
  )}";
    await lockUpdates(${JSON.stringify(machine.updates)});
    console.log("held");
    setInterval(() => {}, 1000);`;
  const holder = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", script],
    stdout: "piped",
  }).spawn();
  const reader = holder.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assert.match((await reader.read()).value ?? "", /held/);
  assert.ok(await isLocked(machine.updates));
  await assert.rejects(lockUpdates(machine.updates), new RegExp(`process ${holder.pid}`));
  {
    using _lock = await takeOverLock(machine.updates);
    assert.equal((await holder.status).signal, "SIGTERM");
  }
  await reader.cancel();
  assert.ok(!await isLocked(machine.updates));
  // A state that was damaged is no obstacle.
  await Deno.writeTextFile(`${machine.updates}/state.json`, "{");
  assert.equal((await readState(machine.updates)).phase, "idle");
  await runUpdate(machine.site, directorySource(folder), quiet);
  await machine.requireInstalled("0.2.0");
});
