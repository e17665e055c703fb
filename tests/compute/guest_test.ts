import assert from "node:assert/strict";
import { inflateSync } from "node:zlib";
import { tinyGuestImage, tinyGuestReady, tinyGuestUserDataDone } from "../kit/tiny_guest.ts";
import { untilWorks } from "../kit/until.ts";
import { attachNew, launch, reach } from "./launches.ts";
import { startNode, type TestNode } from "./node.ts";

/** Says what it finds, follows disks as they come and go, and powers off when told to by a disk. */
const userData = (port: number) =>
  `#!/bin/sh
nc -w 2 172.31.0.1 ${port} </dev/null && echo "probe: host reached"
nc -w 2 127.0.0.1 ${port} </dev/null && echo "probe: loopback reached"
echo "probe: product $(cat /sys/class/dmi/id/sys_vendor) $(cat /sys/class/dmi/id/product_uuid)"
(
  count=1
  while :; do
    now=$(ls /dev/disk/by-id | grep -c '^virtio-vol[0-9a-f]*$')
    [ "$now" != "$count" ] && echo "probe: disks $now" >/dev/console
    count=$now
    sleep 0.2
  done
) &
(
  while :; do
    for disk in /sys/block/vd*; do
      [ "$(cat $disk/size)" = 4194304 ] || continue
      mkfs.ext4 -q /dev/\${disk##*/} && mount /dev/\${disk##*/} /mnt || exit
      echo "probe: mounted" >/dev/console
      n=0
      while :; do n=$((n + 1)); echo $n >/mnt/$n; sleep 0.05; done
    done
    sleep 0.2
  done
) &
`;

async function said(node: TestNode, id: string, text: string, times = 1): Promise<void> {
  await node.until(
    `${id} says ${text} ${times} times`,
    async () => (await node.console(id)).split(text).length > times,
    600_000,
  );
}

Deno.test("a guest boots, finds its metadata, follows its disks, reboots, and reaches nothing else", async () => {
  await using node = await startNode({ disk: await tinyGuestImage() });
  // Somebody listens on the host's loopback; the guest must not get there.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let reached = 0;
  void (async () => {
    for await (const connection of listener) {
      reached++;
      connection.close();
    }
  })().catch(() => {});
  const id = await launch(node, {
    UserData: btoa(userData(listener.addr.port)),
    InstanceInitiatedShutdownBehavior: "terminate",
  });
  await reach(node, id, "running");
  await said(node, id, `${tinyGuestReady}${id}`);
  await said(node, id, `${tinyGuestUserDataDone}0`);
  assert.equal(reached, 0);
  const console = await node.console(id);
  assert.doesNotMatch(console, /probe: (host|loopback) reached/);
  assert.match(console, /probe: product Amazon EC2 ec2[0-9a-f]{5}-/);
  const output = await node.call("GetConsoleOutput", { InstanceId: id });
  assert.ok(atob(output.Output ?? "").includes(tinyGuestReady));

  const { UefiData = "" } = await node.call("GetInstanceUefiData", { InstanceId: id });
  const variables = inflateSync(Uint8Array.fromBase64(UefiData).subarray(16));
  assert.ok(new TextDecoder("latin1").decode(variables).includes("BootOrder"));
  const { ImageData = "" } = await node.call("GetConsoleScreenshot", { InstanceId: id });
  const screen = new Blob([Uint8Array.fromBase64(ImageData)], { type: "image/jpeg" });
  assert.ok((await createImageBitmap(screen)).width >= 640);

  await assertSshAnswers(node.instance(id)?.network.ssh_port);

  const VolumeId = await attachNew(node, id, "/dev/sdf");
  await said(node, id, "probe: disks 2");
  await node.call("DetachVolume", { VolumeId });
  await said(node, id, "probe: disks 1");
  await node.until(
    "free",
    async () =>
      (await node.call("DescribeVolumes", { VolumeIds: [VolumeId] })).Volumes?.[0]?.State ===
        "available",
  );

  // A file system that is written to, and an image of the guest that has it mounted.
  const { VolumeId: written = "" } = await node.call("CreateVolume", {
    AvailabilityZone: node.config.az,
    Size: 2,
  });
  await node.until(
    "made",
    async () =>
      (await node.call("DescribeVolumes", { VolumeIds: [written] })).Volumes?.[0]?.State ===
        "available",
  );
  await node.call("AttachVolume", { InstanceId: id, VolumeId: written, Device: "/dev/sdg" });
  await said(node, id, "probe: mounted");
  const pid = await node.pid(id);
  const { ImageId = "" } = await node.call("CreateImage", { InstanceId: id, Name: "of a guest" });
  await said(node, id, `${tinyGuestReady}${id}`, 2);
  assert.equal(await node.pid(id), pid, "a reboot keeps the machine");
  assert.equal(node.instance(id)?.state, "running");
  const image = await node.call("DescribeImages", { ImageIds: [ImageId] });
  assert.equal(image.Images?.[0]?.State, "available");
  assert.equal(image.Images?.[0]?.BlockDeviceMappings?.length, 2);
  const { file = "" } = [...node.blocks.frozen.values()]
    .find(({ volume_id }) => volume_id === written) ?? {};
  await assertUnmounted(file);

  // Its own power-off, as from inside: the record says terminate.
  const machine = await node.compute().reconciler.machines.find(id);
  await machine?.pressPowerButton();
  await reach(node, id, "terminated", 180_000);
  assert.equal(node.instance(id)?.state_reason?.code, "Client.InstanceInitiatedShutdown");
  await node.until("volumes gone", () => node.blocks.sizes.size === 2);
});

/** A file system that needs nothing replayed: who had it mounted has unmounted it. */
async function assertUnmounted(file: string): Promise<void> {
  const { stdout } = await new Deno.Command("/sbin/dumpe2fs", { args: ["-h", file] }).output();
  const told = new TextDecoder().decode(stdout);
  assert.match(told, /Filesystem state: +clean/);
  assert.doesNotMatch(told, /needs_recovery/);
  const { success } = await new Deno.Command("/sbin/e2fsck", { args: ["-fn", file] }).output();
  assert.ok(success);
}

/** The first bytes of an SSH server, through the forwarded port, which takes connections before there is one. */
async function assertSshAnswers(port: number | undefined): Promise<void> {
  assert.ok(port);
  await untilWorks("the SSH server's greeting", async () => {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const greeting = new Uint8Array(7);
    await connection.read(greeting);
    return new TextDecoder().decode(greeting) === "SSH-2.0";
  });
}
