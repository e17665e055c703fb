/** Bucket policies with the real identity: they let others in, keep one's own out, and deny above all. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as Iam from "@aws-sdk/client-iam";
import * as S3 from "@aws-sdk/client-s3";
import { adminCredentials, createAccount } from "../../services/identity/contract.ts";
import { startNode } from "../kit/node.ts";
import { keptAlive, refused, textOf } from "./steps.ts";

Deno.test({
  name: "bucket policies are weighed by identity with what callers may themselves",
  ...keptAlive,
  fn: async () => {
    await using node = await startNode();
    for (const name of ["identity", "predastore", "gateway"] as const) {
      await (await node.start(name)).healthy();
    }
    const operator = await node.bus("operator");
    const admin = await operator.ask(adminCredentials, null);
    const tenant = await operator.ask(createAccount, { name: "tenant" });
    const httpsAgent = new Agent({ ca: await Deno.readTextFile(node.paths.tls.ca) });
    const settings = (accessKeyId: string, secretAccessKey: string) => ({
      region: node.config.region,
      endpoint: node.endpoint,
      credentials: { accessKeyId, secretAccessKey },
      maxAttempts: 1,
      requestHandler: { httpsAgent },
    });
    const s3Of = (accessKeyId: string, secret: string) =>
      new S3.S3Client({
        ...settings(accessKeyId, secret),
        endpoint: `https://localhost:${node.config.ports.s3}`,
        forcePathStyle: true,
      });
    const boss = s3Of(admin.access_key_id, admin.secret_access_key);
    const other = s3Of(tenant.access_key_id, tenant.secret_access_key);
    const iam = new Iam.IAMClient(settings(admin.access_key_id, admin.secret_access_key));
    await iam.send(new Iam.CreateUserCommand({ UserName: "ada" }));
    const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName: "ada" }));
    const ada = s3Of(AccessKey?.AccessKeyId ?? "", AccessKey?.SecretAccessKey ?? "");

    const Bucket = "policies";
    await boss.send(new S3.CreateBucketCommand({ Bucket }));
    for (const Key of ["open/a", "closed/a"]) {
      await boss.send(new S3.PutObjectCommand({ Bucket, Key, Body: Key }));
    }
    const setPolicy = (...Statement: object[]) =>
      boss.send(
        new S3.PutBucketPolicyCommand({
          Bucket,
          Policy: JSON.stringify({ Version: "2012-10-17", Statement }),
        }),
      );
    const resource = `arn:aws:s3:::${Bucket}`;

    // Nobody but the owner's administrator.
    await refused(textOf(ada, Bucket, "open/a"), "AccessDenied", 403);
    await refused(textOf(other, Bucket, "open/a"), "AccessDenied", 403);

    await setPolicy({
      Effect: "Allow",
      Principal: {
        AWS: [
          `arn:aws:iam::${admin.account_id}:user/ada`,
          `arn:aws:iam::${tenant.account_id}:root`,
        ],
      },
      Action: ["s3:GetObject", "s3:PutObject"],
      Resource: `${resource}/open/*`,
    });
    for (const client of [ada, other]) {
      assert.equal(await textOf(client, Bucket, "open/a"), "open/a");
      await client.send(new S3.PutObjectCommand({ Bucket, Key: "open/b", Body: "theirs" }));
      await refused(textOf(client, Bucket, "closed/a"), "AccessDenied", 403);
      await refused(client.send(new S3.ListObjectsV2Command({ Bucket })), "AccessDenied", 403);
    }
    // What is copied and where to have owners of their own.
    await other.send(new S3.CreateBucketCommand({ Bucket: "theirs" }));
    const copy = (to: string, from: string) =>
      other.send(
        new S3.CopyObjectCommand({
          ...{ Bucket: "theirs", Key: "copy", CopySource: `${Bucket}/open/a` },
          ...{ ExpectedBucketOwner: to, ExpectedSourceBucketOwner: from },
        }),
      );
    await refused(copy(tenant.account_id, tenant.account_id), "AccessDenied", 403);
    await refused(copy(admin.account_id, admin.account_id), "AccessDenied", 403);
    await copy(tenant.account_id, admin.account_id);
    assert.equal(await textOf(other, "theirs", "copy"), "open/a");
    assert.equal(await textOf(boss, Bucket, "open/b"), "theirs");

    // A denial wins over everything, also over what an administrator may.
    await setPolicy({
      Effect: "Deny",
      Principal: "*",
      Action: "s3:DeleteObject",
      Resource: `${resource}/*`,
    });
    await refused(textOf(ada, Bucket, "open/a"), "AccessDenied", 403);
    await refused(
      boss.send(new S3.DeleteObjectCommand({ Bucket, Key: "open/a" })),
      "AccessDenied",
      403,
    );
    assert.equal(await textOf(boss, Bucket, "closed/a"), "closed/a");
    await boss.send(new S3.DeleteBucketPolicyCommand({ Bucket }));
    await boss.send(new S3.DeleteObjectCommand({ Bucket, Key: "open/a" }));
    for (const client of [boss, other, ada, iam]) client.destroy();
    httpsAgent.destroy();
  },
});
