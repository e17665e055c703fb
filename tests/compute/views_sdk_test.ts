/** What can be looked at of a real machine through the SDK: its screen, its firmware's variables, its TPM. */
import * as Ec2 from "@aws-sdk/client-ec2";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createPublicKey } from "node:crypto";
import { inflateSync } from "node:zlib";
import { killProcessOf } from "../../ffi/process.ts";
import { machinePaths } from "../../services/compute/machines/machine_paths.ts";
import { startEc2Cloud } from "../kit/ec2_cloud.ts";
import { smallest } from "./launches.ts";

const architecture = Deno.build.arch === "aarch64" ? "arm64" : "x86_64";

Deno.test("the SDK sees a guest's screen, UEFI variables and endorsement keys", async (t) => {
  await using cloud = await startEc2Cloud();
  const ec2 = new Ec2.EC2Client(cloud.settings());
  const refused = async (name: string, work: Promise<unknown>) =>
    await assert.rejects(work, { name });
  const until = async (what: string, holds: () => Promise<boolean>) => {
    const limit = performance.now() + 120_000;
    while (!await holds()) {
      if (performance.now() > limit) throw new Error(`${what}: not in time`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const { VolumeId } = await ec2.send(
    new Ec2.CreateVolumeCommand({ AvailabilityZone: cloud.node.config.az, Size: 1 }),
  );
  const { SnapshotId } = await ec2.send(new Ec2.CreateSnapshotCommand({ VolumeId }));
  const register = async (Name: string, more: object) =>
    (await ec2.send(
      new Ec2.RegisterImageCommand({
        Name,
        Architecture: architecture,
        BootMode: "uefi",
        RootDeviceName: "/dev/xvda",
        BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
        ...more,
      }),
    )).ImageId;
  await refused("InvalidParameterValue", register("bad tpm", { TpmSupport: "v1.2" }));
  const ids: string[] = [];
  const launch = async (ImageId: string | undefined) => {
    const { Instances: [instance] = [] } = await ec2.send(
      new Ec2.RunInstancesCommand({
        ImageId,
        InstanceType: smallest as "t2.nano",
        MinCount: 1,
        MaxCount: 1,
      }),
    );
    const id = instance?.InstanceId ?? "";
    ids.push(id);
    return id;
  };
  const shown = async (id: string) =>
    (await ec2.send(new Ec2.DescribeInstancesCommand({ InstanceIds: [id] })))
      .Reservations?.[0]?.Instances?.[0];
  const reaches = (id: string, state: string) =>
    until(`${id} ${state}`, async () => (await shown(id))?.State?.Name === state);
  const keyOf = async (
    InstanceId: string,
    KeyType: Ec2.EkPubKeyType,
    KeyFormat: Ec2.EkPubKeyFormat = "der",
  ) =>
    (await ec2.send(new Ec2.GetInstanceTpmEkPubCommand({ InstanceId, KeyType, KeyFormat })))
      .KeyValue ?? "";
  try {
    const guarded = await launch(await register("with a tpm", { TpmSupport: "v2.0" }));
    const plain = await launch(
      await register("without one", {
        ImdsSupport: "v2.0",
        BlockDeviceMappings: [{
          DeviceName: "/dev/xvda",
          Ebs: { SnapshotId, VolumeSize: 4, VolumeType: "io1", Iops: 100 },
        }],
      }),
    );
    for (const id of [guarded, plain]) await reaches(id, "running");
    const traits = async (id: string) => {
      const instance = await shown(id);
      const { Volumes: [root] = [] } = await ec2.send(
        new Ec2.DescribeVolumesCommand({
          VolumeIds: [instance?.BlockDeviceMappings?.[0]?.Ebs?.VolumeId ?? ""],
        }),
      );
      const { HttpTokens, HttpPutResponseHopLimit } = instance?.MetadataOptions ?? {};
      return [HttpTokens, HttpPutResponseHopLimit, root?.VolumeType, root?.Iops, root?.Size];
    };
    assert.deepEqual(await traits(guarded), ["optional", 1, "gp2", 100, 1]);
    assert.deepEqual(await traits(plain), ["required", 2, "io1", 100, 4]);
    assert.deepEqual([(await shown(guarded))?.TpmSupport, (await shown(plain))?.TpmSupport], [
      "v2.0",
      undefined,
    ]);

    await t.step("its screen is a JPEG", async () => {
      for (const WakeUp of [false, true]) {
        const { ImageData = "", InstanceId } = await ec2.send(
          new Ec2.GetConsoleScreenshotCommand({ InstanceId: plain, WakeUp }),
        );
        assert.equal(InstanceId, plain);
        const jpeg = Uint8Array.fromBase64(ImageData);
        const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
        assert.ok(picture.width >= 640 && picture.height >= 480);
      }
    });

    await t.step("its variables are AWS's form of them", async () => {
      const { UefiData = "" } = await ec2.send(
        new Ec2.GetInstanceUefiDataCommand({ InstanceId: plain }),
      );
      const bytes = Uint8Array.fromBase64(UefiData);
      assert.equal(new TextDecoder().decode(bytes.subarray(0, 8)), "AMZNUEFI");
      const variables = new Uint8Array(inflateSync(bytes.subarray(16)));
      assert.ok(new DataView(variables.buffer).getUint32(0, true) < 1000);
    });

    await t.step("its TPM's keys are its own, and the same after a stop", async () => {
      const rsa = createPublicKey({
        key: Buffer.from(await keyOf(guarded, "rsa-2048"), "base64"),
        format: "der",
        type: "spki",
      });
      assert.equal(rsa.asymmetricKeyDetails?.modulusLength, 2048);
      const ecc = createPublicKey({
        key: Buffer.from(await keyOf(guarded, "ecc-sec-p384"), "base64"),
        format: "der",
        type: "spki",
      });
      assert.equal(ecc.asymmetricKeyDetails?.namedCurve, "secp384r1");
      const tpmt = Uint8Array.fromBase64(await keyOf(guarded, "rsa-2048", "tpmt"));
      assert.equal(tpmt.subarray(0, 4).toHex(), "0001000b");
      const modulus = Buffer.from(rsa.export({ format: "jwk" }).n ?? "", "base64url");
      assert.equal(Buffer.from(tpmt.slice(-256)).toString("hex"), modulus.toString("hex"));
      await refused("UnsupportedOperation", keyOf(plain, "rsa-2048"));
      await refused("InvalidParameterValue", keyOf(guarded, "rsa-1024" as "rsa-2048"));

      const before = await keyOf(guarded, "rsa-2048");
      await ec2.send(new Ec2.StopInstancesCommand({ InstanceIds: [guarded], Force: true }));
      await reaches(guarded, "stopped");
      assert.equal(await keyOf(guarded, "rsa-2048"), before);
      await refused(
        "IncorrectInstanceState",
        ec2.send(new Ec2.GetConsoleScreenshotCommand({ InstanceId: guarded })),
      );
      await ec2.send(new Ec2.GetInstanceUefiDataCommand({ InstanceId: guarded }));
      await ec2.send(new Ec2.StartInstancesCommand({ InstanceIds: [guarded] }));
      await reaches(guarded, "running");
      assert.equal(await keyOf(guarded, "rsa-2048"), before);
    });

    await t.step("what has ended shows nothing", async () => {
      // There is no system on its disk that would hear the power button.
      await ec2.send(new Ec2.StopInstancesCommand({ InstanceIds: ids, Force: true }));
      for (const id of ids) await reaches(id, "stopped");
      await ec2.send(new Ec2.TerminateInstancesCommand({ InstanceIds: ids }));
      for (const id of ids) await reaches(id, "terminated");
      await refused(
        "IncorrectInstanceState",
        ec2.send(new Ec2.GetInstanceUefiDataCommand({ InstanceId: plain })),
      );
      await refused(
        "InvalidInstanceID.NotFound",
        ec2.send(new Ec2.GetConsoleScreenshotCommand({ InstanceId: "i-0123456789abcdef0" })),
      );
    });
  } finally {
    // A guest outlives its services; a test that failed must not leave one behind.
    for (const id of ids) {
      const paths = machinePaths(cloud.node.paths, id);
      await Deno.readTextFile(paths.pid)
        .then((pid) => killProcessOf(Number.parseInt(pid, 10), id)).catch(() => {});
    }
  }
});
