/**
 * A stick that installs itself: refused while the disk holds data, then unattended onto an empty one, and
 * the box starts from its disk once the stick is out.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { host, Machine } from "./machine.ts";
import { healthy, runningVersion } from "./node.ts";
import { first, version } from "./versions.ts";

const start_ms = 1_800_000;

Deno.test({
  name: "an unattended stick installs a box once, and never over data",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-stick-" });
  try {
    const product = await version(work, { version: first });
    const stick = join(work, "stick.qcow2");
    await host(
      ...["qemu-img", "create", "-q", "-f", "qcow2", "-b", product.raw, "-F", "raw"] as const,
      ...[stick, "8G"],
    );
    const disk = join(work, "disk.raw");
    await Deno.writeFile(disk, new Uint8Array(0));
    await Deno.truncate(disk, 12 * 2 ** 30);
    await host("mkfs.ext4", "-q", "-F", "-L", "family-photos", disk);
    const machine = await Machine.create({
      memory_mib: 2048,
      disks: [
        { path: stick, format: "qcow2", serial: "stick", usb: true },
        { path: disk, format: "raw", serial: "inside" },
      ],
      seed: "version: 1\ninstall: {unattended: true, target: {bus: virtio}}\n",
    });
    await using _off = machine;
    try {
      await machine.start();
      await machine.says(/\/dev\/vda .* is not empty: ext4.*overwrite: true/, start_ms);
      await machine.shell(start_ms);
      // The stick that may not install does not become a node either.
      await machine.run("! systemctl is-active --quiet mulga-first-boot.service", 120_000);
      await machine.run("e2label /dev/vda | grep family-photos");
      // Somebody clears the disk.
      await machine.newConsole();
      await machine.run("wipefs --all --quiet /dev/vda");
      await machine.says("MulgaOS is installed on the disk. Remove the stick", start_ms);
      // Started again with the stick still in it, the box is not installed a second time.
      await machine.newConsole();
      machine.forgetShell();
      await machine.qmp("system_reset");
      await machine.says("MulgaOS is installed on /dev/vda. Remove the stick", start_ms);
      await machine.newConsole();
      machine.forgetShell();
      await machine.unplug("stick");
      await machine.says(/Linux version/, 300_000);
      await machine.shell(start_ms);
      await healthy(machine, start_ms);
      assert.equal(await runningVersion(machine), first);
      const parts = await machine.run("lsblk --noheadings --output PARTLABEL /dev/vda");
      for (const label of ["esp", `mulgaos_${first}`, "_empty", "mulga-var"]) {
        assert.match(parts, new RegExp(`^${label}$`, "m"));
      }
      assert.equal((await machine.run("ls /sys/block | grep -c '^sd' || true")).trim(), "0");
    } catch (error) {
      await machine.keepConsole("/tmp/mulga-install-console.log");
      console.log("the console's text is in /tmp/mulga-install-console.log");
      throw error;
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
});
