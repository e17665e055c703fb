/** A policy that forbids one thing forbids whatever is made of it, or done with it, under the names that EC2 asks policies by. */
import assert from "node:assert/strict";
import { callerOf, instanceRecord, testConfig } from "../../tests/kit/compute.ts";
import { alice, startResourceSide } from "../../tests/kit/resource_side.ts";
import { perform } from "../resources/actions.ts";
import type { ActionName, Input } from "../resources/wire.ts";
import type { ResourceAction } from "./resource_actions.ts";

Deno.test("what is forbidden of a snapshot, volume or instance is forbidden of all that is done with it", async () => {
  await using world = await startResourceSide();
  const { ask, instances, side } = world;
  const instance = await instances.create(instanceRecord({ account_id: alice }));
  const InstanceId = instance.instance_id;
  const AvailabilityZone = testConfig.az;
  const { VolumeId = "" } = await ask("CreateVolume", { AvailabilityZone, Size: 8 });
  const { SnapshotId = "" } = await ask("CreateSnapshot", { VolumeId });
  await ask("AttachVolume", { VolumeId, InstanceId, Device: instance.root_device_name });
  const arn = (owner: string, what: string) => `arn:aws:ec2:${testConfig.region}:${owner}:${what}`;
  const [ofSnapshot, newSnapshot] = [`snapshot/${SnapshotId}`, "snapshot/*"].map((what) =>
    arn("", what)
  );
  const call = { ...callerOf(alice), signal: new AbortController().signal };

  const forbidden = async <Name extends ActionName & ResourceAction>(
    what: string | undefined,
    name: Name,
    input: Input<Name>,
  ) => {
    const authorize = (request: { readonly resource: string }) =>
      Promise.resolve(request.resource !== what);
    const action = side.actions[name] as unknown as Parameters<typeof perform<Name>>[1];
    await assert.rejects(
      perform(name, action, { ...input as object, DryRun: true } as Input<Name>, call, {
        authorize,
      }),
      { code: "UnauthorizedOperation" },
      `${name} with ${what}`,
    );
  };
  await forbidden(ofSnapshot, "CreateVolume", { AvailabilityZone, SnapshotId });
  await forbidden(ofSnapshot, "CopySnapshot", {
    SourceRegion: testConfig.region,
    SourceSnapshotId: SnapshotId,
  });
  const mapping = { DeviceName: "/dev/xvda", Ebs: { SnapshotId } };
  await forbidden(ofSnapshot, "RegisterImage", { Name: "new", BlockDeviceMappings: [mapping] });
  await forbidden(newSnapshot, "CreateImage", { InstanceId, Name: "new" });
  const InstanceSpecification = { InstanceId };
  const ofVolume = arn(alice, `volume/${VolumeId}`);
  await forbidden(ofVolume, "CreateSnapshots", { InstanceSpecification });
  await forbidden(ofVolume, "CopyVolumes", { SourceVolumeId: VolumeId });
  await forbidden(arn(alice, `instance/${InstanceId}`), "DetachVolume", { VolumeId });
});
