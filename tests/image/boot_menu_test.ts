/**
 * What the boot loader starts by itself: the newest version that has a try left, and never one of the
 * menu's further entries, of which one erases the machine.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { host, Machine } from "./machine.ts";
import { first, version } from "./versions.ts";

Deno.test("a version on trial is started as it is, and one without a try left is not", async () => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-menu-" });
  try {
    const product = await version(work, { version: first });
    for (
      const [name, started] of [
        ["mulgaos_9.0.0+3.efi", true],
        ["mulgaos_9.0.0+1-2.efi", true],
        ["mulgaos_9.0.0+0-3.efi", false],
      ] as const
    ) {
      const disk = join(work, "disk.raw");
      await host("cp", "--sparse=always", product.raw, disk);
      const table = JSON.parse(await host("sfdisk", "--json", disk)).partitiontable;
      const esp = `${disk}@@${table.partitions[0].start * 512}`;
      const kernel = join(product.directory, `mulgaos_${first}_x86-64.efi`);
      await host("mcopy", "-i", esp, kernel, `::EFI/Linux/${name}`);
      await using machine = await Machine.create({ image: disk, memory_mib: 1024, cpus: 1 });
      await machine.start();
      await machine.says(/Command line:.*\n/, 300_000);
      const said = await machine.console();
      assert.doesNotMatch(said, /Command line:.*(factory_reset|mulga\.emergency)/, name);
      // The loader counts a try of what it starts, so the file has another name now.
      await machine.cutPower();
      const after = join(work, "after.raw");
      await host("qemu-img", "convert", "-O", "raw", join(machine.directory, "disk.qcow2"), after);
      const files = await host("mdir", "-b", "-i", esp.replace(disk, after), "::EFI/Linux");
      assert.equal(!files.includes(name), started, files);
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
});
