import assert from "node:assert/strict";
import { attachNew, blankDisk, launch, reach, volumesLeft } from "./launches.ts";
import { startNode } from "./node.ts";

const disk = await blankDisk();
globalThis.addEventListener("unload", () => Deno.removeSync(disk));

Deno.test("guests outlive compute, which finds them again; what was asked meanwhile is done", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 300 } });
  const [kept, killed] = [await launch(node), await launch(node)];
  await reach(node, kept, "running");
  await reach(node, killed, "running");
  const before = await node.pid(kept);
  await node.stopCompute();
  await node.killMachine(killed);
  await node.startCompute();
  await node.until(
    "the killed one runs again",
    async () =>
      node.compute().reconciler.machines.known.length === 2 &&
      node.instance(killed)?.state === "running" && await node.pid(killed) > 0,
  );
  assert.equal(await node.pid(kept), before);
  assert.equal(node.instance(kept)?.state, "running");
  await node.call("TerminateInstances", { InstanceIds: [kept, killed] });
  await reach(node, kept, "terminated");
  await reach(node, killed, "terminated");
  assert.equal(node.compute().capacity.used.guests, 0);
  await volumesLeft(node, []);
  assert.deepEqual(await node.addresses(), []);
});

Deno.test("a machine that dies is started again; one that keeps dying is stopped with a reason", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 300, crashes: 3 } });
  const id = await launch(node);
  for (let death = 1; death <= 3; death++) {
    await reach(node, id, "running");
    const pid = await node.pid(id);
    await node.killMachine(id);
    if (death < 3) {
      await node.until(
        "another machine",
        async () => await node.pid(id) !== pid && node.instance(id)?.state === "running",
      );
    }
  }
  await reach(node, id, "stopped");
  assert.equal(node.instance(id)?.wanted, "stopped");
  assert.equal(node.instance(id)?.state_reason?.code, "Server.InternalError");
  assert.equal(node.compute().capacity.used.guests, 0);
  assert.deepEqual(node.blocks.mounted, []);
  assert.equal(node.blocks.sizes.size, 1, "the root volume stays");
  await node.call("StartInstances", { InstanceIds: [id] });
  await reach(node, id, "running");
});

Deno.test("a forced stop does not wait for a guest that hears nothing", async () => {
  // What waits for the guest waits longer than this test does.
  await using node = await startNode({ disk, bounds: { shutdown_ms: 600_000 } });
  const id = await launch(node);
  await reach(node, id, "running");
  await node.call("StopInstances", { InstanceIds: [id] });
  await reach(node, id, "stopping");
  await node.call("StopInstances", { InstanceIds: [id], Force: true });
  await reach(node, id, "stopped");
});

Deno.test("a stop of the stack ends guests and keeps what is wanted; the next start runs them", async () => {
  await using node = await startNode({ disk });
  const id = await launch(node);
  await reach(node, id, "running");
  assert.deepEqual(await node.quiesce(500), [id]);
  assert.equal(node.instance(id)?.wanted, "running");
  assert.deepEqual(node.blocks.mounted, []);
  await assert.rejects(launch(node), { code: "ServiceUnavailable" });
  await node.restart();
  await node.until("it runs again", () =>
    node.compute().reconciler.machines.known.length === 1 &&
    node.instance(id)?.state === "running");
});

Deno.test("a block service that is gone stops nothing for good: the guest waits and goes on", async () => {
  await using node = await startNode({ disk });
  const id = await launch(node);
  await reach(node, id, "running");
  const pid = await node.pid(id);
  const lost = await node.blocks.crash();
  assert.equal(lost.length, 1);
  for (const volume of lost) await node.blocks.serve(volume);
  const machine = await node.compute().reconciler.machines.find(id);
  assert.ok(machine);
  await node.until("it runs", async () => await machine.status() === "running");
  assert.equal(await node.pid(id), pid);
});

Deno.test("a volume of a running machine grows, and the machine knows its new size", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 300 } });
  const id = await launch(node);
  await reach(node, id, "running");
  const volumeId = node.instance(id)?.attachments[0]?.volume_id ?? "";
  const before = (node.blocks.sizes.get(volumeId) ?? 0) / 2 ** 30;
  const pid = await node.pid(id);
  await node.call("ModifyVolume", { VolumeId: volumeId, Size: before + 3 });
  await node.until("it is modified", async () => {
    const { VolumesModifications: [modification] = [] } = await node.call(
      "DescribeVolumesModifications",
      { VolumeIds: [volumeId] },
    );
    return modification?.ModificationState === "completed";
  });
  assert.equal(node.blocks.sizes.get(volumeId), (before + 3) * 2 ** 30);
  // QEMU refuses any size but the server's: it has seen the new one.
  const machine = await node.compute().reconciler.machines.find(id);
  await machine?.grow(volumeId, (before + 3) * 2 ** 30);
  assert.equal(await node.pid(id), pid);
  assert.equal(await machine?.status(), "running");
});

Deno.test("volumes are plugged into a running machine, and are all there after a restart of it", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 300 } });
  const id = await launch(node, {
    BlockDeviceMappings: [
      { DeviceName: "/dev/xvda", Ebs: { VolumeSize: 2 } },
      { DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1, DeleteOnTermination: false } },
    ],
  });
  await reach(node, id, "running");
  await attachNew(node, id, "/dev/sdg");
  const plugged = async () =>
    (await (await node.compute().reconciler.machines.find(id))?.disks() ?? []).toSorted();
  // Records reach this side in their own time.
  await node.until("three are attached", () => node.instance(id)?.attachments.length === 3);
  const wanted = (node.instance(id)?.attachments ?? []).map((a) => a.volume_id).toSorted();
  assert.deepEqual(await plugged(), wanted);
  await node.call("StopInstances", { InstanceIds: [id] });
  await reach(node, id, "stopped");
  await node.call("StartInstances", { InstanceIds: [id] });
  await reach(node, id, "running");
  assert.deepEqual(await plugged(), wanted);
  const described = await node.call("DescribeInstances", { InstanceIds: [id] });
  const mappings = described.Reservations?.[0]?.Instances?.[0]?.BlockDeviceMappings ?? [];
  assert.deepEqual(mappings.map((m) => [m.DeviceName, m.Ebs?.Status, m.Ebs?.DeleteOnTermination]), [
    ["/dev/xvda", "attached", true],
    ["/dev/sdf", "attached", false],
    ["/dev/sdg", "attached", false],
  ]);
  await node.call("TerminateInstances", { InstanceIds: [id] });
  await reach(node, id, "terminated");
  await volumesLeft(node, ["available", "available"]);
});

Deno.test("several launched at once wait for the block store, go on without it being asked again, and one can be given up", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 100 } });
  node.blocks.failing.set("ebs.mount", { code: "ServiceUnavailable", status: 503 });
  const { Instances = [] } = await node.call("RunInstances", {
    ImageId: "ami-00000000000000001",
    MinCount: 2,
    MaxCount: 6,
    InstanceType: Deno.build.arch === "aarch64" ? "t4g.nano" : "t3.nano",
    ClientToken: "again",
  });
  const again = await node.call("RunInstances", {
    ImageId: "ami-00000000000000001",
    MinCount: 2,
    MaxCount: 6,
    InstanceType: Deno.build.arch === "aarch64" ? "t4g.nano" : "t3.nano",
    ClientToken: "again",
  });
  const ids = Instances.map((instance) => instance.InstanceId ?? "");
  assert.deepEqual(again.Instances?.map((instance) => instance.InstanceId), ids);
  assert.equal(new Set(Instances.map((instance) => instance.PrivateIpAddress)).size, ids.length);
  // The block store is away: all wait, one is given up meanwhile, then the rest goes on.
  const [first = ""] = ids;
  await node.call("TerminateInstances", { InstanceIds: [first] });
  await reach(node, first, "terminated");
  node.blocks.failing.clear();
  for (const id of ids.slice(1)) await reach(node, id, "running");
  await node.call("TerminateInstances", { InstanceIds: ids });
  for (const id of ids) await reach(node, id, "terminated");
  assert.equal(node.compute().capacity.used.guests, 0);
  await volumesLeft(node, []);
});
