import assert from "node:assert/strict";
import { AwsError } from "../../aws/errors.ts";
import { planDevices } from "./block_device_plan.ts";

const image = {
  root_device_name: "/dev/xvda",
  block_devices: [
    {
      device: "/dev/sdb",
      snapshot_id: "snap-data",
      size_gib: 20,
      delete_on_termination: false,
    },
    {
      device: "/dev/xvda",
      snapshot_id: "snap-root",
      size_gib: 8,
      delete_on_termination: true,
    },
  ],
};
const sizes: Record<string, number> = { "snap-root": 8, "snap-data": 20, "snap-other": 4 };
const plan = (mappings?: Parameters<typeof planDevices>[1]) =>
  planDevices(image, mappings, (id) => sizes[id]);
const refused = (code: string, mappings: Parameters<typeof planDevices>[1]) =>
  assert.throws(
    () => plan(mappings),
    (error: unknown) => error instanceof AwsError && error.code === code,
    JSON.stringify(mappings),
  );

Deno.test("without a request the image's devices are made, the root in slot 0", () => {
  assert.deepEqual(
    plan().map((device) => [device.device, device.slot, device.size_gib, device.snapshot_id]),
    [["/dev/xvda", 0, 8, "snap-root"], ["/dev/sdb", 1, 20, "snap-data"]],
  );
});

Deno.test("a request grows the root, leaves a device out and adds others", () => {
  const devices = plan([
    { DeviceName: "/dev/xvda", Ebs: { VolumeSize: 30, DeleteOnTermination: false } },
    { DeviceName: "/dev/sdb", NoDevice: "" },
    { DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1 } },
    { DeviceName: "/dev/sdg", Ebs: { SnapshotId: "snap-other" } },
  ]);
  assert.deepEqual(
    devices.map((d) => [d.device, d.size_gib, d.snapshot_id, d.delete_on_termination]),
    [
      ["/dev/xvda", 30, "snap-root", false],
      ["/dev/sdf", 1, undefined, true],
      ["/dev/sdg", 4, "snap-other", true],
    ],
  );
});

Deno.test("a device has its image's type and speed, unless the request names others", () => {
  const root = { device: "/dev/xvda", snapshot_id: "snap-root", size_gib: 8 };
  const typed = {
    root_device_name: "/dev/xvda",
    block_devices: [
      {
        ...root,
        volume_type: "gp3",
        iops: 4000,
        throughput: 300,
        delete_on_termination: true,
      },
    ],
  } as const;
  const made = (mappings?: Parameters<typeof planDevices>[1]) =>
    planDevices(typed, mappings, (id) => sizes[id])
      .map((device) => [device.volume_type, device.iops, device.throughput]);
  const of = (Ebs: object) => [{ DeviceName: "/dev/xvda", Ebs }];
  assert.deepEqual(made(), [["gp3", 4000, 300]]);
  assert.deepEqual(made(of({ VolumeSize: 9 })), [["gp3", 4000, 300]]);
  assert.deepEqual(made(of({ Throughput: 200 })), [["gp3", 4000, 200]]);
  // Another type has nothing of the image's speed.
  assert.deepEqual(made(of({ VolumeType: "io1", Iops: 100 })), [["io1", 100, 25]]);
  assert.deepEqual(made(of({ VolumeType: "gp2" })), [["gp2", 3000, 128]]);
  assert.deepEqual(made([{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1 } }])[1], [
    "gp2",
    3000,
    128,
  ]);
  // An image of before there were types.
  assert.deepEqual(plan().map((device) => device.volume_type), ["gp3", "gp3"]);
  refused("InvalidParameterCombination", of({ VolumeType: "io2" }));
  refused("InvalidParameterCombination", of({ VolumeType: "gp2", Iops: 100 }));
  refused("InvalidBlockDeviceMapping", of({ VolumeType: "gp2", Throughput: 125 }));
  refused("UnknownVolumeType", of({ VolumeType: "gp4" }));
});

Deno.test("the hard disk types hold data, and no root", () => {
  for (const VolumeType of ["st1", "sc1"] as const) {
    const Ebs = { VolumeSize: 125, VolumeType };
    refused("InvalidBlockDeviceMapping", [{ DeviceName: "/dev/xvda", Ebs }]);
    assert.equal(plan([{ DeviceName: "/dev/sdb", Ebs }])[1]?.volume_type, VolumeType);
  }
});

Deno.test("what cannot be made is refused by name", () => {
  refused("InvalidBlockDeviceMapping", [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: 7 } }]);
  refused("InvalidBlockDeviceMapping", [{ DeviceName: "/dev/xvda", NoDevice: "" }]);
  refused("InvalidBlockDeviceMapping", [
    { DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1 } },
    { DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1 } },
  ]);
  refused("InvalidBlockDeviceMapping", [
    { DeviceName: "/dev/xvda", Ebs: { SnapshotId: "snap-other" } },
  ]);
  refused("InvalidSnapshot.NotFound", [
    { DeviceName: "/dev/sdf", Ebs: { SnapshotId: "snap-none" } },
  ]);
  refused("MissingParameter", [{ DeviceName: "/dev/sdf", Ebs: {} }]);
  refused("MissingParameter", [{ Ebs: { VolumeSize: 1 } }]);
  refused("InvalidParameterValue", [{ DeviceName: "/etc/passwd", Ebs: { VolumeSize: 1 } }]);
  refused("InvalidParameterValue", [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 0 } }]);
  refused("InvalidParameterValue", [{ DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1e9 } }]);
  refused("InvalidParameterValue", [
    { DeviceName: "/dev/sdf", Ebs: { VolumeSize: 1, VolumeType: "io2" } },
  ]);
  refused("UnsupportedOperation", [{ DeviceName: "/dev/sdf", VirtualName: "ephemeral0" }]);
});
