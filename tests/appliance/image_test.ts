/**
 * The appliance image as it is built, looked at from outside without booting it: partitions, hash tree,
 * kernel image, units and sizes. `deno task test:image` boots it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { services } from "../../services/manifest.ts";
import config from "../../deno.json" with { type: "json" };
import { type Appliance, buildAppliance } from "../../image/appliance/build.ts";
import { compress } from "../../image/appliance/compress.ts";
import { partitionTypes, readPartitionTable } from "../../tasks/hive/disk/gpt.ts";
import { sectionsOf } from "./kernel_image.ts";
import { verifiedRootHash } from "./verity.ts";

const { version } = config;

/** Runs a program of Debian 13 in the tree of tools that built the image, with `/work` to write in. */
async function tool(appliance: Appliance, work: string, ...line: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("bwrap", {
    args: [
      ...["--ro-bind", appliance.tools, "/", "--dev", "/dev", "--proc", "/proc"],
      ...["--bind", work, "/mnt", "--tmpfs", "/tmp", "--tmpfs", "/run"],
      ...["--unshare-pid", "--die-with-parent", ...line],
    ],
    env: { LC_ALL: "C.UTF-8" },
  }).output();
  const text = new TextDecoder();
  if (!success) throw new Error(`${line.join(" ")}: ${text.decode(stderr)}`);
  return text.decode(stdout) + text.decode(stderr);
}

Deno.test("the appliance image is whole", async (t) => {
  const started = performance.now();
  let said = 0;
  const appliance = await buildAppliance({
    version,
    onProgress(text) {
      if (performance.now() - said < 10_000) return;
      said = performance.now();
      console.log(`  building: ${text}`);
    },
  });
  console.log(`  built in ${((performance.now() - started) / 1_000).toFixed(0)} s`);
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-image-" });
  try {
    const { raw, directory } = appliance;
    const { partitions } = await readPartitionTable(raw);
    const partition = (type: keyof typeof partitionTypes) => {
      const found = partitions.find((one) => one.type === partitionTypes[type]);
      assert.ok(found, type);
      return found;
    };
    const [esp, verity, root] = [
      partition("esp"),
      partition("root-x86-64-verity"),
      partition("root-x86-64"),
    ];

    await t.step("it has the boot partition and one slot; the rest is made by the machine", () => {
      assert.equal(partitions.length, 3);
      assert.equal(esp.number, 1);
      assert.equal(esp.name, "esp");
      assert.equal(root.name, `mulgaos_${version}`);
      assert.equal(verity.name, `mulgaos_${version}_verity`);
    });

    let rootHash = "";
    await t.step("every block of the root has the hash that the tree says", async () => {
      rootHash = await verifiedRootHash(
        { path: raw, start_bytes: root.start_bytes },
        { path: raw, start_bytes: verity.start_bytes },
      );
      assert.equal(root.uuid.replaceAll("-", ""), rootHash.slice(0, 32));
      assert.equal(verity.uuid.replaceAll("-", ""), rootHash.slice(32));
    });

    await t.step("the kernel image names that root, and its menu what it shall", async () => {
      const sections = await sectionsOf(join(directory, `mulgaos_${version}_x86-64.efi`));
      const texts = async (name: string) =>
        await Promise.all(sections.filter((one) => one.name === name).map((one) => one.text()));
      const lines = await texts(".cmdline");
      assert.equal(lines.length, 4);
      for (const line of lines) assert.match(line, new RegExp(`\\broothash=${rootHash}\\b`));
      // What starts by itself while the version is counted: the same again.
      assert.equal(lines[1], lines[0]);
      assert.doesNotMatch(lines[0] ?? "", /factory_reset|rescue/);
      assert.match(lines[2] ?? "", /\bsystemd\.factory_reset=1\b/);
      assert.match(lines[3] ?? "", /\bsystemd\.unit=rescue\.target\b/);
      assert.match((await texts(".osrel"))[0] ?? "", new RegExp(`MulgaOS ${version}`));
    });

    await t.step("an update has the same root, tree and kernel image", () => {
      const files = appliance.updateFiles.map((name) => name.replace(/\.zst$/, ""));
      const stem = `mulgaos_${version}_x86-64`;
      assert.deepEqual(files.sort(), [
        `${stem}.efi`,
        `${stem}.formats.json`,
        `${stem}.root-verity.${rootHash.slice(32)}.raw`,
        `${stem}.root.${rootHash.slice(0, 32)}.raw`,
      ]);
    });

    await t.step("its units are sound, and those that shall start with it do", async () => {
      const slot = appliance.updateFiles.find((name) => name.includes(".root."));
      await new Deno.Command("zstd", {
        args: ["-q", "-d", join(directory, slot ?? ""), "-o", join(work, "root.img")],
      }).output();
      await tool(appliance, work, "fsck.erofs", "--extract=/mnt/root", "/mnt/root.img");
      await Deno.remove(join(work, "root.img"));
      const units = ["mulga.target", "mulga-first-boot.service", "mulga-health.service"];
      for (const unit of [...units, ...services.map(({ name }) => `mulga-${name}.service`)]) {
        await Deno.stat(join(work, "root/usr/lib/systemd/system", unit));
      }
      // What it says of other units than ours is Debian's.
      const words = await tool(
        ...[appliance, work, "systemd-analyze", "--root=/mnt/root", "--man=no"] as const,
        ...["--recursive-errors=no", "verify", "mulga.target", "factory-reset.target"],
        "boot-complete.target",
      );
      assert.deepEqual(words.split("\n").filter((line) => /mulga/i.test(line)), []);
      const enabled = await tool(
        ...[appliance, work, "systemctl", "--root=/mnt/root", "is-enabled"] as const,
        ...["mulga.target", "systemd-networkd.service", "chrony.service"],
      );
      assert.deepEqual(new Set(enabled.trim().split("\n")), new Set(["enabled"]));
    });

    await t.step("it has what a node needs and nothing that it must not have", async () => {
      const exists = async (path: string) =>
        await Deno.lstat(join(work, "root", path)).then(() => true, () => false);
      for (
        const path of [
          ...["usr/bin/deno", "usr/bin/hive", "usr/sbin/nats-server", "usr/bin/qemu-img"],
          ...["usr/bin/qemu-system-x86_64", "usr/sbin/chronyd", "usr/sbin/nft", "usr/sbin/sshd"],
          ...["usr/bin/cloud-init", "usr/bin/ovs-vsctl", "usr/bin/ovn-nbctl"],
          ...["usr/lib/x86_64-linux-gnu/libisal.so.2", "usr/lib/x86_64-linux-gnu/liburing.so.2"],
          "usr/lib/x86_64-linux-gnu/libxxhash.so.0",
        ]
      ) assert.ok(await exists(path), path);
      for (
        const path of [
          ...["usr/bin/gcc", "usr/bin/apt", "var/lib/dpkg/status", "etc/ssh/ssh_host_ed25519_key"],
          ...[
            "var/lib/systemd/random-seed",
            "etc/systemd/system/multi-user.target.wants/ssh.service",
          ],
        ]
      ) assert.ok(!await exists(path), path);
      assert.equal(await Deno.readTextFile(join(work, "root/etc/machine-id")), "");
    });

    await t.step("compressed it is under 500 MB", async () => {
      await compress(raw, join(work, "image.zst"));
      const { size } = await Deno.stat(join(work, "image.zst"));
      console.log(`  ${(size / 1e6).toFixed(0)} MB compressed`);
      assert.ok(size < 500e6);
    });
  } finally {
    await new Deno.Command("chmod", { args: ["-R", "u+rwx", work] }).output();
    await Deno.remove(work, { recursive: true });
  }
});
