/**
 * One mounted ext4 through everything that happens to a volume while its guest writes: it grows, is
 * frozen, cloned and restored, its dead space is collected, and the engine dies twice. The guest itself
 * works out the digests; at the end every byte that it was told is on the disk is read from the store.
 */
import assert from "node:assert/strict";
import { smallest } from "../compute/launches.ts";
import {
  awaitLogin,
  createKey,
  describeInstance,
  importTinyGuest,
  launch,
  type Login,
  ssh,
} from "../kit/instances.ts";
import { type Stack, startStack } from "../kit/stack.ts";
import { untilWorks } from "../kit/until.ts";

/** Files that the writer leaves behind it; older ones it deletes. More than a slow machine writes while a snapshot is asked for. */
const kept = 120;

/**
 * Writes one file after the other, each synced before its digest is noted in the guest's memory, and
 * notes the longest time that one took, in hundredths of a second.
 */
const writer = `#!/bin/sh
n=0
echo 0 >/tmp/longest
now() { read -r up rest </proc/uptime; echo "\${up%.*}\${up#*.}"; }
while [ ! -e /tmp/stop ]; do
  n=$((n + 1))
  begun=$(now)
  { head -c 65536 /dev/urandom >/mnt/load/$n && sync /mnt/load/$n; } || { echo $n >/tmp/failed; break; }
  took=$(($(now) - begun))
  [ $took -gt $(cat /tmp/longest) ] && echo $took >/tmp/longest
  (cd /mnt && sha256sum load/$n) >>/tmp/sums
  rm -f /mnt/load/$((n - ${kept}))
  echo $n >/tmp/written
done
touch /tmp/stopped
`;

/** Three of four files go again, so that what is stored of them becomes sparse. */
const prepare =
  `mkfs.ext4 -q /dev/vdb && mount -o discard /dev/vdb /mnt && mkdir /mnt/load /mnt/base
for i in $(seq 48); do head -c 524288 /dev/urandom >/mnt/base/$i; done
cd /mnt && sha256sum base/* >/tmp/base && sync`;

interface Volume {
  readonly State: string;
  readonly Attachments: readonly { readonly State: string }[];
}

/** The guest, its disk, and what is asked of both. */
class WritingGuest {
  constructor(
    readonly stack: Stack,
    readonly id: string,
    readonly volume: string,
    readonly zone: string,
    readonly login: Login,
  ) {}

  run(command: string, timeout_ms = 600_000): Promise<string> {
    return ssh(this.stack, this.id, this.login, command, timeout_ms);
  }

  async written(): Promise<number> {
    return Number(await this.run("cat /tmp/written"));
  }

  /** It writes ten files more than it had. */
  async goesOn(): Promise<void> {
    const before = await this.written();
    await untilWorks(
      "the guest to go on writing",
      async () => await this.written() > before + 10,
      600_000,
    );
    await this.run("test ! -e /tmp/failed");
  }

  async #reaches(volume: string, state: string, attached: boolean): Promise<void> {
    await untilWorks(`${volume} to be ${state}`, async () => {
      const { Volumes } = await this.stack.aws<{ Volumes: Volume[] }>(
        "ec2",
        "describe-volumes",
        "--volume-ids",
        volume,
      );
      return Volumes[0]?.State === state && (!attached ||
        Volumes[0].Attachments[0]?.State === "attached");
    }, 600_000);
  }

  /** Attaches it and answers its device in the guest. */
  async attach(volume: string, device: string): Promise<string> {
    await this.#reaches(volume, "available", false);
    await this.stack.aws(
      "ec2",
      "attach-volume",
      ...["--instance-id", this.id, "--volume-id", volume, "--device", device],
    );
    await this.#reaches(volume, "in-use", true);
    const link = `/dev/disk/by-id/virtio-${volume.replace("-", "")}`;
    return (await this.run(`until [ -b ${link} ]; do sleep 0.2; done; readlink -f ${link}`)).trim();
  }

  async detach(volume: string): Promise<void> {
    await this.stack.aws("ec2", "detach-volume", "--volume-id", volume);
    await this.#reaches(volume, "available", false);
  }

  async volumeOf(snapshot: string): Promise<string> {
    const { VolumeId } = await this.stack.aws<{ VolumeId: string }>(
      "ec2",
      "create-volume",
      ...["--availability-zone", this.zone, "--snapshot-id", snapshot],
    );
    return VolumeId;
  }
}

async function start(stack: Stack): Promise<WritingGuest> {
  const image = await importTinyGuest(stack);
  const login = { key: await createKey(stack, "volumes"), user: "root" };
  const id = await launch(
    stack,
    ...["--image-id", image, "--instance-type", smallest],
    ...["--key-name", "volumes", "--block-device-mappings"],
    "DeviceName=/dev/sdf,Ebs={VolumeSize=1,DeleteOnTermination=true}",
  );
  const volume = (await describeInstance(stack, id)).BlockDeviceMappings
    .find((mapping) => mapping.DeviceName === "/dev/sdf")?.Ebs.VolumeId;
  assert.ok(volume);
  const { az } = JSON.parse(await Deno.readTextFile(`${stack.dataDir}/config.json`));
  await awaitLogin(stack, id, login, 600_000);
  const guest = new WritingGuest(stack, id, volume, az, login);
  await guest.run(prepare);
  await guest.run(`cat >/tmp/writer <<'END'\n${writer}END\nchmod 700 /tmp/writer`);
  await guest.run("/tmp/writer </dev/null >/dev/null 2>&1 &");
  await untilWorks("the guest to write", async () => await guest.written() > kept, 600_000);
  return guest;
}

/** Numbers the files that a frozen moment between these two counts must hold, whole. */
const certain = (before: number, after: number) =>
  `awk -F/ '$NF > ${after - kept + 1} && $NF <= ${before}' /tmp/sums >/tmp/certain`;

Deno.test("a mounted ext4 grows, is frozen, cloned, restored and collected while it is written to, and the engine dies", async (t) => {
  await using stack = await startStack();
  const guest = await start(stack);
  const { volume } = guest;
  const boot = await guest.run("cat /proc/sys/kernel/random/boot_id");
  const step = async (what: string, run: () => Promise<void>) => {
    assert.ok(await t.step(what, run), "what follows needs it");
  };
  let snapshot = "";

  await step("it grows, and the guest sees it and makes use of it", async () => {
    await stack.aws("ec2", "modify-volume", "--volume-id", volume, "--size", "2");
    await untilWorks("the guest to see 2 GiB", async () => {
      return Number(await guest.run("cat /sys/block/vdb/size")) === 2 ** 31 / 512;
    }, 600_000);
    await guest.run("resize2fs /dev/vdb");
    assert.ok(Number(await guest.run("df -k /mnt | awk 'END { print $2 }'")) > 1.9 * 2 ** 20);
    await guest.goesOn();
  });

  await step("a snapshot under load holds all that was synced before it", async () => {
    const before = await guest.written();
    const { SnapshotId } = await stack.aws<{ SnapshotId: string }>(
      "ec2",
      "create-snapshot",
      "--volume-id",
      volume,
    );
    const after = await guest.written();
    assert.ok(after - before < kept - 1, `the guest wrote ${after - before} files meanwhile`);
    snapshot = SnapshotId;
    await guest.run(certain(before, after));
    assert.ok(Number(await guest.run("wc -l </tmp/certain")) > 0);
    await stack.aws("ec2", "wait", "snapshot-completed", "--snapshot-ids", snapshot);
    await guest.goesOn();
  });

  /** Attaches a volume of the snapshot and answers the digest of its first 128 MiB as they were frozen. */
  const check = async (made: string, change: string): Promise<string> => {
    const device = await guest.attach(made, "/dev/sdg");
    const digest = await guest.run(`dd if=${device} bs=1M count=128 2>/dev/null | sha256sum`);
    await guest.run(`mkdir -p /tmp/made && mount ${device} /tmp/made && cd /tmp/made &&
      sha256sum -c /tmp/base >/dev/null && sha256sum -c /tmp/certain >/dev/null && { ${change}; }`);
    await guest.run(`umount /tmp/made && e2fsck -fn ${device}`);
    await guest.detach(made);
    await stack.aws("ec2", "delete-volume", "--volume-id", made);
    return digest;
  };
  await step("a clone and a later restoration are it, byte for byte", async () => {
    const change = "for i in $(seq 1 4); do echo changed >base/$i; done; rm -r load";
    const first = await check(await guest.volumeOf(snapshot), change);
    // Source and clone went their own ways meanwhile.
    await guest.run(`cd /mnt/base && for i in $(seq 48); do [ $((i % 4)) = 0 ] || rm $i; done
      cd /mnt && sha256sum base/* >/tmp/left && sync`);
    assert.equal(await check(await guest.volumeOf(snapshot), "true"), first);
    await guest.goesOn();
  });

  await step("the engine dies twice, and the guest sees no more than a pause", async () => {
    await stack.aws("ec2", "delete-snapshot", "--snapshot-id", snapshot);
    for (let death = 0; death < 2; death++) {
      await guest.run("echo 0 >/tmp/longest");
      await stack.kill("viperblock");
      await guest.goesOn();
    }
    assert.equal(await guest.run("cat /proc/sys/kernel/random/boot_id"), boot);
    console.log(
      `longest write: ${Number(await guest.run("cat /tmp/longest")) / 100} s of the guest's time`,
    );
  });

  await step("the collector gives back what was deleted, while the guest writes", async () => {
    await untilWorks("sparse chunks to be emptied", async () => {
      const status = JSON.parse(await stack.hive("volume", "status", volume, "--json"));
      return status.chunks_compacted > 0 && status.blocks_compacted > 0;
    }, 600_000);
    await guest.goesOn();
  });

  await step("every byte that was synced comes back from the store", async () => {
    await guest.run("touch /tmp/stop; until [ -e /tmp/stopped ]; do sleep 0.1; done");
    await guest.run("test ! -e /tmp/failed");
    await guest.run(`tail -n ${kept} /tmp/sums >/tmp/newest && umount /mnt && e2fsck -fn /dev/vdb`);
    await guest.detach(volume);
    const report = JSON.parse(await stack.hive("volume", "fsck", volume, "--json"));
    assert.ok(report.is_sound, JSON.stringify(report));
    const device = await guest.attach(volume, "/dev/sdf");
    await guest.run(`mount ${device} /mnt && cd /mnt && [ $(ls base | wc -l) = 12 ] &&
      sha256sum -c /tmp/left >/dev/null && sha256sum -c /tmp/newest >/dev/null`);
    await guest.run(`cd / && umount /mnt && e2fsck -fn ${device}`);
    await stack.aws("ec2", "terminate-instances", "--instance-ids", guest.id);
    await stack.aws("ec2", "wait", "instance-terminated", "--instance-ids", guest.id);
  });
});
