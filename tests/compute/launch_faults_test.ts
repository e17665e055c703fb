import assert from "node:assert/strict";
import { AwsError } from "../../services/aws/errors.ts";
import { blankDisk, launch, reach, volumesLeft } from "./launches.ts";
import { imageId, startNode, type TestNode } from "./node.ts";

const disk = await blankDisk();
globalThis.addEventListener("unload", () => Deno.removeSync(disk));

/** Nothing is left of a launch but the record that says why. */
async function assertNoResidue(node: TestNode): Promise<void> {
  assert.equal(node.compute().capacity.used.guests, 0, "capacity");
  assert.deepEqual(await node.addresses(), [], "addresses");
  await volumesLeft(node, []);
  assert.deepEqual(node.blocks.mounted, [], "mounts");
  assert.equal(node.compute().reconciler.machines.known.length, 0, "machines");
}

for (const step of ["ebs.volume.create", "ebs.mount"]) {
  Deno.test(`a launch that fails at ${step} is terminated with a reason and leaves nothing`, async () => {
    await using node = await startNode({ disk });
    node.blocks.failing.set(step, { code: "InternalError", status: 500 });
    const id = await launch(node, {
      BlockDeviceMappings: [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1 } }],
    });
    await reach(node, id, "terminated");
    assert.match(node.instance(id)?.state_reason?.code ?? "", /^Server\./);
    await assertNoResidue(node);
    const shown = await node.call("DescribeInstances", { InstanceIds: [id] });
    const instance = shown.Reservations?.[0]?.Instances?.[0];
    assert.equal(instance?.State?.Name, "terminated");
    assert.deepEqual(instance?.BlockDeviceMappings, []);
  });
}

Deno.test("a machine that cannot start ends its launch, and leaves nothing", async () => {
  await using node = await startNode({ disk });
  // The volume's server answers and does not have the export.
  node.blocks.exportName = () => "another";
  const id = await launch(node);
  await reach(node, id, "terminated");
  assert.equal(node.instance(id)?.state_reason?.code, "Server.InternalError");
  await assertNoResidue(node);
});

Deno.test("a start that fails leaves a stopped instance with its volumes, and can be repeated", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 200 } });
  const id = await launch(node);
  await reach(node, id, "running");
  await node.call("StopInstances", { InstanceIds: [id] });
  await reach(node, id, "stopped");
  node.blocks.exportName = () => "another";
  await node.call("StartInstances", { InstanceIds: [id] });
  await node.until(
    "failed",
    () => node.instance(id)?.state_reason?.code === "Server.InternalError",
  );
  await reach(node, id, "stopped");
  assert.equal(node.compute().capacity.used.guests, 0);
  assert.equal(node.blocks.sizes.size, 1);
  node.blocks.exportName = (volume) => volume;
  await node.call("StartInstances", { InstanceIds: [id] });
  await reach(node, id, "running");
  assert.equal(node.instance(id)?.state_reason, undefined);
});

Deno.test("a start of which one volume cannot be served leaves the others unserved, too", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 200 } });
  const id = await launch(node, {
    BlockDeviceMappings: [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1 } }],
  });
  await reach(node, id, "running");
  await node.call("StopInstances", { InstanceIds: [id] });
  await reach(node, id, "stopped");
  const broken = node.instance(id)?.attachments[0]?.volume_id;
  let tries = 0;
  node.blocks.exportName = (volume) => {
    if (volume === broken) throw new AwsError("InternalError", "It is broken.", { status: 500 });
    if (++tries === 1) throw new AwsError("ServiceUnavailable", "It is away.", { status: 503 });
    return volume;
  };
  await node.call("StartInstances", { InstanceIds: [id] });
  await node.until(
    "failed",
    () => node.instance(id)?.state_reason?.code === "Server.InternalError",
  );
  await reach(node, id, "stopped");
  await node.until("the other is asked for again", () => tries === 2);
  assert.deepEqual(node.blocks.mounted, []);
});

Deno.test("compute that ends in the middle of a launch goes on with it at its next start", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 200 } });
  node.blocks.failing.set("ebs.mount", { code: "ServiceUnavailable", status: 503 });
  const id = await launch(node);
  await node.until("volumes made", () => node.instance(id)?.progress?.done.includes("volumes"));
  await node.stopCompute();
  node.blocks.failing.clear();
  await node.startCompute();
  await reach(node, id, "running");
  assert.equal(node.blocks.sizes.size, 1);
});

Deno.test("what cannot be launched is refused before anything is claimed", async () => {
  await using node = await startNode({ disk });
  const one = { ImageId: imageId, InstanceType: "t3.nano", MinCount: 1, MaxCount: 1 } as const;
  const refused: [Record<string, unknown>, string][] = [
    [{ ImageId: "ami-0123" }, "InvalidAMIID.Malformed"],
    [{ ImageId: "ami-0123456789abcdef0" }, "InvalidAMIID.NotFound"],
    [{ InstanceType: "t9.mega" }, "InvalidParameterValue"],
    [{ InstanceType: "r5.2xlarge" }, "Unsupported"],
    [{ InstanceType: "t4g.nano" }, "InvalidParameterValue"],
    [{ KeyName: "nobody" }, "InvalidKeyPair.NotFound"],
    [{ MinCount: 2, MaxCount: 1 }, "InvalidParameterValue"],
    [{ MinCount: 0 }, "InvalidParameterValue"],
    [{ MinCount: 900, MaxCount: 1000 }, "InsufficientInstanceCapacity"],
    [{ UserData: "not base 64!" }, "InvalidParameterValue"],
    [{ UserData: btoa("x".repeat(16_385)) }, "InvalidParameterValue"],
    [{ SubnetId: "subnet-0123456789abcdef0" }, "InvalidSubnetID.NotFound"],
    [{ SecurityGroupIds: ["sg-0123456789abcdef0"] }, "InvalidGroup.NotFound"],
    [{ Placement: { AvailabilityZone: "eu-west-1a" } }, "InvalidParameterValue"],
    [{ IamInstanceProfile: {} }, "MissingParameter"],
    [
      { BlockDeviceMappings: [{ DeviceName: "/dev/xvda", NoDevice: "" }] },
      "InvalidBlockDeviceMapping",
    ],
    [
      { BlockDeviceMappings: [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 5000 } }] },
      "InsufficientVolumeCapacity",
    ],
    [{
      BlockDeviceMappings: [{ DeviceName: "/dev/sdf", Ebs: { VolumeType: "io2", VolumeSize: 1 } }],
    }, "InvalidParameterValue"],
    [
      { TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "aws:x" }] }] },
      "InvalidParameterValue",
    ],
    [{ DryRun: true }, "DryRunOperation"],
  ];
  for (const [change, code] of refused) {
    await assert.rejects(
      node.call("RunInstances", { ...one, ...change }),
      (error: unknown) => {
        assert.equal((error as { code?: string }).code, code, JSON.stringify(change));
        return true;
      },
    );
  }
  await assertNoResidue(node);
  const described = await node.call("DescribeInstances", {});
  assert.deepEqual(described.Reservations, []);
  for (const action of ["StopInstances", "StartInstances", "TerminateInstances"] as const) {
    await assert.rejects(node.call(action, { InstanceIds: ["i-0123456789abcdef0"] }), {
      code: "InvalidInstanceID.NotFound",
    });
    await assert.rejects(node.call(action, { InstanceIds: ["i-1"] }), {
      code: "InvalidInstanceID.Malformed",
    });
  }
});
