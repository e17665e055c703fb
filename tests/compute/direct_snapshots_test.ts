/** The EBS direct APIs as the official SDK meets them: over HTTPS, with the real block engine behind. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as Ebs from "@aws-sdk/client-ebs";
import * as Ec2 from "@aws-sdk/client-ec2";
import { createAccount } from "../../services/identity/contract.ts";
import { startEc2Cloud } from "../kit/ec2_cloud.ts";

const blockBytes = 524_288;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const blockOf = (fill: number) => new Uint8Array(blockBytes).fill(fill);

const failed = (name: string, status?: number, reason?: string) => (error: unknown) => {
  assert.ok(error instanceof Error);
  assert.equal(error.name, name, String(error));
  const { $metadata, Reason } = error as {
    $metadata?: { httpStatusCode?: number };
    Reason?: string;
  };
  if (reason !== undefined) assert.equal(Reason, reason, String(error));
  if (status !== undefined) assert.equal($metadata?.httpStatusCode, status);
  return true;
};

Deno.test("a snapshot is written, sealed, listed, compared and read through the SDK, checksums held", async () => {
  await using cloud = await startEc2Cloud();
  const { node, settings } = cloud;
  const operator = await node.bus("operator");
  const tenant = await operator.ask(createAccount, { name: "tenant" });
  const ebs = new Ebs.EBSClient(settings());
  const ec2 = new Ec2.EC2Client(settings());
  const other = new Ebs.EBSClient(settings(tenant));
  const put = (SnapshotId: string, BlockIndex: number, bytes: Uint8Array, checksum?: string) =>
    ebs.send(
      new Ebs.PutSnapshotBlockCommand({
        SnapshotId,
        BlockIndex,
        BlockData: bytes,
        DataLength: blockBytes,
        Checksum: checksum ?? sha256(bytes).toString("base64"),
        ChecksumAlgorithm: "SHA256",
      }),
    );

  const ask = { VolumeSize: 1, Description: "made", ClientToken: "once" };
  const started = await ebs.send(
    new Ebs.StartSnapshotCommand({ ...ask, Tags: [{ Key: "team", Value: "blue" }] }),
  );
  const first = started.SnapshotId ?? "";
  assert.deepEqual([started.Status, started.BlockSize, started.VolumeSize], [
    "pending",
    blockBytes,
    1,
  ]);
  const again = await ebs.send(
    new Ebs.StartSnapshotCommand({ ...ask, Tags: [{ Key: "team", Value: "blue" }] }),
  );
  assert.equal(again.SnapshotId, first);
  await assert.rejects(
    ebs.send(new Ebs.StartSnapshotCommand({ ...ask, VolumeSize: 2 })),
    failed("ConflictException", 409),
  );
  assert.equal(started.$metadata.httpStatusCode, 201);
  const written = await put(first, 3, blockOf(7));
  assert.equal(written.$metadata.httpStatusCode, 201);
  assert.equal(written.Checksum, sha256(blockOf(7)).toString("base64"));
  await put(first, 2047, blockOf(8));

  // What is wrong is refused, and nothing of it is kept.
  await assert.rejects(
    put(first, 0, blockOf(1), "AAAA"),
    failed("ValidationException", 400, "INVALID_BLOCK"),
  );
  await assert.rejects(
    put(first, 2048, blockOf(1)),
    failed("ValidationException", 400, "INVALID_BLOCK"),
  );
  await assert.rejects(
    put("snap-0123456789abcdef0", 0, blockOf(1)),
    failed("ResourceNotFoundException", 404, "SNAPSHOT_NOT_FOUND"),
  );
  await assert.rejects(
    put("snap-zz", 0, blockOf(1)),
    failed("ValidationException", 400, "INVALID_SNAPSHOT_ID"),
  );
  await assert.rejects(
    ebs.send(new Ebs.StartSnapshotCommand({ VolumeSize: 65_537 })),
    failed("ValidationException", 400, "INVALID_VOLUME_SIZE"),
  );
  await assert.rejects(
    ebs.send(
      new Ebs.StartSnapshotCommand({ VolumeSize: 1, Tags: [{ Key: "aws:x", Value: "y" }] }),
    ),
    failed("ValidationException", 400, "INVALID_TAG"),
  );
  await assert.rejects(
    ebs.send(
      new Ebs.StartSnapshotCommand({
        VolumeSize: 1,
        Encrypted: true,
        KmsKeyArn: "arn:aws:kms:us-east-1:123456789012:key/none",
      }),
    ),
    failed("ValidationException", 400, "INVALID_CUSTOMER_KEY"),
  );
  await assert.rejects(
    ebs.send(new Ebs.ListSnapshotBlocksCommand({ SnapshotId: first })),
    failed("ValidationException"),
  );
  const complete = (SnapshotId: string, ChangedBlocksCount: number, Checksum?: string) =>
    ebs.send(
      new Ebs.CompleteSnapshotCommand({
        SnapshotId,
        ChangedBlocksCount,
        ...(Checksum === undefined ? {} : {
          Checksum,
          ChecksumAlgorithm: "SHA256",
          ChecksumAggregationMethod: "LINEAR",
        }),
      }),
    );
  await assert.rejects(complete(first, 3), failed("ValidationException"));
  await assert.rejects(complete(first, 2, "AAAA"), failed("ValidationException"));
  const all = sha256(new Uint8Array([...sha256(blockOf(7)), ...sha256(blockOf(8))]));
  const completed = await complete(first, 2, all.toString("base64"));
  assert.deepEqual([completed.Status, completed.$metadata.httpStatusCode], ["completed", 202]);
  const described = await ec2.send(new Ec2.DescribeSnapshotsCommand({ SnapshotIds: [first] }));
  assert.equal(described.Snapshots?.[0]?.State, "completed");
  assert.deepEqual(described.Snapshots?.[0]?.Tags, [{ Key: "team", Value: "blue" }]);

  const listed = await ebs.send(new Ebs.ListSnapshotBlocksCommand({ SnapshotId: first }));
  assert.deepEqual(listed.Blocks?.map((block) => block.BlockIndex), [3, 2047]);
  assert.ok((listed.ExpiryTime?.getTime() ?? 0) > Date.now());
  const [block] = listed.Blocks ?? [];
  const read = await ebs.send(
    new Ebs.GetSnapshotBlockCommand({
      SnapshotId: first,
      BlockIndex: block?.BlockIndex,
      BlockToken: block?.BlockToken,
    }),
  );
  const bytes = await read.BlockData?.transformToByteArray() ?? new Uint8Array();
  assert.deepEqual(sha256(bytes), sha256(blockOf(7)));
  assert.equal(read.Checksum, sha256(blockOf(7)).toString("base64"));
  await assert.rejects(
    ebs.send(
      new Ebs.GetSnapshotBlockCommand({
        SnapshotId: first,
        BlockIndex: 4,
        BlockToken: block?.BlockToken,
      }),
    ),
    failed("ValidationException", 400, "INVALID_BLOCK_TOKEN"),
  );
  await assert.rejects(
    ebs.send(new Ebs.ListSnapshotBlocksCommand({ SnapshotId: first, NextToken: "mine" })),
    failed("ValidationException", 400, "INVALID_PAGE_TOKEN"),
  );

  const next = await ebs.send(
    new Ebs.StartSnapshotCommand({ VolumeSize: 1, ParentSnapshotId: first }),
  );
  const second = next.SnapshotId ?? "";
  await put(second, 3, blockOf(9));
  await put(second, 5, blockOf(10));
  await complete(second, 2);
  const changed = await ebs.send(
    new Ebs.ListChangedBlocksCommand({ FirstSnapshotId: first, SecondSnapshotId: second }),
  );
  assert.deepEqual(
    changed.ChangedBlocks?.map((one) => [one.BlockIndex, one.FirstBlockToken !== undefined]),
    [[3, true], [5, false]],
  );

  // Nothing of it is another tenant's to see.
  for (
    const command of [
      new Ebs.ListSnapshotBlocksCommand({ SnapshotId: first }),
      new Ebs.CompleteSnapshotCommand({ SnapshotId: first, ChangedBlocksCount: 0 }),
    ]
  ) {
    await assert.rejects(
      other.send(command as Ebs.ListSnapshotBlocksCommand),
      failed("ResourceNotFoundException", 404),
    );
  }
  // A volume of it is made as of any other.
  const volume = await ec2.send(
    new Ec2.CreateVolumeCommand({ AvailabilityZone: node.config.az, SnapshotId: second }),
  );
  assert.equal(volume.SnapshotId, second);
});

Deno.test("whether a written snapshot is encrypted follows from its parent, the request and the account", async () => {
  await using cloud = await startEc2Cloud();
  const ebs = new Ebs.EBSClient(cloud.settings());
  const ec2 = new Ec2.EC2Client(cloud.settings());
  const key = (await ec2.send(new Ec2.GetEbsDefaultKmsKeyIdCommand({}))).KmsKeyId ?? "";
  const start = async (input: Partial<Ebs.StartSnapshotCommandInput>) => {
    const { SnapshotId = "", KmsKeyArn } = await ebs.send(
      new Ebs.StartSnapshotCommand({ VolumeSize: 1, ...input }),
    );
    return { SnapshotId, encrypted: KmsKeyArn !== undefined };
  };
  const parent = async (Encrypted?: boolean) => {
    const { SnapshotId } = await start(Encrypted === undefined ? {} : { Encrypted });
    await ebs.send(new Ebs.CompleteSnapshotCommand({ SnapshotId, ChangedBlocksCount: 0 }));
    return SnapshotId;
  };
  const parents = { plain: await parent(), encrypted: await parent(true) };
  const outcomes = async (ParentSnapshotId: string | undefined) => {
    const found: Record<string, string> = {};
    for (const Encrypted of [undefined, true, false]) {
      for (const KmsKeyArn of [undefined, key]) {
        const name = `${Encrypted ?? "unsaid"}${KmsKeyArn === undefined ? "" : " with a key"}`;
        found[name] = await start({
          ...(ParentSnapshotId === undefined ? {} : { ParentSnapshotId }),
          ...(Encrypted === undefined ? {} : { Encrypted }),
          ...(KmsKeyArn === undefined ? {} : { KmsKeyArn }),
        }).then(
          ({ encrypted }) => encrypted ? "encrypted" : "plain",
          (error) => failed("ValidationException", 400)(error) ? "refused" : "",
        );
      }
    }
    return found;
  };
  const refused = {
    "unsaid with a key": "refused",
    "true": "refused",
    "true with a key": "refused",
    "false": "refused",
    "false with a key": "refused",
  };
  const alone = {
    "unsaid": "plain",
    "unsaid with a key": "encrypted",
    "true": "encrypted",
    "true with a key": "encrypted",
    "false": "plain",
    "false with a key": "refused",
  };
  assert.deepEqual(await outcomes(undefined), alone);
  assert.deepEqual(await outcomes(parents.plain), { "unsaid": "plain", ...refused });
  assert.deepEqual(await outcomes(parents.encrypted), { "unsaid": "encrypted", ...refused });

  await ec2.send(new Ec2.EnableEbsEncryptionByDefaultCommand({}));
  const before =
    (await ec2.send(new Ec2.DescribeSnapshotsCommand({ OwnerIds: ["self"] }))).Snapshots;
  assert.deepEqual(await outcomes(parents.plain), { "unsaid": "refused", ...refused });
  const after =
    (await ec2.send(new Ec2.DescribeSnapshotsCommand({ OwnerIds: ["self"] }))).Snapshots;
  assert.equal(after?.length, before?.length);
  assert.deepEqual(await outcomes(undefined), {
    ...alone,
    "unsaid": "encrypted",
    "false": "refused",
  });
  assert.deepEqual(await outcomes(parents.encrypted), { "unsaid": "encrypted", ...refused });
});
