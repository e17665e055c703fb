/** Bucket policies with the real identity: they let others in, keep one's own out, and deny above all. */
import assert from "node:assert/strict";
import * as S3 from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { createAccount } from "../../services/identity/contract.ts";
import { systemBuckets } from "../../services/predastore/contract.ts";
import { startNode } from "../kit/node.ts";
import { bucketUsers } from "./bucket_users.ts";
import { answered } from "./answered.ts";
import { keptAlive, refused, textOf } from "./steps.ts";

Deno.test({
  name: "bucket policies are weighed by identity with what callers may themselves",
  ...keptAlive,
  fn: async (t) => {
    await using node = await startNode();
    const { operator, admin, httpsAgent, s3Of, boss, iam, ada } = await bucketUsers(node);
    const tenant = await operator.ask(createAccount, { name: "tenant" });
    const other = s3Of(tenant.access_key_id, tenant.secret_access_key);

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

    const client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(node.paths.tls.ca)] });
    /** Without a signature, at the store's own port or the gateway's. */
    const anybody = async (
      path: string,
      init: RequestInit = {},
      port: number = node.config.ports.s3,
    ) => {
      const reply = await fetch(`https://localhost:${port}${path}`, { ...init, client });
      return { status: reply.status, text: await reply.text() };
    };
    const block = (restrict: boolean) =>
      boss.send(
        new S3.PutPublicAccessBlockCommand({
          Bucket,
          PublicAccessBlockConfiguration: {
            ...{ BlockPublicAcls: true, IgnorePublicAcls: true },
            ...{ BlockPublicPolicy: false, RestrictPublicBuckets: restrict },
          },
        }),
      );
    const open = {
      Effect: "Allow",
      Principal: "*",
      Action: ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
      Resource: `${resource}/open/*`,
    };

    await t.step("anonymous requests may what a public policy says, and nothing else", async () => {
      await boss.send(new S3.PutObjectCommand({ Bucket, Key: "open/a", Body: "for all" }));
      assert.equal((await anybody(`/${Bucket}/open/a`)).status, 403);
      await block(false);
      await setPolicy(open);
      const gateway = Number(new URL(node.endpoint).port);
      for (const port of [node.config.ports.s3, gateway]) {
        assert.deepEqual(await anybody(`/${Bucket}/open/a`, {}, port), {
          status: 200,
          text: "for all",
        });
      }
      const put = await anybody(`/${Bucket}/open/theirs`, { method: "PUT", body: "anybody's" });
      assert.equal(put.status, 200, put.text);
      assert.equal(await textOf(boss, Bucket, "open/theirs"), "anybody's");
      const form = new FormData();
      form.set("key", "open/form");
      form.set("file", new Blob(["posted"]));
      assert.equal((await anybody(`/${Bucket}`, { method: "POST", body: form })).status, 204);
      for (
        const [path, init, status, code] of [
          [`/${Bucket}/closed/a`, {}, 403, "AccessDenied"],
          // Nobody who may not list learns what there is.
          [`/${Bucket}/open/none`, {}, 403, "AccessDenied"],
          [`/${Bucket}`, {}, 403, "AccessDenied"],
          ["/", {}, 403, "AccessDenied"],
          ["/no-such-bucket/a", {}, 404, "NoSuchBucket"],
          ["/new-bucket", { method: "PUT" }, 403, "AccessDenied"],
          [`/${Bucket}?policy`, {}, 403, "AccessDenied"],
          [`/${Bucket}/open/a?response-expires=x`, {}, 400, "InvalidRequest"],
          [`/${Bucket}/closed/b`, { method: "PUT", body: "x" }, 403, "AccessDenied"],
          [`/${Object.values(systemBuckets)[0]}/a`, {}, 403, "AccessDenied"],
        ] as const
      ) {
        const refusal = await anybody(path, init);
        assert.equal(refusal.status, status, path);
        // The root is the gateway's own when nothing is signed.
        assert.match(refusal.text, new RegExp(`<Code>${code}</Code>`), path);
      }
      const forged = await anybody(`/${Bucket}/open/a`, {
        headers: { "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" },
      });
      assert.equal(forged.status, 403);
    });

    await t.step(
      "anonymous requests and other accounts are kept out by the public access block",
      async () => {
        assert.equal(await textOf(other, Bucket, "open/a"), "for all");
        await block(true);
        assert.equal((await anybody(`/${Bucket}/open/a`)).status, 403);
        await refused(textOf(other, Bucket, "open/a"), "AccessDenied", 403);
        assert.equal(await textOf(ada, Bucket, "open/a"), "for all");
        await block(false);
        assert.equal((await anybody(`/${Bucket}/open/a`)).status, 200);
      },
    );

    await t.step("bucket policies let other accounts delete many, each key by itself", async () => {
      const { Deleted, Errors } = await other.send(
        new S3.DeleteObjectsCommand({
          Bucket,
          Delete: { Objects: [{ Key: "open/theirs" }, { Key: "closed/a" }] },
        }),
      );
      assert.deepEqual(Deleted?.map(({ Key }) => Key), ["open/theirs"]);
      assert.deepEqual(Errors?.map(({ Key, Code }) => [Key, Code]), [["closed/a", "AccessDenied"]]);
      assert.equal(await textOf(boss, Bucket, "closed/a"), "closed/a");
      await setPolicy({ ...open, Action: "s3:*", Resource: [resource, `${resource}/*`] });
      for (const command of [S3.GetBucketPolicyCommand, S3.DeleteBucketPolicyCommand]) {
        await refused(
          other.send(new command({ Bucket }) as S3.GetBucketPolicyCommand),
          "MethodNotAllowed",
          405,
        );
      }
    });

    await t.step("bucket policies may look at what a request says", async () => {
      const put = (more: Partial<S3.PutObjectCommandInput>) =>
        ada.send(new S3.PutObjectCommand({ Bucket, Key: "open/c", Body: "x", ...more }));
      const unless = (Condition: object) =>
        setPolicy(open, { ...open, Effect: "Deny", Action: "s3:PutObject", Condition });
      await unless({ StringNotEquals: { "s3:x-amz-server-side-encryption": "AES256" } });
      await refused(put({}), "AccessDenied", 403);
      await put({ ServerSideEncryption: "AES256" });
      await unless({ StringNotEquals: { "s3:RequestObjectTag/team": "a b" } });
      await refused(put({ Tagging: "team=b" }), "AccessDenied", 403);
      await unless({ Null: { "s3:if-none-match": "true" } });
      await refused(put({}), "AccessDenied", 403);
      await refused(put({ IfNoneMatch: "*" }), "PreconditionFailed", 412);
      await put({ ServerSideEncryption: "AES256", IfNoneMatch: "*", Key: "open/secret" });
      const tag = (client: S3.S3Client, Value: string) =>
        client.send(
          new S3.PutObjectTaggingCommand({
            ...{ Bucket, Key: "open/a" },
            Tagging: { TagSet: [{ Key: "team", Value }] },
          }),
        );
      await refused(tag(ada, "a"), "AccessDenied", 403);
      await setPolicy({
        ...{ ...open, Action: "s3:PutObjectTagging" },
        Condition: { StringEquals: { "s3:RequestObjectTag/team": "a" } },
      });
      await tag(ada, "a");
      await tag(other, "a");
      await refused(tag(ada, "b"), "AccessDenied", 403);
      await refused(tag(other, "b"), "AccessDenied", 403);
      // What a document says is not another thing for what a header says.
      const claimed = await answered(
        ada,
        new S3.PutObjectTaggingCommand({
          ...{ Bucket, Key: "open/a" },
          Tagging: { TagSet: [{ Key: "other", Value: "b" }] },
        }),
        { "x-amz-tagging": "team=a" },
      );
      assert.equal(claimed.status, 403, claimed.text);
      await boss.send(
        new S3.PutObjectTaggingCommand({
          ...{ Bucket, Key: "open/secret" },
          Tagging: { TagSet: [{ Key: "for", Value: "nobody" }] },
        }),
      );
      const tagged = { StringEquals: { "s3:ExistingObjectTag/for": "nobody" } };
      await setPolicy(open, { ...open, Effect: "Deny", Action: "s3:GetObject", Condition: tagged });
      assert.equal((await anybody(`/${Bucket}/open/a`)).status, 200);
      assert.equal((await anybody(`/${Bucket}/open/secret`)).status, 403);
      await refused(textOf(ada, Bucket, "open/secret"), "AccessDenied", 403);
      const stolen = { Bucket, Key: "open/copy", CopySource: `${Bucket}/open/secret` };
      const copy = (more: Partial<S3.CopyObjectCommandInput> = {}) =>
        ada.send(new S3.CopyObjectCommand({ ...stolen, ...more }));
      await refused(copy(), "AccessDenied", 403);
      // Tags are copied by those who may read and write them.
      const tags = (...Action: string[]) => ({ ...open, Action });
      for (const Action of ["s3:GetObjectTagging", "s3:PutObjectTagging"]) {
        await setPolicy(open, tags(Action));
        await refused(copy(), "AccessDenied", 403);
      }
      await copy({ TaggingDirective: "REPLACE" });
      const both = tags("s3:GetObjectTagging", "s3:PutObjectTagging");
      await setPolicy(open, both);
      await copy();
      const asked = { StringEquals: { "s3:RequestObjectTag/for": "nobody" } };
      await setPolicy(open, both, {
        ...{ ...open, Effect: "Deny", Condition: asked },
        Action: "s3:PutObjectTagging",
      });
      await refused(copy(), "AccessDenied", 403);
      await unless({ Bool: { "aws:SecureTransport": "false" } });
      await put({});
      await unless({ StringLike: { "s3:x-amz-website-redirect-location": "http*" } });
      await put({ WebsiteRedirectLocation: "/here" });
      await refused(put({ WebsiteRedirectLocation: "https://away" }), "AccessDenied", 403);
      const aged = { NumericGreaterThan: { "s3:signatureAge": "600000" } };
      await setPolicy(open, { ...open, Effect: "Deny", Condition: aged });
      const signedBefore = async (seconds: number) => {
        const url = await getSignedUrl(ada, new S3.GetObjectCommand({ Bucket, Key: "open/a" }), {
          expiresIn: 3600,
          signingDate: new Date(Date.now() - seconds * 1000),
        });
        const reply = await fetch(url, { client });
        await reply.body?.cancel();
        return reply.status;
      };
      assert.equal(await signedBefore(60), 200);
      assert.equal(await signedBefore(660), 403);
      assert.equal(await textOf(ada, Bucket, "open/a"), "for all");
      await setPolicy({ ...open, Condition: { Bool: { "aws:SecureTransport": "true" } } });
      await put({});
      await setPolicy({ ...open, Condition: { StringLike: { "aws:Referer": "https://a/*" } } });
      assert.equal((await anybody(`/${Bucket}/open/a`)).status, 403);
      const from = { headers: { referer: "https://a/page" } };
      assert.equal((await anybody(`/${Bucket}/open/a`, from)).status, 200);
    });

    await t.step("bucket policies may look at the lock that a request asks for", async () => {
      const locked = { Bucket: "locked", Key: "k" };
      await boss.send(
        new S3.CreateBucketCommand({ Bucket: locked.Bucket, ObjectLockEnabledForBucket: true }),
      );
      await boss.send(new S3.PutObjectCommand({ ...locked, Body: "x" }));
      const days = (number: number) => new Date(Date.now() + number * 86_400_000);
      const allow = {
        Effect: "Allow",
        Principal: { AWS: `arn:aws:iam::${admin.account_id}:user/ada` },
        Action: ["s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectLegalHold"],
        Resource: "arn:aws:s3:::locked/*",
      };
      const deny = (Condition: object) => ({ ...allow, Effect: "Deny", Condition });
      await boss.send(
        new S3.PutBucketPolicyCommand({
          Bucket: locked.Bucket,
          Policy: JSON.stringify({
            Version: "2012-10-17",
            Statement: [
              allow,
              deny({ NumericGreaterThan: { "s3:object-lock-remaining-retention-days": "10" } }),
              deny({ StringEquals: { "s3:object-lock-mode": "COMPLIANCE" } }),
              deny({ StringEquals: { "s3:object-lock-legal-hold": "ON" } }),
            ],
          }),
        }),
      );
      const retain = (client: S3.S3Client, number: number, Mode: "GOVERNANCE" | "COMPLIANCE") =>
        client.send(
          new S3.PutObjectRetentionCommand({
            ...locked,
            Retention: { Mode, RetainUntilDate: days(number) },
          }),
        );
      const hold = (Status: "ON" | "OFF") =>
        ada.send(new S3.PutObjectLegalHoldCommand({ ...locked, LegalHold: { Status } }));
      await refused(retain(ada, 11, "GOVERNANCE"), "AccessDenied", 403);
      await refused(retain(ada, 5, "COMPLIANCE"), "AccessDenied", 403);
      await refused(retain(other, 5, "GOVERNANCE"), "AccessDenied", 403);
      const claimed = await answered(
        ada,
        new S3.PutObjectRetentionCommand({
          ...locked,
          Retention: { Mode: "COMPLIANCE", RetainUntilDate: days(5) },
        }),
        { "x-amz-object-lock-mode": "GOVERNANCE" },
      );
      assert.equal(claimed.status, 403, claimed.text);
      await retain(ada, 10, "GOVERNANCE");
      await refused(hold("ON"), "AccessDenied", 403);
      await hold("OFF");
      const put = (number: number) =>
        ada.send(
          new S3.PutObjectCommand({
            ...{ ...locked, Body: "y", ObjectLockMode: "GOVERNANCE" },
            ObjectLockRetainUntilDate: days(number),
          }),
        );
      await refused(put(20), "AccessDenied", 403);
      await put(9);
    });
    client.close();
    for (const client of [boss, other, ada, iam]) client.destroy();
    httpsAgent.destroy();
  },
});
