/** Snapshots of a guest that runs: what its agent does for them, and what becomes of it when compute dies meanwhile. */
import assert from "node:assert/strict";
import { untilWorks } from "../kit/until.ts";
import { tinyGuestImage, tinyGuestReady } from "../kit/tiny_guest.ts";
import { attachNew, launch, reach } from "./launches.ts";
import { startNode, type TestNode } from "./node.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { machinePaths } from "../../services/compute/machines/machine_paths.ts";

/** Writes to every disk that is plugged in, and ends its agent when one of 3 GiB is. */
const userData = `#!/bin/sh
(
  for disk in vdb vdc; do
    while [ ! -e /sys/block/$disk ]; do sleep 0.2; done
    mkfs.ext4 -q /dev/$disk && mkdir -p /mnt/$disk && mount /dev/$disk /mnt/$disk || exit
  done
  echo "probe: mounted" >/dev/console
  n=0
  while :; do
    n=$((n + 1))
    echo $n >/mnt/vdb/$n
    echo $n >/mnt/vdc/$n
    echo "probe: wrote $n" >/dev/console
    sleep 0.1
  done
) &
(
  while [ ! -e /sys/block/vdd ]; do sleep 0.2; done
  killall qemu-ga
  while pidof qemu-ga >/dev/null; do sleep 0.1; done
  echo "probe: no agent" >/dev/console
) &
`;

const said = (node: TestNode, id: string, text: string) =>
  node.until(
    `${id} says ${text}`,
    async () => (await node.console(id)).includes(text),
    600_000,
  );

const written = async (node: TestNode, id: string): Promise<number> =>
  Number((await node.console(id)).split("probe: wrote ").at(-1)?.match(/^\d+/)?.[0] ?? 0);

/** The guest writes from now on: it is not frozen. */
async function writesOn(node: TestNode, id: string): Promise<void> {
  const before = await written(node, id);
  await node.until("it writes", async () => await written(node, id) > before + 1, 120_000);
}

/** Whether the file system in a snapshot has a journal that must be replayed: it was caught while it was written to. */
async function needsRecovery(node: TestNode, snapshotId: string): Promise<boolean> {
  const { file = "" } = node.blocks.frozen.get(snapshotId) ?? {};
  const { stdout } = await new Deno.Command("/sbin/dumpe2fs", { args: ["-h", file] }).output();
  const told = new TextDecoder().decode(stdout);
  assert.match(told, /Filesystem features: +has_journal/);
  if (/needs_recovery/.test(told)) return true;
  const checked = await new Deno.Command("/sbin/e2fsck", { args: ["-fn", file] }).output();
  assert.ok(checked.success, new TextDecoder().decode(checked.stdout));
  return false;
}

/** The last file in a snapshot. */
async function lastFile(node: TestNode, snapshotId: string): Promise<number> {
  const { file = "" } = node.blocks.frozen.get(snapshotId) ?? {};
  const { stdout } = await new Deno.Command("/sbin/debugfs", { args: ["-R", "ls -p /", file] })
    .output();
  const names = new TextDecoder().decode(stdout).matchAll(/\/(\d+)\/\d*\/\n/g);
  return Math.max(...[...names].map(([, name]) => Number(name)));
}

Deno.test("a guest with an agent stands still for its snapshots, and always goes on", async (t) => {
  await using node = await startNode({ disk: await tinyGuestImage() });
  const id = await launch(node, { UserData: btoa(userData) });
  await reach(node, id, "running");
  await said(node, id, `${tinyGuestReady}${id}`);
  const volumes = [
    await attachNew(node, id, "/dev/sdf"),
    await attachNew(node, id, "/dev/sdg"),
  ];
  await said(node, id, "probe: wrote 5");
  const snapshotsOf = async () => {
    const { Snapshots = [] } = await node.call("CreateSnapshots", {
      InstanceSpecification: { InstanceId: id, ExcludeBootVolume: true },
    });
    return volumes.map((volume) =>
      Snapshots.find(({ VolumeId }) => VolumeId === volume)?.SnapshotId ?? ""
    );
  };

  await t.step("all of its volumes are of one moment, and need no recovery", async () => {
    const snapshots = await snapshotsOf();
    for (const snapshot of snapshots) assert.equal(await needsRecovery(node, snapshot), false);
    const [first, second] = [
      await lastFile(node, snapshots[0] ?? ""),
      await lastFile(node, snapshots[1] ?? ""),
    ];
    assert.ok(Math.abs(first - second) <= 1, `files ${first} and ${second}`);
    await writesOn(node, id);
  });

  await t.step(
    "so is one volume alone, and an image for which the guest is not rebooted",
    async () => {
      const { SnapshotId = "" } = await node.call("CreateSnapshot", { VolumeId: volumes[0] ?? "" });
      assert.equal(await needsRecovery(node, SnapshotId), false);
      const { ImageId = "" } = await node.call("CreateImage", {
        InstanceId: id,
        Name: "running",
        NoReboot: true,
      });
      const { Images = [] } = await node.call("DescribeImages", { ImageIds: [ImageId] });
      assert.equal(Images[0]?.State, "available");
      const devices = Images[0]?.BlockDeviceMappings ?? [];
      assert.equal(devices.length, 3);
      for (const { Ebs, DeviceName } of devices) {
        if (DeviceName === "/dev/xvda") continue;
        assert.equal(await needsRecovery(node, Ebs?.SnapshotId ?? ""), false);
      }
      await writesOn(node, id);
    },
  );

  await t.step("it goes on also when the snapshots fail", async () => {
    node.blocks.failing.set("ebs.snapshot.create", { code: "ServiceUnavailable", status: 503 });
    await assert.rejects(snapshotsOf(), { code: "ServiceUnavailable" });
    node.blocks.failing.clear();
    await writesOn(node, id);
  });

  await t.step(
    "a guest goes on when compute is killed while it has frozen it, though none is started again",
    async () => {
      await node.stopCompute();
      const script = new URL("./freeze_and_wait.ts", import.meta.url);
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", script.pathname, node.config.data_dir, id],
        stdin: "null",
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let heard = "";
      while (!heard.includes("frozen: true")) {
        const { value, done } = await reader.read();
        assert.ok(!done, heard);
        heard += value;
      }
      child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
      await writesOn(node, id);
      assert.equal(await statusOf(node, id), "thawed");
    },
  );

  await t.step("one that is frozen nevertheless goes on at compute's next start", async () => {
    await ask(node, id, "guest-fsfreeze-freeze", /"return"/);
    assert.equal(await statusOf(node, id), "frozen");
    await Deno.writeTextFile(machinePaths(pathsOf(node.config.data_dir), id).frozen, "");
    await node.startCompute();
    await writesOn(node, id);
  });

  await t.step("without its agent its snapshots are what a power cut would leave", async () => {
    await attachNew(node, id, "/dev/sdh");
    await said(node, id, "probe: no agent");
    await writesOn(node, id);
    const snapshots = await snapshotsOf();
    assert.equal(await needsRecovery(node, snapshots[0] ?? ""), true);
    await writesOn(node, id);
  });
});

/** Asks the guest's agent while compute is away. @returns what of an answer matches */
async function ask(node: TestNode, id: string, execute: string, wanted: RegExp): Promise<string> {
  const path = machinePaths(pathsOf(node.config.data_dir), id).agentSocket;
  return await untilWorks("the agent answers", async () => {
    using agent = await Deno.connect({ transport: "unix", path });
    await agent.write(new TextEncoder().encode(`${JSON.stringify({ execute })}\n`));
    const buffer = new Uint8Array(4096);
    const count = await agent.read(buffer);
    return new TextDecoder().decode(buffer.subarray(0, count ?? 0)).match(wanted)?.[0];
  });
}

const statusOf = (node: TestNode, id: string) =>
  ask(node, id, "guest-fsfreeze-status", /frozen|thawed/);
