/** Disk images to and from buckets through the SDK, with the real stores and qemu-img. */
import * as Ec2 from "@aws-sdk/client-ec2";
import * as Iam from "@aws-sdk/client-iam";
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { join } from "node:path";
import { DelegatedObjects } from "../../services/compute/transfers/delegated_objects.ts";
import { startEc2Cloud } from "../kit/ec2_cloud.ts";

const MiB = 1 << 20;

async function qemuImg(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("qemu-img", { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

Deno.test("a disk comes from a bucket, becomes an image, and goes to a bucket as it came", async (t) => {
  await using cloud = await startEc2Cloud();
  const directory = await Deno.makeTempDir({ prefix: "mulga-transfers-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const at = (name: string) => join(directory, name);
  const ec2 = new Ec2.EC2Client(cloud.settings());
  const s3 = new S3Client({ ...cloud.settings(), forcePathStyle: true });
  const iam = new Iam.IAMClient(cloud.settings());
  stack.defer(() => [ec2, s3, iam].forEach((client) => client.destroy()));
  const until = async (what: string, holds: () => Promise<boolean>) => {
    const limit = performance.now() + 120_000;
    while (!await holds()) {
      if (performance.now() > limit) throw new Error(`${what}: not in time`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };

  const content = new Uint8Array(3 * MiB);
  for (let start = 0; start < content.length; start += 65_536) {
    if ((start / 65_536) % 3 !== 1) crypto.getRandomValues(content.subarray(start, start + 65_536));
  }
  await Deno.writeFile(at("disk.raw"), content);
  const convert = (format: string, to: string) =>
    qemuImg("convert", "-f", "raw", "-O", format, at("disk.raw"), at(to));
  await convert("qcow2", "disk.qcow2");
  await convert("vpc", "disk.vhd");
  await convert("vmdk", "disk.vmdk");
  await s3.send(new CreateBucketCommand({ Bucket: "disks" }));
  const give = async (Key: string, file: string) =>
    await s3.send(
      new PutObjectCommand({ Bucket: "disks", Key, Body: await Deno.readFile(at(file)) }),
    );
  const UserBucket = (S3Key: string) => ({ S3Bucket: "disks", S3Key });
  const snapshotTask = async (id: string | undefined) =>
    (await ec2.send(
      new Ec2.DescribeImportSnapshotTasksCommand({ ImportTaskIds: [id ?? ""] }),
    )).ImportSnapshotTasks?.[0]?.SnapshotTaskDetail;
  const endOf = async (id: string | undefined) => {
    await until(`${id}`, async () => (await snapshotTask(id))?.Status !== "active");
    return await snapshotTask(id);
  };

  let imageId = "";
  await t.step("ImportImage, of a key with dots and blanks in it", async () => {
    const Key = "a/../b c/disk.qcow2";
    await give(Key, "disk.qcow2");
    const request = {
      Description: "mine",
      DiskContainers: [{ Format: "QCOW2", UserBucket: UserBucket(Key) }],
      ClientToken: "import-1",
      TagSpecifications: [{
        ResourceType: "import-image-task" as const,
        Tags: [{ Key: "team", Value: "blue" }],
      }],
    };
    const task = await ec2.send(new Ec2.ImportImageCommand(request));
    assert.match(task.ImportTaskId ?? "", /^import-ami-[0-9a-f]{17}$/);
    assert.equal(task.Status, "active");
    const again = await ec2.send(new Ec2.ImportImageCommand(request));
    assert.equal(again.ImportTaskId, task.ImportTaskId);
    const shown = async () =>
      (await ec2.send(
        new Ec2.DescribeImportImageTasksCommand({
          Filters: [{ Name: "tag:team", Values: ["blue"] }],
        }),
      )).ImportImageTasks?.[0];
    await until("the import", async () => (await shown())?.Status !== "active");
    const done = await shown();
    assert.equal(done?.Status, "completed", done?.StatusMessage);
    imageId = done?.ImageId ?? "";
    const { Images: [image] = [] } = await ec2.send(
      new Ec2.DescribeImagesCommand({ ImageIds: [imageId] }),
    );
    assert.deepEqual([image?.State, image?.Name, image?.Public, image?.Description], [
      "available",
      task.ImportTaskId,
      false,
      "mine",
    ]);
    assert.equal(
      image?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId,
      done?.SnapshotDetails?.[0]?.SnapshotId,
    );
  });

  // RAW is as large as the volume, a GiB at least; what differs is a word of qemu-img's.
  for (const [Format, extension] of [["VMDK", "vmdk"], ["VHD", "vhd"]] as const) {
    await t.step(`ExportImage as ${Format} is the same disk`, async () => {
      const task = await ec2.send(
        new Ec2.ExportImageCommand({
          ImageId: imageId,
          DiskImageFormat: Format,
          S3ExportLocation: { S3Bucket: "disks", S3Prefix: "out/" },
        }),
      );
      const id = task.ExportImageTaskId ?? "";
      const shown = async () =>
        (await ec2.send(
          new Ec2.DescribeExportImageTasksCommand({ ExportImageTaskIds: [id] }),
        )).ExportImageTasks?.[0];
      await until("the export", async () => (await shown())?.Status !== "active");
      assert.equal((await shown())?.Status, "completed", (await shown())?.StatusMessage);
      const object = await s3.send(
        new GetObjectCommand({ Bucket: "disks", Key: `out/${id}.${extension}` }),
      );
      await Deno.writeFile(
        at("back"),
        await object.Body?.transformToByteArray() ?? new Uint8Array(),
      );
      const format = Format === "VHD" ? "vpc" : extension;
      await qemuImg("convert", "-f", format, "-O", "raw", at("back"), at("back.raw"));
      using file = await Deno.open(at("back.raw"));
      assert.equal((await file.stat()).size, 2 ** 30);
      const back = new Uint8Array(8 * MiB);
      for (let held = 0; held < back.length;) {
        held += await file.read(back.subarray(held)) ?? back.length;
      }
      assert.deepEqual(back.subarray(0, content.length), content);
      assert.ok(back.subarray(content.length).every((byte) => byte === 0));
    });
  }

  let encrypted: string | undefined;
  await t.step("ImportSnapshot, of each format", async () => {
    for (const [Format, file] of [["VHD", "disk.vhd"], ["vmdk", "disk.vmdk"]] as const) {
      await give(file, file);
      const { ImportTaskId, SnapshotTaskDetail } = await ec2.send(
        new Ec2.ImportSnapshotCommand({
          DiskContainer: { Format, UserBucket: UserBucket(file) },
          Encrypted: Format === "vmdk",
          RoleName: "vmimport",
        }),
      );
      assert.equal(SnapshotTaskDetail?.Status, "active");
      const done = await endOf(ImportTaskId);
      assert.equal(done?.Status, "completed", done?.StatusMessage);
      const { Snapshots: [snapshot] = [] } = await ec2.send(
        new Ec2.DescribeSnapshotsCommand({ SnapshotIds: [done?.SnapshotId ?? ""] }),
      );
      assert.deepEqual([snapshot?.State, snapshot?.VolumeSize], ["completed", 1]);
      assert.deepEqual(
        [snapshot?.Encrypted, done?.Encrypted, snapshot?.KmsKeyId],
        [Format === "vmdk", Format === "vmdk", done?.KmsKeyId],
      );
      if (snapshot?.Encrypted === true) encrypted = snapshot.SnapshotId;
    }
    assert.ok(encrypted !== undefined);
  });

  await t.step(
    "what is removed for a caller is gone, in a bucket with versions too, and uploads that a dead process began",
    async () => {
      using door = new DelegatedObjects(cloud.node.paths.s3Delegate);
      const who = {
        account_id: cloud.admin.account_id,
        principal_arn: `arn:aws:iam::${cloud.admin.account_id}:root`,
        access_key_id: cloud.admin.access_key_id,
      };
      await s3.send(new CreateBucketCommand({ Bucket: "versions" }));
      await s3.send(
        new PutBucketVersioningCommand({
          Bucket: "versions",
          VersioningConfiguration: { Status: "Enabled" },
        }),
      );
      for (const bucket of ["disks", "versions"]) {
        const place = { bucket, key: "a b/export.raw" };
        const { signal } = new AbortController();
        // One of a process that died in the middle, and one of somebody else's object.
        const begin = (Key: string) =>
          s3.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }));
        const begun = async () => {
          const { Uploads = [] } = await s3.send(
            new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: "a b/" }),
          );
          return Uploads.map(({ Key }) => Key);
        };
        await begin(place.key);
        await begin(`${place.key}.another`);
        // Who did not hear that it was written does it once more.
        for (let count = 0; count < 2; count++) {
          await door.upload(who, place, at("disk.raw"), () => {}, signal);
        }
        assert.equal(await door.size(who, place, signal), content.length);
        assert.deepEqual(await begun(), [`${place.key}.another`]);
        await begin(place.key);
        await door.remove(who, place, signal);
        assert.deepEqual(await begun(), [`${place.key}.another`]);
        const { Versions, DeleteMarkers } = await s3.send(
          new ListObjectVersionsCommand({ Bucket: bucket, Prefix: "a b/" }),
        );
        assert.deepEqual([Versions ?? [], DeleteMarkers ?? []], [[], []]);
        // It may not be there any more.
        await door.remove(who, place, signal);
      }
    },
  );

  await t.step("hive usage tells of what was brought, by account and tag", async () => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", new URL("../../tasks/hive.ts", import.meta.url).pathname],
        ...["usage", "--by", "tag:team", "--json", "--data-dir", cloud.node.config.data_dir],
      ],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const [row] = JSON.parse(new TextDecoder().decode(stdout));
    assert.equal(row.account_id, cloud.admin.account_id);
    assert.ok(row.s3_bytes > content.length && row.snapshot_bytes > MiB, JSON.stringify(row));
    assert.equal(row.snapshots, 3);
  });

  await t.step("an image of an encrypted snapshot is encrypted without a word", async () => {
    const { ImportTaskId } = await ec2.send(
      new Ec2.ImportImageCommand({ DiskContainers: [{ SnapshotId: encrypted }] }),
    );
    let task: Ec2.ImportImageTask | undefined;
    await until("the image", async () => {
      const asked = new Ec2.DescribeImportImageTasksCommand({
        ImportTaskIds: [ImportTaskId ?? ""],
      });
      [task] = (await ec2.send(asked)).ImportImageTasks ?? [];
      return task?.Status !== "active";
    });
    assert.deepEqual([task?.Status, task?.Encrypted], ["completed", true], task?.StatusMessage);
    const { Images: [image] = [] } = await ec2.send(
      new Ec2.DescribeImagesCommand({ ImageIds: [task?.ImageId ?? ""] }),
    );
    assert.equal(image?.BlockDeviceMappings?.[0]?.Ebs?.Encrypted, true);
  });

  await t.step("a file that is no such disk ends its task, and leaves nothing", async () => {
    await give("bad", "disk.raw");
    const { ImportTaskId } = await ec2.send(
      new Ec2.ImportSnapshotCommand({
        DiskContainer: { Format: "VMDK", Url: "s3://disks/bad" },
      }),
    );
    const done = await endOf(ImportTaskId);
    assert.equal(done?.Status, "deleted");
    assert.match(done?.StatusMessage ?? "", /^ClientError: .*is raw, and not vmdk/);
    assert.equal(done?.SnapshotId, undefined);
  });

  await t.step(
    "the caller's own policies decide what is read, and tasks are cancelled",
    async () => {
      await iam.send(new Iam.CreateUserCommand({ UserName: "importer" }));
      await iam.send(
        new Iam.PutUserPolicyCommand({
          UserName: "importer",
          PolicyName: "ec2",
          PolicyDocument: JSON.stringify({
            Version: "2012-10-17",
            Statement: [{ Effect: "Allow", Action: "ec2:*", Resource: "*" }],
          }),
        }),
      );
      const { AccessKey: key } = await iam.send(
        new Iam.CreateAccessKeyCommand({ UserName: "importer" }),
      );
      const theirs = new Ec2.EC2Client(cloud.settings({
        access_key_id: key?.AccessKeyId ?? "",
        secret_access_key: key?.SecretAccessKey ?? "",
      }));
      stack.defer(() => theirs.destroy());
      const DiskContainer = { Format: "VMDK", UserBucket: UserBucket("disk.vmdk") };
      await assert.rejects(theirs.send(new Ec2.ImportSnapshotCommand({ DiskContainer })), {
        name: "InvalidParameter",
      });
      await assert.rejects(
        theirs.send(
          new Ec2.ExportImageCommand({
            ImageId: imageId,
            DiskImageFormat: "RAW",
            S3ExportLocation: { S3Bucket: "disks" },
          }),
        ),
        { name: "InvalidParameter" },
      );
      // The second waits for the first, so that it is there to be cancelled.
      const tasks = [];
      for (let count = 0; count < 3; count++) {
        tasks.push(await ec2.send(new Ec2.ImportSnapshotCommand({ DiskContainer })));
      }
      const last = tasks.at(-1)?.ImportTaskId ?? "";
      const answer = await ec2.send(new Ec2.CancelImportTaskCommand({ ImportTaskId: last }));
      assert.deepEqual([answer.ImportTaskId, answer.PreviousState], [last, "active"]);
      const exporting = await ec2.send(
        new Ec2.ExportImageCommand({
          ImageId: imageId,
          DiskImageFormat: "RAW",
          S3ExportLocation: { S3Bucket: "disks" },
        }),
      );
      await ec2.send(
        new Ec2.CancelExportTaskCommand({ ExportTaskId: exporting.ExportImageTaskId ?? "" }),
      );
      await until("its end", async () => (await snapshotTask(last))?.Status === "deleted");
    },
  );
});
