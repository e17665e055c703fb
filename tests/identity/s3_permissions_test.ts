/** S3 under IAM's policies, with identity, gateway and predastore as their own processes. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as Iam from "@aws-sdk/client-iam";
import * as S3 from "@aws-sdk/client-s3";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startNode } from "../kit/node.ts";

Deno.test("a user reaches in S3 what its policies name, and nothing else, by either port", async () => {
  await using node = await startNode();
  for (const name of ["identity", "predastore", "gateway"] as const) {
    await (await node.start(name)).healthy();
  }
  const admin = await (await node.bus("operator")).ask(adminCredentials, null);
  const ca = await Deno.readTextFile(node.paths.tls.ca);
  const settings = (accessKeyId: string, secretAccessKey: string, endpoint = node.endpoint) => ({
    region: node.config.region,
    endpoint,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
    requestHandler: { httpsAgent: new Agent({ ca }) },
  });
  const own = settings(admin.access_key_id, admin.secret_access_key);
  const iam = new Iam.IAMClient(own);
  const boss = new S3.S3Client({ ...own, forcePathStyle: true });
  const Bucket = "shared";
  await boss.send(new S3.CreateBucketCommand({ Bucket }));
  for (const Key of ["home/ada/a", "home/ada/b", "home/bob/a"]) {
    await boss.send(new S3.PutObjectCommand({ Bucket, Key, Body: Key }));
  }

  const UserName = "ada";
  await iam.send(new Iam.CreateUserCommand({ UserName }));
  const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName }));
  const key = [AccessKey?.AccessKeyId ?? "", AccessKey?.SecretAccessKey ?? ""] as const;
  const straight = `https://localhost:${node.config.ports.s3}`;
  const doors = [settings(...key), settings(...key, straight)].map((options) =>
    new S3.S3Client({ ...options, forcePathStyle: true })
  );
  const denied = { name: "AccessDenied", $metadata: { httpStatusCode: 403 } };
  const refused = (work: Promise<unknown>) =>
    assert.rejects(work, (error: S3.S3ServiceException) => {
      assert.deepEqual(
        { name: error.name, $metadata: { httpStatusCode: error.$metadata.httpStatusCode } },
        denied,
      );
      return true;
    });

  for (const ada of doors) {
    await refused(ada.send(new S3.ListBucketsCommand({})));
    await refused(ada.send(new S3.GetObjectCommand({ Bucket, Key: "home/ada/a" })));
    await refused(ada.send(new S3.PutObjectCommand({ Bucket, Key: "home/ada/c", Body: "x" })));
    await refused(ada.send(new S3.CreateBucketCommand({ Bucket: "of-ada" })));
  }
  await iam.send(
    new Iam.PutUserPolicyCommand({
      UserName,
      PolicyName: "home",
      PolicyDocument: JSON.stringify({
        Version: "2012-10-17",
        Statement: [{
          Effect: "Allow",
          Action: ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
          Resource: "arn:aws:s3:::shared/home/${aws:username}/*",
        }, {
          Effect: "Allow",
          Action: "s3:ListBucket",
          Resource: "arn:aws:s3:::shared",
          Condition: { StringLike: { "s3:prefix": "home/${aws:username}/*" } },
        }, {
          Effect: "Deny",
          Action: "s3:DeleteObject",
          Resource: "arn:aws:s3:::shared/home/ada/b",
        }],
      }),
    }),
  );
  for (const ada of doors) {
    const got = await ada.send(new S3.GetObjectCommand({ Bucket, Key: "home/ada/a" }));
    assert.equal(await got.Body?.transformToString(), "home/ada/a");
    await ada.send(new S3.PutObjectCommand({ Bucket, Key: "home/ada/c", Body: "x" }));
    await refused(ada.send(new S3.GetObjectCommand({ Bucket, Key: "home/bob/a" })));
    await refused(ada.send(new S3.PutObjectCommand({ Bucket, Key: "home/bob/a", Body: "mine" })));
    await refused(
      ada.send(
        new S3.CopyObjectCommand({ Bucket, Key: "home/ada/d", CopySource: "shared/home/bob/a" }),
      ),
    );
    await refused(ada.send(new S3.DeleteObjectCommand({ Bucket, Key: "home/ada/b" })));
    const listed = await ada.send(new S3.ListObjectsV2Command({ Bucket, Prefix: "home/ada/" }));
    assert.equal(listed.KeyCount, 3);
    await refused(ada.send(new S3.ListObjectsV2Command({ Bucket, Prefix: "home/" })));
    await refused(ada.send(new S3.ListObjectsV2Command({ Bucket })));
    const deleted = await ada.send(
      new S3.DeleteObjectsCommand({
        Bucket,
        Delete: { Objects: [{ Key: "home/ada/c" }, { Key: "home/ada/b" }, { Key: "home/bob/a" }] },
      }),
    );
    assert.deepEqual(deleted.Deleted?.map((one) => one.Key), ["home/ada/c"]);
    assert.deepEqual(
      deleted.Errors?.map((one) => [one.Key, one.Code]),
      [["home/ada/b", "AccessDenied"], ["home/bob/a", "AccessDenied"]],
    );
  }
  await iam.send(new Iam.DeleteUserPolicyCommand({ UserName, PolicyName: "home" }));
  for (const ada of doors) {
    await refused(ada.send(new S3.GetObjectCommand({ Bucket, Key: "home/ada/a" })));
  }
  const left = await boss.send(new S3.ListObjectsV2Command({ Bucket }));
  assert.deepEqual(left.Contents?.map((one) => one.Key), [
    "home/ada/a",
    "home/ada/b",
    "home/bob/a",
  ]);
  for (const client of [iam, boss, ...doors]) client.destroy();
});
