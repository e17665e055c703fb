/** Places that are full: said before anything is written, and the running version goes on. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { directorySource, sourceOf } from "../../tasks/hive/update/source.ts";
import { runUpdate } from "../../tasks/hive/update/update.ts";
import { mountStick } from "../../tasks/hive/update/usb.ts";
import { applianceDisk } from "./appliance_disk.ts";

const quiet = { signal: new AbortController().signal, progress: () => {} };

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

/** A small file system of its own, for as long as the test runs. */
async function smallDisk(size: string) {
  const at = await Deno.makeTempDir({ prefix: "mulga-small-" });
  await run("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", at);
  return {
    at,
    async [Symbol.asyncDispose]() {
      await run("umount", at);
      await Deno.remove(at);
    },
  };
}

const asRoot = { ignore: Deno.uid() !== 0 };

Deno.test(
  "a full data partition is said with both numbers before anything is fetched",
  asRoot,
  async () => {
    await using small = await smallDisk("40m");
    await using machine = await applianceDisk({ updates: join(small.at, "updates") });
    const source = directorySource(await machine.publish("0.2.0"));
    await assert.rejects(
      runUpdate(machine.site, source, quiet),
      /needs .* and .* are free\. Delete/,
    );
    assert.deepEqual(await machine.bootable(), ["0.1.0"]);
    const files = [...Deno.readDirSync(machine.updates)].map((entry) => entry.name);
    assert.ok(!files.some((name) => name.startsWith("mulgaos_")), files.join());
  },
);

Deno.test("a full boot partition is said, with what could be removed", asRoot, async () => {
  await using small = await smallDisk("128k");
  await using machine = await applianceDisk({ boot: join(small.at, "boot") });
  await Deno.writeFile(join(machine.boot, "filler"), new Uint8Array(64 * 1024));
  const source = directorySource(await machine.publish("0.2.0"));
  await assert.rejects(
    runUpdate(machine.site, source, quiet),
    /boot partition .* free and the new/,
  );
  assert.deepEqual(await machine.bootable(), ["0.1.0"]);
  await Deno.remove(join(machine.boot, "filler"));
});

Deno.test(
  "a stick is read where it is plugged in, and one without a release is let go",
  asRoot,
  async () => {
    await using machine = await applianceDisk();
    const folder = await machine.publish("0.2.0");
    const image = join(machine.directory, "stick.img");
    await Deno.writeFile(image, new Uint8Array(0));
    await Deno.truncate(image, 64 << 20);
    await run("mkfs.ext4", "-q", "-F", image);
    assert.equal(await mountStick(image), undefined);
    await run("mkfs.ext4", "-q", "-F", "-d", folder, image);
    const stick = await mountStick(image);
    assert.ok(stick);
    try {
      await runUpdate(machine.site, directorySource(stick.directory, stick.name), quiet);
    } finally {
      await stick.release();
    }
    await machine.requireInstalled("0.2.0");
  },
);

Deno.test("--from takes a folder, a file of a release and an address, and nothing else", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(directory, "SHA256SUMS"), "");
    await Deno.writeTextFile(join(directory, "letter.txt"), "");
    assert.equal((await sourceOf(directory)).name, directory);
    assert.equal((await sourceOf(join(directory, "SHA256SUMS"))).name, directory);
    const url = "https://user:secret@example.com/releases/SHA256SUMS?token=secret";
    assert.equal((await sourceOf(url)).name, "https://example.com/releases/");
    await assert.rejects(sourceOf(join(directory, "letter.txt")), /no file of a release/);
    await assert.rejects(sourceOf(join(directory, "none")), /cannot be read/);
    await assert.rejects(sourceOf("http://"), /no address/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
