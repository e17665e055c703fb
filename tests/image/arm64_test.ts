/**
 * The arm64 image: on an emulated server by UEFI; on the same server by U-Boot, as a Raspberry Pi
 * starts it, with versions on trial; and on QEMU's Raspberry Pi 4 as far as that goes.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Appliance, buildAppliance } from "../../image/appliance/build.ts";
import { imageCache } from "../../image/mkosi/run.ts";
import { readBootState, tryOnce } from "../../tasks/hive/uboot/boot_choice.ts";
import { readChoice, withChoice } from "../../tasks/hive/uboot/boot_variables.ts";
import { formatStore, parseStore } from "../../tasks/hive/uboot/variable_store.ts";
import { until } from "../kit/until.ts";
import { guestPartition } from "./guest_partition.ts";
import { host, Machine } from "./machine.ts";
import { administrator, answers, healthy, ports, runningVersion, seedCredential } from "./node.ts";
import { armServer, armServerWithUBoot } from "./platform.ts";
import { BootFiles, RaspberryPi, settingsOf } from "./raspberry_pi.ts";
import { first, release, second, serveFolder, testKey, version as versionOf } from "./versions.ts";

/** Five times what an idle two-core machine takes: every instruction is emulated. */
const start_ms = 1_200_000;
const version = first;

const next = second;

/** The product as users get it, but for the key by which it trusts the releases of these tests. */
let built: Promise<Appliance> | undefined;
const appliance = () =>
  built ??= testKey().then((key) => buildAppliance({ version, architecture: "arm64", key }));

const entry = "/sys/firmware/efi/efivars/BootCurrent-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/** The sizes of blocks in the superblock of dm-verity, with which the second partition begins. */
async function verityBlocks(raw: string): Promise<{ data: number; hash: number }> {
  const table = JSON.parse(await host("/usr/sbin/sfdisk", "--json", raw));
  using file = await Deno.open(raw);
  await file.seek(table.partitiontable.partitions[1].start * 512 + 64, Deno.SeekMode.Start);
  const fields = new DataView(new ArrayBuffer(8));
  assert.equal(await file.read(new Uint8Array(fields.buffer)), 8);
  return { data: fields.getUint32(0, true), hash: fields.getUint32(4, true) };
}

/** The number of UEFI's entry by which the running system was started. */
async function startedEntry(machine: Machine): Promise<string> {
  return (await machine.run(`od -An -tx1 -j4 ${entry}`, start_ms)).trim();
}

Deno.test({
  name: "the arm64 image has on its first partition what a Raspberry Pi's firmware asks for",
  fn: async () => {
    const { raw, directory } = await appliance();
    const files = await BootFiles.of(raw);
    const names = await files.names();
    const settings = settingsOf(await files.text("config.txt"));
    assert.equal(settings.get("arm_64bit"), "1");
    for (
      const name of [
        settings.get("kernel") ?? "",
        ...["start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb"],
      ]
    ) assert.ok(names.includes(name), `${name} is there`);
    assert.deepEqual(await files.names("EFI/Linux"), [`mulgaos_${version}.efi`]);
    const kernel = await Deno.stat(join(directory, `mulgaos_${version}_arm64.efi`));
    console.log(`arm64 kernel image: ${(kernel.size / 1e6).toFixed(1)} MB`);
    // Two of them, and a third while it is written, share the ESP of 1 GB with the firmware.
    assert.ok(kernel.size < 200e6, `${kernel.size} bytes`);
    assert.deepEqual(await verityBlocks(raw), { data: 4096, hash: 4096 });
    // Whatever stops, the machine starts again: the attempt is over and the old version is next.
    const text = new TextDecoder("latin1").decode(
      await Deno.readFile(join(directory, `mulgaos_${version}_arm64.efi`)),
    );
    for (const word of ["panic=10", "systemd.crash_action=reboot"]) {
      assert.ok(text.includes(word), `${word} is on the kernel's command line`);
    }
  },
});

Deno.test({
  name: "an arm64 server starts the image by UEFI and answers the AWS CLI from outside",
  fn: async () => {
    await using machine = await Machine.create({
      board: armServer,
      image: (await appliance()).raw,
      forward: [ports.gateway],
      credentials: seedCredential,
    });
    await machine.start();
    await healthy(machine, start_ms);
    const client = await administrator(machine);
    await answers(client, start_ms);
    console.log(`arm64, UEFI: power-on to API ${machine.uptime_s().toFixed(0)} s (emulated)`);
    await client.aws("ec2", "create-key-pair", "--key-name", "on-arm64");
    const { KeyPairs } = await client.aws<{ KeyPairs: { KeyName: string }[] }>(
      ...["ec2", "describe-key-pairs"],
    );
    assert.deepEqual(KeyPairs.map(({ KeyName }) => KeyName), ["on-arm64"]);
    assert.equal((await machine.run("uname -m")).trim(), "aarch64");
    assert.match(await machine.run("free -m"), /Swap: +[1-9]/, "compressed swap in memory");
  },
});

Deno.test({
  name: "on a memory card the journal stays in memory and writes are collected",
  fn: async () => {
    const { raw, directory } = await appliance();
    await using machine = await Machine.create({
      board: armServer,
      // As U-Boot does on a board, the firmware starts the kernel image, which finds the card.
      kernel: join(directory, `mulgaos_${version}_arm64.efi`),
      image: raw,
      card: true,
      // QEMU's cards erase by writing, 512 bytes at a time: what a file system is made on takes a minute a GiB.
      disk_gib: 8,
      seed: null,
    });
    await machine.start();
    const source = await machine.run("findmnt --noheadings --output SOURCE /var", start_ms);
    assert.match(source, /^\/dev\/mmcblk\d+p\d+$/m);
    await machine.run("systemctl start mulga-card.service systemd-journal-flush.service", start_ms);
    const options = await machine.run("findmnt --noheadings --output OPTIONS /var");
    assert.match(options, /\bnoatime\b/);
    assert.match(options, /\bcommit=60\b/);
    assert.equal(
      (await machine.run("systemctl show --property=ConditionResult --value mulga-card.service"))
        .trim(),
      "yes",
      "the card was known when the service was asked for",
    );
    assert.equal((await machine.run("sysctl -n vm.dirty_expire_centisecs")).trim(), "6000");
    assert.equal((await machine.run("sysctl -n vm.dirty_bytes")).trim(), "67108864");
    const journal = await machine.run("journalctl --header | grep '^File path'");
    assert.match(journal, /\/run\/log\/journal\//);
    assert.doesNotMatch(journal, /\/var\/log\/journal\//);
    await machine.run("systemctl start swap.target", start_ms);
    assert.match(await machine.run("swapon --show --noheadings"), /zram0/);
  },
});

Deno.test({
  name: "started by U-Boot: an update is tried once, and kept when it is healthy",
  fn: async (t) => {
    const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-arm64-" });
    const board = await armServerWithUBoot(join(imageCache(), "u-boot"));
    await using machine = await Machine.create({
      board,
      image: (await appliance()).raw,
      forward: [ports.gateway],
      credentials: seedCredential,
    });
    const partition = guestPartition(machine);
    const folder = "/boot/EFI/Linux";
    let failed = false;
    const step = async (name: string, fn: () => Promise<void>) => {
      if (failed) return;
      failed = !await t.step(name, fn);
      if (failed) await machine.keepConsole("/tmp/mulga-arm64-console.log");
    };
    /** Restarts in good order and waits until U-Boot starts that file. */
    const restartsInto = async (file: string) => {
      const shell = await machine.shell();
      await machine.newConsole();
      await shell.send("systemctl reboot");
      await machine.says(`Booting: MulgaOS ${file}`, start_ms);
      machine.forgetShell();
    };
    try {
      await step("it answers, and is what U-Boot starts from then on", async () => {
        await machine.start();
        await healthy(machine, start_ms);
        const client = await administrator(machine);
        await answers(client, start_ms);
        console.log(`arm64, U-Boot: power-on to API ${machine.uptime_s().toFixed(0)} s (emulated)`);
        await client.aws("ec2", "create-key-pair", "--key-name", "kept");
        await machine.run("systemctl start mulga-keep.service", start_ms);
        const state = await readBootState(partition, version);
        assert.deepEqual(state, { good: version, next: undefined, unproven: [], onTrial: false });
      });

      await step("an update goes into the other slot and is tried", async () => {
        const made = await versionOf(work, { version: next, architecture: "arm64" });
        await using server = serveFolder(await release(join(work, "release"), [made]));
        const from = performance.now();
        await machine.run(`hive update --from ${server.url}`, start_ms);
        console.log(`arm64: installed in ${((performance.now() - from) / 1000).toFixed(0)} s`);
        const state = await readBootState(partition, version);
        assert.deepEqual(state, { good: version, next, unproven: [next], onTrial: false });
        await restartsInto(`mulgaos_${next}+0-1.efi`);
      });

      await step("found healthy it is kept, with all that the node had", async () => {
        await healthy(machine, start_ms);
        assert.equal(await runningVersion(machine), next);
        await machine.run("systemctl start mulga-keep.service", start_ms);
        const state = await readBootState(partition, next);
        assert.deepEqual(state, { good: next, next: undefined, unproven: [], onTrial: false });
        const client = await administrator(machine);
        await answers(client, start_ms);
        const { KeyPairs } = await client.aws<{ KeyPairs: { KeyName: string }[] }>(
          ...["ec2", "describe-key-pairs"],
        );
        assert.deepEqual(KeyPairs.map(({ KeyName }) => KeyName), ["kept"]);
      });

      // From here on the other version is only a file: what fails is this machine, or the file.
      const bad = "9.9";
      const trial = `mulgaos_${bad}+0-1.efi`;
      const good = `mulgaos_${next}.efi`;

      await step("a version whose power is cut while it starts is not started again", async () => {
        await machine.run(`cp ${folder}/${good} ${folder}/mulgaos_${bad}+3-0.efi; sync`, start_ms);
        await tryOnce(partition, { version: bad, running: next });
        await restartsInto(trial);
        await machine.says("Linux version", start_ms);
        await machine.cutPower();
        await machine.start();
        await machine.says(`Booting: MulgaOS ${good}`, start_ms);
        assert.equal(await startedEntry(machine), "00 4d");
      });

      await step("a version that does not become healthy is left by itself", async () => {
        // Both files have the same root; what is masked below ails both, and only the one on trial is
        // left for it.
        await machine.run(
          "mkdir -p /etc/systemd/system/mulga-health.service.d && printf " +
            "'[Service]\\nExecStart=\\nExecStart=/usr/bin/hive admin health --timeout 20\\n' " +
            "> /etc/systemd/system/mulga-health.service.d/short.conf && " +
            "systemctl mask mulga-gateway.service",
        );
        await tryOnce(partition, { version: bad, running: next });
        await restartsInto(trial);
        await machine.says(`Booting: MulgaOS ${good}`, start_ms);
        machine.forgetShell();
        assert.equal(await startedEntry(machine), "00 4d");
        // The shell is there before everything is mounted.
        await machine.run("systemctl start boot.mount", start_ms);
        const state = await readBootState(partition, next);
        assert.deepEqual(state.unproven, [bad]);
        assert.equal(state.next, undefined);
      });

      await step("a kernel image that is cut short is passed over in the same start", async () => {
        await machine.run(
          `truncate -s 1M ${folder}/${trial}; sync; systemctl unmask mulga-gateway.service`,
        );
        await tryOnce(partition, { version: bad, running: next });
        await restartsInto(good);
        assert.equal(await startedEntry(machine), "00 4d");
      });
      assert.ok(!failed, "a step failed");
    } finally {
      await Deno.remove(work, { recursive: true });
    }
  },
});

Deno.test({
  name: "QEMU's Raspberry Pi 4 tries a version once and starts the kernel of the image on its card",
  fn: async () => {
    const file = `mulgaos_${version}.efi`;
    const variables = formatStore(withChoice([], { order: ["mulgaos_0.efi"], next: file }));
    await using pi = await RaspberryPi.start((await appliance()).raw, variables);
    await until("the kernel's first lines", async () => {
      return /Kernel command line: .*\n/.test(await pi.said()) ? true : undefined;
    }, start_ms).catch(async (error) => {
      throw new Error(`It said:\n${(await pi.said()).slice(-3_000)}`, { cause: error });
    });
    const said = await pi.said();
    // U-Boot's own words; its banner comes before the line is set up.
    assert.match(said, /Booting bootflow .* with efi_mgr/);
    assert.match(said, /Machine model: Raspberry Pi 4 Model B/);
    assert.ok(said.includes(`Booting: MulgaOS ${file}`));
    assert.match(said, /Linux version .*arm64/);
    const command = /Kernel command line: (.*)/.exec(said)?.[1] ?? "";
    assert.match(command, /roothash=[0-9a-f]{64}/, "the command line is the image's own");
    const left = readChoice(parseStore(await pi.files.bytes("ubootefi.var")) ?? []);
    assert.deepEqual(left, { order: ["mulgaos_0.efi"] }, "the attempt is off the card");
  },
});
