/** What a machine does when nobody stands there: a hang, a crash, a disk that is too small. */
import assert from "node:assert/strict";
import { Machine } from "./machine.ts";
import { healthy } from "./node.ts";
import { first, version } from "./versions.ts";

async function image(): Promise<{ readonly path: string } & AsyncDisposable> {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-failures-" });
  const { raw } = await version(work, { version: first });
  return { path: raw, [Symbol.asyncDispose]: () => Deno.remove(work, { recursive: true }) };
}

Deno.test("a crash of the kernel ends in a reboot, a hang in the watchdog's", async () => {
  await using product = await image();
  await using machine = await Machine.create({
    image: product.path,
    disk_gib: 9,
    memory_mib: 1536,
    seed: null,
    watchdog: true,
  });
  await machine.start();
  await healthy(machine);
  const id = await machine.run("cat /etc/machine-id; sync");
  const starts = async () => {
    await machine.says(/Linux version/, 300_000);
    machine.forgetShell();
    await healthy(machine);
    assert.equal(await machine.run("cat /etc/machine-id"), id);
  };
  await machine.newConsole();
  await (await machine.shell()).send("echo c > /proc/sysrq-trigger");
  await starts();
  // A kernel that stands still for ever: only hardware helps.
  await machine.run("echo 0 > /proc/sys/kernel/panic");
  await machine.newConsole();
  await (await machine.shell()).send("echo c > /proc/sysrq-trigger");
  await starts();
});

Deno.test("a disk that is too small is said on the screen in one sentence", async () => {
  await using product = await image();
  await using machine = await Machine.create({
    image: product.path,
    disk_gib: 6,
    memory_mib: 1024,
  });
  await machine.start();
  await machine.says(
    /MulgaOS did not start: the disk \w+ has 6 GB and it needs 8 GB or more\./,
    600_000,
  );
  // It tries again: somebody may have given the virtual machine a larger one.
  await machine.newConsole();
  await machine.says(/Linux version/, 300_000);
});
