/**
 * The two slots of a machine that nobody has claimed yet, which starts quickest: a newer version goes into the
 * other slot and is blessed; what must be refused is, in one sentence and without touching anything; a
 * version that is not healthy is tried three times and left. The machine's id and files stay.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Machine } from "./machine.ts";
import { healthy, runningVersion } from "./node.ts";
import { first, release, second, serveFolder, third, unhealthyTree, version } from "./versions.ts";

/** `hive update` must refuse. @returns what it said */
async function refused(machine: Machine, from: string, more = ""): Promise<string> {
  return (await machine.run(`! hive update --from ${from} ${more} 2>&1`, 900_000)).trim();
}

/** What an update that was refused must not have touched. */
const slots = (machine: Machine) =>
  machine.run("lsblk --noheadings --raw --output PARTLABEL,PARTUUID /dev/vda; ls /boot/EFI/Linux");

Deno.test("a machine takes a newer version, and returns from one that is not healthy", async (t) => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-update-" });
  const log = (text: string) => console.log(`  ${text}`);
  try {
    const product = await version(work, { version: first });
    const next = await version(work, { version: second });
    await using machine = await Machine.create({
      image: product.raw,
      disk_gib: 9,
      memory_mib: 1536,
      seed: null,
    });
    let failed = false;
    const step = async (name: string, work: () => Promise<void>) => {
      if (failed) return;
      failed = !await t.step(name, work);
      if (failed) {
        await machine.keepConsole("/tmp/mulga-update-console.log");
        console.log("the console's text is in /tmp/mulga-update-console.log");
      }
    };
    const directory = await release(join(work, "release"), [next]);
    await using server = serveFolder(directory);
    let id = "";

    await step("it starts, and is nobody's", async () => {
      await machine.start();
      log(`healthy ${(await healthy(machine)).toFixed(0)} s after power-on`);
      assert.equal(await runningVersion(machine), first);
      id = await machine.run("cat /etc/machine-id");
      await machine.run("echo by the operator > /etc/kept; sync");
    });

    await step("what is not what it says is refused, and nothing is touched", async () => {
      const before = await slots(machine);
      const spoil = async (name: string, change: (path: string) => Promise<void>) => {
        const bad = join(work, name);
        await Deno.mkdir(bad);
        for await (const entry of Deno.readDir(directory)) {
          await Deno.link(join(directory, entry.name), join(bad, entry.name));
        }
        await change(bad);
        await using badServer = serveFolder(bad);
        log(`${name}: ${(await refused(machine, badServer.url)).split("\n").at(-1)}`);
        assert.equal(await slots(machine), before);
      };
      await spoil("wrong-signature", async (bad) => {
        const path = join(bad, "SHA256SUMS.sig");
        const bytes = await Deno.readFile(path);
        bytes[0] = (bytes[0] ?? 0) ^ 1;
        await Deno.remove(path);
        await Deno.writeFile(path, bytes);
      });
      await spoil("no-signature", (bad) => Deno.remove(join(bad, "SHA256SUMS.sig")));
      await spoil("corrupt-download", async (bad) => {
        const name = next.updateFiles.find((file) => file.endsWith(".efi")) ?? "";
        const bytes = await Deno.readFile(join(bad, name));
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
        await Deno.remove(join(bad, name));
        await Deno.writeFile(join(bad, name), bytes);
      });
      await machine.run("hive update --abort || true");
    });

    await step("a full data partition is said, and the machine goes on", async () => {
      const before = await slots(machine);
      await machine.run(
        "fallocate -l $(( $(stat -f -c '%a * %S' /var) - 64000000 )) /var/filled",
        300_000,
      );
      log(`full: ${(await refused(machine, server.url)).split("\n").at(-1)}`);
      assert.equal(await slots(machine), before);
      await machine.run("rm /var/filled; hive update --abort || true");
      await healthy(machine, 60_000);
    });

    await step("a newer version goes into the other slot and is blessed", async () => {
      const from = performance.now();
      await machine.run(`hive update --from ${server.url}`, 900_000);
      log(`installed in ${((performance.now() - from) / 1000).toFixed(0)} s`);
      await machine.reboot();
      log(`healthy ${(await healthy(machine)).toFixed(0)} s after the reboot`);
      assert.equal(await runningVersion(machine), second);
      await machine.run(`until test -e /boot/EFI/Linux/mulgaos_${second}.efi; do sleep 1; done`);
      assert.equal(await machine.run("cat /etc/machine-id"), id);
      assert.equal(await machine.run("cat /etc/kept"), "by the operator\n");
    });

    await step("an older version is not taken", async () => {
      const older = await release(join(work, "older"), [product]);
      await using olderServer = serveFolder(older);
      const before = await slots(machine);
      log(`older: ${(await refused(machine, olderServer.url)).split("\n").at(-1)}`);
      assert.equal(await slots(machine), before);
    });

    await step(
      "one that is not healthy is tried three times, then the old one is back",
      async () => {
        const bad = await release(join(work, "third"), [
          await version(work, { version: third, extraTrees: [await unhealthyTree(work)] }),
        ]);
        await using badServer = serveFolder(bad);
        await machine.run(`hive update --from ${badServer.url}`, 900_000);
        await machine.reboot();
        const from = performance.now();
        for (const times of [1, 2, 3]) {
          await machine.says(`MulgaOS ${third} did not pass its health check.`, 1_200_000, times);
          log(
            `given up for the ${times}. time after ${
              ((performance.now() - from) / 1000).toFixed(0)
            } s`,
          );
        }
        await machine.says(/Linux version/, 300_000, 4);
        await healthy(machine);
        log(`back after ${((performance.now() - from) / 1000).toFixed(0)} s`);
        assert.equal(await runningVersion(machine), second);
        assert.equal(await machine.run("cat /etc/machine-id"), id);
        assert.equal(await machine.run("cat /etc/kept"), "by the operator\n");
      },
    );

    await step("a factory reset from the running system leaves a new machine", async () => {
      await machine.newConsole();
      await (await machine.shell()).send("systemctl start --no-block factory-reset.target");
      await machine.says(/Linux version/, 300_000);
      machine.forgetShell();
      await healthy(machine);
      assert.notEqual(await machine.run("cat /etc/machine-id"), id);
      await machine.run("! test -e /etc/kept");
      assert.equal(await runningVersion(machine), second);
    });
    assert.ok(!failed, "a step failed");
  } finally {
    await Deno.remove(work, { recursive: true });
  }
});
