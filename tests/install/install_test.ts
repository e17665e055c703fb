/** Installations from one disk to another, on real loop devices: what is copied, what is refused. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import {
  partitionTypes,
  readPartitionTable,
  writePartitionTable,
} from "../../tasks/hive/disk/gpt.ts";
import { installSource } from "../../tasks/hive/install/copy.ts";
import {
  type Candidate,
  chooseDisk,
  type DiskRule,
  installCandidates,
  parseDiskRule,
} from "../../tasks/hive/install/disks.ts";
import {
  install,
  type InstallChoice,
  installedHere,
  type InstallSite,
  isInstalled,
} from "../../tasks/hive/install/install.ts";

import { CommandError } from "../../tasks/terminal/command.ts";

const mib = 1 << 20;
/** Loop devices are made by root alone. */
const asRoot = { ignore: Deno.uid() !== 0 };

async function run(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  assert.ok(success, `${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim();
}

function random(bytes: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65_536) {
    crypto.getRandomValues(out.subarray(at, Math.min(bytes, at + 65_536)));
  }
  return out;
}

async function readAt(path: string, at: number, length: number) {
  using file = await Deno.open(path);
  await file.seek(at, Deno.SeekMode.Start);
  const out = new Uint8Array(length);
  for (let filled = 0; filled < length;) {
    const got = await file.read(out.subarray(filled));
    assert.ok(got !== null);
    filled += got;
  }
  return out;
}

/** A stick with a system on it, and loop devices as the machine's disks. */
async function machine() {
  const directory = await Deno.makeTempDir({ prefix: "mulga-install-" });
  const loops: string[] = [];
  const boot = join(directory, "boot");
  await Deno.mkdir(boot);
  const stick = join(directory, "stick.img");
  const attributes = 1n << 60n;
  const slot = (number: number, name: string, type: string, at: number, size: number) => ({
    number,
    type,
    uuid: crypto.randomUUID(),
    name,
    start_bytes: at * mib,
    size_bytes: size * mib,
    attributes,
  });
  const partitions = [
    { ...slot(1, "esp", partitionTypes.esp, 1, 9), attributes: 0n },
    slot(2, "mulgaos_0.1.0_verity", partitionTypes["root-x86-64-verity"], 10, 1),
    slot(3, "mulgaos_0.1.0", partitionTypes["root-x86-64"], 11, 14),
    // Made at the stick's first start; none of an installation's business.
    { ...slot(4, "mulga-var", partitionTypes.var, 25, 10), attributes: 0n },
  ];
  await Deno.writeFile(stick, new Uint8Array(0));
  await Deno.truncate(stick, 40 * mib);
  await writePartitionTable(stick, {
    disk_uuid: crypto.randomUUID(),
    sector_bytes: 512,
    partitions,
  });
  const contents = new Map<string, Uint8Array>();
  {
    using file = await Deno.open(stick, { write: true });
    for (const one of partitions) {
      const bytes = random(one.size_bytes);
      contents.set(one.name, bytes);
      await file.seek(one.start_bytes, Deno.SeekMode.Start);
      for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    }
  }
  // A megabyte stands for the two gigabytes that a real data partition needs.
  const source = await installSource(stick, "0.1.0", mib);
  const site: InstallSite = {
    source,
    boot,
    candidates: () => installCandidates(undefined, source.needed_bytes, loops),
  };
  return {
    directory,
    stick,
    boot,
    site,
    contents,
    partitions,
    async disk(
      size: number,
      image = join(directory, `disk-${loops.length}.img`),
    ): Promise<string> {
      await Deno.writeFile(image, new Uint8Array(0));
      await Deno.truncate(image, size * mib);
      const loop = await run("losetup", "--find", "--show", image);
      loops.push(loop);
      return loop;
    },
    async detach() {
      for (const loop of loops.splice(0)) await run("losetup", "--detach", loop);
    },
    async [Symbol.asyncDispose]() {
      await this.detach();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

const choice = (rule: DiskRule, more: Partial<InstallChoice> = {}): InstallChoice => ({
  rule,
  overwrite: false,
  signal: new AbortController().signal,
  progress: () => {},
  ...more,
});

async function sumOf(path: string): Promise<string> {
  return createHash("sha256").update(await Deno.readFile(path)).digest("hex");
}

Deno.test(
  "an installation copies boot partition and slot, byte for byte, onto an empty disk",
  asRoot,
  async () => {
    await using box = await machine();
    const disk = await box.disk(64);
    const said: string[] = [];
    const done = await install(
      box.site,
      choice({}, { progress: (what) => said.push(what) }),
    );
    assert.equal(done.path, disk);
    assert.ok(said.some((one) => one.startsWith("copying")));
    assert.ok(said.some((one) => one.startsWith("checking")));
    const table = await readPartitionTable(disk);
    assert.deepEqual(table.partitions.map((one) => one.name), [
      "esp",
      "mulgaos_0.1.0_verity",
      "mulgaos_0.1.0",
    ]);
    for (const one of table.partitions) {
      const was = box.partitions.find((partition) => partition.name === one.name);
      assert.deepEqual(
        await readAt(disk, one.start_bytes, one.size_bytes),
        box.contents.get(one.name),
        one.name,
      );
      assert.equal(one.type, was?.type);
      assert.equal(one.attributes, was?.attributes);
      // The kernel finds the root by its slot's id; everything else is this disk's own.
      if (one.name === "esp") assert.notEqual(one.uuid, was?.uuid);
      else assert.equal(one.uuid, was?.uuid);
    }
    assert.notEqual(table.disk_uuid, (await readPartitionTable(box.stick)).disk_uuid);
    assert.match(await run("sfdisk", "--verify", disk), /No errors/);
  },
);

Deno.test(
  "a disk with data of any kind is refused untouched, and erased only when told",
  asRoot,
  async () => {
    await using box = await machine();
    const fileSystem = await box.disk(64);
    await run("mkfs.ext4", "-q", "-F", "-L", "family-photos", fileSystem);
    const partitioned = await box.disk(64);
    await writePartitionTable(partitioned, {
      disk_uuid: crypto.randomUUID(),
      sector_bytes: 512,
      partitions: [],
    });
    const swap = await box.disk(64);
    await run("mkswap", swap);
    for (const disk of [fileSystem, partitioned, swap]) {
      const before = await sumOf(disk);
      await assert.rejects(
        install(box.site, choice({ path: disk })),
        /is not empty.*--erase/,
        disk,
      );
      assert.equal(await sumOf(disk), before, "nothing was written");
      await assert.rejects(
        install(box.site, choice({ path: disk }, { overwrite: true, confirm: () => false })),
        /Nothing was written/,
      );
      assert.equal(await sumOf(disk), before, "nothing was written");
      await install(box.site, choice({ path: disk }, { overwrite: true }));
      assert.equal((await readPartitionTable(disk)).partitions.length, 3);
    }
  },
);

Deno.test("a disk in use, too small or absent is refused whatever is said", asRoot, async () => {
  await using box = await machine();
  const small = await box.disk(20);
  await assert.rejects(
    install(box.site, choice({ path: small }, { overwrite: true })),
    /it has 20 MiB and .* are needed/,
  );
  const mounted = await box.disk(64);
  await run("mkfs.ext4", "-q", "-F", mounted);
  const at = join(box.directory, "mounted");
  await Deno.mkdir(at);
  await run("mount", mounted, at);
  try {
    await assert.rejects(
      install(box.site, choice({ path: mounted }, { overwrite: true })),
      /is in use \(.*mounted\)/,
    );
  } finally {
    await run("umount", at);
  }
  await assert.rejects(
    install(box.site, choice({ path: "/dev/none" })),
    /No disk fits the rule\. There is \/dev\/loop/,
  );
});

Deno.test(
  "a disk that cannot be read is not taken for an empty one, and is in nobody's way",
  asRoot,
  async () => {
    await using box = await machine();
    const bad = await box.disk(64);
    // What lies behind the device is gone, as with a disk whose controller has died.
    await Deno.truncate(join(box.directory, "disk-0.img"), 0);
    await assert.rejects(
      install(box.site, choice({}, { overwrite: true })),
      new RegExp(`${bad}: it cannot be read`),
    );
    assert.equal(await installedHere(box.site), undefined);
    const good = await box.disk(64);
    assert.equal((await install(box.site, choice({}))).path, good);
    assert.equal(await installedHere(box.site), good);
  },
);

Deno.test(
  "a disk that stops taking what is written is said in one sentence, and has no table",
  asRoot,
  async () => {
    await using box = await machine();
    const small = join(box.directory, "small");
    await Deno.mkdir(small);
    await run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small);
    try {
      const disk = await box.disk(64, join(small, "disk.img"));
      await assert.rejects(install(box.site, choice({})), (error: Error) => {
        assert.ok(error instanceof CommandError, error.stack);
        assert.match(error.message, new RegExp(`^${disk} cannot be written`));
        return true;
      });
      await assert.rejects(readPartitionTable(disk), /no sound/);
    } finally {
      await box.detach();
      await run("umount", small);
    }
  },
);

Deno.test(
  "a stick whose boot partition is full is said, and no disk is touched",
  asRoot,
  async () => {
    await using box = await machine();
    const disk = await box.disk(64);
    await run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", box.boot);
    try {
      const before = await sumOf(disk);
      await Deno.writeFile(join(box.boot, "filler"), new Uint8Array(20_000)).catch(() => {});
      await assert.rejects(install(box.site, choice({})), (error: Error) => {
        assert.ok(error instanceof CommandError, error.stack);
        assert.match(error.message, /^The stick cannot be written.* Nothing was installed\.$/);
        return true;
      });
      assert.equal(await sumOf(disk), before);
    } finally {
      await run("umount", box.boot);
    }
  },
);

Deno.test("a disk may be named by any of its names", asRoot, async () => {
  await using box = await machine();
  const disk = await box.disk(64);
  const name = join(box.directory, "by-id");
  await Deno.symlink(disk, name);
  assert.equal((await install(box.site, choice({ path: name }))).path, disk);
});

Deno.test(
  "an installation that is cut off leaves a disk without a table, and can be done again",
  asRoot,
  async () => {
    await using box = await machine();
    const disk = await box.disk(64);
    for (
      const words of [
        /copying esp/,
        /copying mulgaos_0\.1\.0$/,
        /checking esp/,
        /checking mulgaos_0\.1\.0$/,
      ]
    ) {
      const stop = new AbortController();
      const work = install(
        box.site,
        choice({}, {
          signal: stop.signal,
          progress: (what) => {
            if (words.test(what)) stop.abort(new Error("power cut"));
            stop.signal.throwIfAborted();
          },
        }),
      );
      await assert.rejects(work, /power cut/, String(words));
      await assert.rejects(readPartitionTable(disk), /no sound/);
      assert.equal(await installedHere(box.site), undefined);
    }
    await install(box.site, choice({}));
    assert.equal((await readPartitionTable(disk)).partitions.length, 3);
  },
);

Deno.test(
  "a stick knows the box it has installed, installs others, and an installed disk installs none",
  asRoot,
  async () => {
    await using box = await machine();
    assert.equal(await isInstalled(box.site), false);
    const disk = await box.disk(64);
    await install(box.site, choice({}));
    assert.equal(await installedHere(box.site), disk);
    assert.equal(await isInstalled(box.site), false, "the stick itself stays a stick");
    // As the installed disk sees itself: the record came along on its boot partition.
    const own: InstallSite = { ...box.site, source: { ...box.site.source, disk } };
    assert.equal(await isInstalled(own), true);
    await using other = await machine();
    await Deno.copyFile(
      join(box.boot, "mulga-installed.json"),
      join(other.boot, "mulga-installed.json"),
    );
    await other.disk(64);
    assert.equal(await installedHere(other.site), undefined);
  },
);

const candidate = (changes: Partial<Candidate>): Candidate => ({
  path: "/dev/sda",
  size_bytes: 100 * 2 ** 30,
  bus: "sata",
  model: "Disk",
  serial: "1",
  ids: [],
  data: [],
  unusable: undefined,
  ...changes,
});

Deno.test("a rule means one disk or is refused with what there is", () => {
  const disks = [
    candidate({ path: "/dev/sda", unusable: "the running system is on it" }),
    candidate({ path: "/dev/sdb", size_bytes: 500 * 2 ** 30, ids: ["ata-Big_1"] }),
    candidate({ path: "/dev/nvme0n1", bus: "nvme", size_bytes: 200 * 2 ** 30, ids: ["nvme-A_1"] }),
    candidate({ path: "/dev/nvme1n1", bus: "nvme", size_bytes: 900 * 2 ** 30, ids: ["nvme-B_2"] }),
    candidate({ path: "/dev/mmcblk0", bus: "mmc", size_bytes: 16 * 2 ** 30, data: ["ext4"] }),
  ];
  const chosen = (rule: string | DiskRule) =>
    chooseDisk(typeof rule === "string" ? parseDiskRule(rule) : rule, disks, false).path;
  assert.equal(chosen("largest"), "/dev/nvme1n1");
  assert.equal(chosen("bus=nvme,pick=smallest"), "/dev/nvme0n1");
  assert.equal(chosen("bus=sata"), "/dev/sdb");
  assert.equal(chosen("id=nvme-B_*"), "/dev/nvme1n1");
  assert.equal(chosen("min_gib=150,max_gib=300"), "/dev/nvme0n1");
  assert.equal(chosen("/dev/sdb"), "/dev/sdb");
  assert.throws(() => chosen("smallest"), /mmcblk0 .* is not empty: ext4/);
  assert.throws(() => chosen("bus=nvme"), /2 disks fit the rule: \/dev\/nvme0n1 .*\/dev\/nvme1n1/);
  assert.throws(() => chosen({}), /4 disks fit/);
  assert.throws(() => chosen("/dev/sda"), /the running system is on it/);
  assert.throws(() => chosen("bus=usb"), /No disk fits the rule\. There is \/dev\/sda/);
  assert.throws(() => chooseDisk({}, [], true), /none at all/);
  for (const bad of ["", "biggest", "bus=floppy", "min_gib=many", "pick=any", "id=", "size=5"]) {
    assert.throws(() => parseDiskRule(bad), /no rule for a disk/, bad);
  }
});
