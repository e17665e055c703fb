/** What a bucket's owner can set: each is given back as AWS does, acts, and is refused where AWS refuses it. */
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCorsCommand,
  DeleteBucketEncryptionCommand,
  DeleteBucketLifecycleCommand,
  DeleteBucketOwnershipControlsCommand,
  DeleteBucketPolicyCommand,
  DeleteBucketTaggingCommand,
  DeleteObjectTaggingCommand,
  DeletePublicAccessBlockCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketPolicyStatusCommand,
  GetBucketTaggingCommand,
  GetObjectAclCommand,
  GetObjectAttributesCommand,
  GetObjectTaggingCommand,
  GetPublicAccessBlockCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketAclCommand,
  PutBucketCorsCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketPolicyCommand,
  PutBucketTaggingCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  PutPublicAccessBlockCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { keptAlive, refused, textOf, withPredastore } from "./steps.ts";
import { until } from "../kit/until.ts";

const Bucket = "bucket";

Deno.test({
  name: "a bucket's settings are S3's",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "tagging of buckets": async (s3) => {
        await refused(s3.send(new GetBucketTaggingCommand({ Bucket })), "NoSuchTagSet", 404);
        const TagSet = [{ Key: "team", Value: "a b" }, { Key: "é", Value: "" }];
        await s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
        assert.deepEqual((await s3.send(new GetBucketTaggingCommand({ Bucket }))).TagSet, TagSet);
        await refused(
          s3.send(
            new PutBucketTaggingCommand({
              Bucket,
              Tagging: { TagSet: [{ Key: "a", Value: "1" }, { Key: "a", Value: "2" }] },
            }),
          ),
          "InvalidTag",
          400,
        );
        assert.deepEqual((await s3.send(new GetBucketTaggingCommand({ Bucket }))).TagSet, TagSet);
        await s3.send(new DeleteBucketTaggingCommand({ Bucket }));
        await refused(s3.send(new GetBucketTaggingCommand({ Bucket })), "NoSuchTagSet", 404);
      },

      "tagging of objects": async (s3) => {
        const target = { Bucket, Key: "tagged" };
        await s3.send(new PutObjectCommand({ ...target, Body: "x", Tagging: "a=1&b=two%20words" }));
        const tags = async (Key = "tagged") =>
          (await s3.send(new GetObjectTaggingCommand({ Bucket, Key }))).TagSet;
        assert.deepEqual(await tags(), [
          { Key: "a", Value: "1" },
          { Key: "b", Value: "two words" },
        ]);
        assert.equal((await s3.send(new HeadObjectCommand(target))).TagCount, 2);
        await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: "bucket/tagged" }));
        assert.equal((await tags("copy"))?.length, 2);
        await s3.send(
          new PutObjectTaggingCommand({
            ...target,
            Tagging: { TagSet: [{ Key: "c", Value: "3" }] },
          }),
        );
        assert.deepEqual(await tags(), [{ Key: "c", Value: "3" }]);
        assert.equal(await textOf(s3, Bucket, "tagged"), "x");
        const many = Array.from({ length: 11 }, (_, at) => ({ Key: `${at}`, Value: "" }));
        await refused(
          s3.send(new PutObjectTaggingCommand({ ...target, Tagging: { TagSet: many } })),
          "BadRequest",
          400,
        );
        await s3.send(new DeleteObjectTaggingCommand(target));
        assert.deepEqual(await tags(), []);
        await refused(
          s3.send(new GetObjectTaggingCommand({ Bucket, Key: "none" })),
          "NoSuchKey",
          404,
        );
      },

      "CORS: configuration, preflight and the headers of answers": async (s3, test) => {
        await refused(
          s3.send(new GetBucketCorsCommand({ Bucket })),
          "NoSuchCORSConfiguration",
          404,
        );
        const client = Deno.createHttpClient({ caCerts: [test.ca] });
        const ask = async (origin: string, method: string, headers = "") => {
          const reply = await fetch(`${test.endpoint}/bucket/tagged`, {
            method: "OPTIONS",
            client,
            headers: {
              origin,
              "access-control-request-method": method,
              ...(headers === "" ? {} : { "access-control-request-headers": headers }),
            },
          });
          await reply.body?.cancel();
          return reply;
        };
        assert.equal((await ask("https://app.example.com", "GET")).status, 403);
        const CORSRules = [{
          ID: "app",
          AllowedMethods: ["GET", "PUT"],
          AllowedOrigins: ["https://*.example.com"],
          AllowedHeaders: ["x-amz-*", "content-type"],
          ExposeHeaders: ["ETag"],
          MaxAgeSeconds: 300,
        }];
        await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
        assert.deepEqual(
          (await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules,
          CORSRules,
        );
        const yes = await ask("https://app.example.com", "PUT", "X-Amz-Date, content-type");
        assert.equal(yes.status, 200);
        assert.equal(yes.headers.get("access-control-allow-origin"), "https://app.example.com");
        assert.equal(yes.headers.get("access-control-max-age"), "300");
        assert.equal(yes.headers.get("access-control-allow-headers"), "x-amz-date, content-type");
        for (
          const [origin, method, headers] of [
            ["https://evil.example.org", "GET", ""],
            ["https://app.example.com", "DELETE", ""],
            ["https://app.example.com", "GET", "authorization"],
          ] as const
        ) assert.equal((await ask(origin, method, headers)).status, 403);
        const answer = await fetch(`${test.endpoint}/bucket/tagged`, {
          client,
          headers: { origin: "https://app.example.com" },
        });
        await answer.body?.cancel();
        assert.equal(answer.status, 403);
        assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.example.com");
        client.close();
        await refused(
          s3.send(
            new PutBucketCorsCommand({
              Bucket,
              CORSConfiguration: {
                CORSRules: [{ AllowedMethods: ["PATCH"], AllowedOrigins: ["*"] }],
              },
            }),
          ),
          "InvalidRequest",
          400,
        );
        await s3.send(new DeleteBucketCorsCommand({ Bucket }));
      },

      "bucket policy: kept, checked, and public ones blocked": async (s3) => {
        const get = () => s3.send(new GetBucketPolicyCommand({ Bucket }));
        await refused(get(), "NoSuchBucketPolicy", 404);
        const policy = (statement: object) =>
          JSON.stringify({
            Version: "2012-10-17",
            Statement: [{
              Effect: "Allow",
              Principal: { AWS: "arn:aws:iam::210987654321:root" },
              Action: "s3:GetObject",
              Resource: "arn:aws:s3:::bucket/*",
              ...statement,
            }],
          });
        const set = (Policy: string) => s3.send(new PutBucketPolicyCommand({ Bucket, Policy }));
        await set(policy({}));
        assert.equal((await get()).Policy, policy({}));
        const status = await s3.send(new GetBucketPolicyStatusCommand({ Bucket }));
        assert.equal(status.PolicyStatus?.IsPublic, false);
        for (
          const bad of [
            "{",
            "[]",
            policy({ Effect: "Maybe" }),
            policy({ Action: "ec2:RunInstances" }),
            policy({ Resource: "arn:aws:s3:::other/*" }),
            policy({ Principal: undefined }),
          ]
        ) await refused(set(bad), "MalformedPolicy", 400);
        await refused(set(policy({ Principal: "*" })), "AccessDenied", 403);
        assert.equal((await get()).Policy, policy({}));
        await s3.send(new DeleteBucketPolicyCommand({ Bucket }));
        await refused(get(), "NoSuchBucketPolicy", 404);
      },

      "public access block and ownership controls begin as AWS's": async (s3) => {
        const blocks = () => s3.send(new GetPublicAccessBlockCommand({ Bucket }));
        const everything = {
          BlockPublicAcls: true,
          IgnorePublicAcls: true,
          BlockPublicPolicy: true,
          RestrictPublicBuckets: true,
        };
        assert.deepEqual((await blocks()).PublicAccessBlockConfiguration, everything);
        const some = { ...everything, BlockPublicPolicy: false };
        await s3.send(
          new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: some }),
        );
        assert.deepEqual((await blocks()).PublicAccessBlockConfiguration, some);
        await s3.send(new DeletePublicAccessBlockCommand({ Bucket }));
        await refused(blocks(), "NoSuchPublicAccessBlockConfiguration", 404);
        const ownership = async () =>
          (await s3.send(new GetBucketOwnershipControlsCommand({ Bucket }))).OwnershipControls
            ?.Rules?.[0]?.ObjectOwnership;
        assert.equal(await ownership(), "BucketOwnerEnforced");
        await s3.send(
          new PutBucketOwnershipControlsCommand({
            Bucket,
            OwnershipControls: { Rules: [{ ObjectOwnership: "ObjectWriter" }] },
          }),
        );
        assert.equal(await ownership(), "ObjectWriter");
        await s3.send(new DeleteBucketOwnershipControlsCommand({ Bucket }));
        await refused(ownership(), "OwnershipControlsNotFoundError", 404);
      },

      "ACLs: the owner has full control, and nothing else can be set": async (s3) => {
        const target = { Bucket, Key: "tagged" };
        for (
          const { Owner, Grants } of [
            await s3.send(new GetBucketAclCommand({ Bucket })),
            await s3.send(new GetObjectAclCommand(target)),
          ]
        ) {
          assert.equal(Grants?.length, 1);
          assert.equal(Grants?.[0]?.Permission, "FULL_CONTROL");
          assert.equal(Grants?.[0]?.Grantee?.ID, Owner?.ID);
          assert.equal(Grants?.[0]?.Grantee?.Type, "CanonicalUser");
        }
        await s3.send(new PutBucketAclCommand({ Bucket, ACL: "private" }));
        await s3.send(
          new PutObjectCommand({ ...target, Body: "x", ACL: "bucket-owner-full-control" }),
        );
        const put = (more: object) =>
          s3.send(new PutObjectCommand({ Bucket: "acls", Key: "a", Body: "x", ...more }));
        await s3.send(new CreateBucketCommand({ Bucket: "acls" }));
        for (const more of [{ ACL: "public-read" }, { GrantRead: `id=${"1".repeat(64)}` }]) {
          await refused(put(more), "AccessControlListNotSupported", 400);
        }
        await refused(put({ ACL: "everybody" }), "InvalidArgument", 400);
        await refused(
          s3.send(new PutBucketAclCommand({ Bucket, ACL: "public-read" })),
          "AccessControlListNotSupported",
          400,
        );
        await refused(
          s3.send(new PutObjectAclCommand({ ...target, ACL: "public-read" })),
          "AccessControlListNotSupported",
          400,
        );
      },

      "encryption: SSE-S3 is what every object has": async (s3, test) => {
        const { ServerSideEncryptionConfiguration } = await s3.send(
          new GetBucketEncryptionCommand({ Bucket }),
        );
        assert.equal(
          ServerSideEncryptionConfiguration?.Rules?.[0]?.ApplyServerSideEncryptionByDefault
            ?.SSEAlgorithm,
          "AES256",
        );
        const Body = "a secret that must not be found on any disk ".repeat(2000);
        const put = await s3.send(new PutObjectCommand({ Bucket, Key: "secret", Body }));
        assert.equal(put.ServerSideEncryption, "AES256");
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "secret" }));
        assert.equal(head.ServerSideEncryption, "AES256");
        assert.equal(head.ContentLength, Body.length);
        assert.equal(await textOf(s3, Bucket, "secret"), Body);
        const folder = `${test.node.config.storage.blobs[0]}/segments`;
        for await (const { name } of Deno.readDir(folder)) {
          const bytes = Buffer.from(await Deno.readFile(`${folder}/${name}`));
          assert.equal(bytes.indexOf("must not be found"), -1);
        }
        await s3.send(
          new PutBucketEncryptionCommand({
            Bucket,
            ServerSideEncryptionConfiguration: {
              Rules: [{
                ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" },
                BucketKeyEnabled: true,
              }],
            },
          }),
        );
        const set = await s3.send(new GetBucketEncryptionCommand({ Bucket }));
        assert.equal(set.ServerSideEncryptionConfiguration?.Rules?.[0]?.BucketKeyEnabled, true);
        await refused(
          s3.send(
            new PutBucketEncryptionCommand({
              Bucket,
              ServerSideEncryptionConfiguration: {
                Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms" } }],
              },
            }),
          ),
          "NotImplemented",
          501,
        );
        await s3.send(new DeleteBucketEncryptionCommand({ Bucket }));
      },

      "GetObjectAttributes tells what is asked for": async (s3) => {
        await s3.send(
          new PutObjectCommand({ Bucket, Key: "sums", Body: "sums", ChecksumAlgorithm: "SHA256" }),
        );
        const all = await s3.send(
          new GetObjectAttributesCommand({
            Bucket,
            Key: "sums",
            ObjectAttributes: ["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"],
          }),
        );
        assert.equal(all.ObjectSize, 4);
        assert.match(all.ETag ?? "", /^[0-9a-f]{32}$/);
        assert.ok(all.Checksum?.ChecksumSHA256);
        assert.equal(all.StorageClass, "STANDARD");
        assert.equal(all.ObjectParts, undefined);
        const one = await s3.send(
          new GetObjectAttributesCommand({ Bucket, Key: "sums", ObjectAttributes: ["ObjectSize"] }),
        );
        assert.equal(one.ETag, undefined);
      },

      "lifecycle: rules come back, and what they say has ended goes": async (s3) => {
        const get = () => s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
        await refused(get(), "NoSuchLifecycleConfiguration", 404);
        for (const Key of ["old/a", "old/b", "young/a"]) {
          await s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
        }
        await s3.send(
          new PutObjectCommand({ Bucket, Key: "old/kept", Body: "x", Tagging: "keep=yes" }),
        );
        const midnight = new Date(Math.floor(Date.now() / 86_400_000) * 86_400_000);
        const Rules = [
          {
            ID: "old",
            Status: "Enabled" as const,
            Filter: { And: { Prefix: "old/", ObjectSizeGreaterThan: 1 } },
            Expiration: { Date: midnight },
          },
          {
            ID: "later",
            Status: "Enabled" as const,
            Filter: { Prefix: "young/" },
            Expiration: { Days: 1 },
            NoncurrentVersionExpiration: { NoncurrentDays: 3, NewerNoncurrentVersions: 2 },
            AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
          },
        ];
        await s3.send(
          new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }),
        );
        assert.deepEqual((await get()).Rules, Rules);
        // Clients that compare what they set with what is there want it back as they wrote it.
        const Tags = [{ Key: "a", Value: "b" }];
        const Written = [
          {},
          { And: { Prefix: "a", Tags } },
          { And: { Prefix: "", Tags } },
          { Prefix: "" },
        ].map((Filter, at) => ({
          ID: `${at}`,
          Status: "Disabled" as const,
          Filter,
          Expiration: { Days: 1 },
        }));
        const old = [{
          ID: "before 2016",
          Status: "Disabled" as const,
          Prefix: "a",
          Expiration: { Days: 1 },
        }];
        for (const set of [Written, old, Rules]) {
          await s3.send(
            new PutBucketLifecycleConfigurationCommand({
              Bucket,
              LifecycleConfiguration: { Rules: set },
            }),
          );
          assert.deepEqual((await get()).Rules, set);
        }
        const keys = async () =>
          (await s3.send(new ListObjectsV2Command({ Bucket }))).Contents?.map(({ Key }) => Key) ??
            [];
        await until("what is old has gone", async () => !(await keys()).includes("old/b"));
        const left = await keys();
        assert.ok(left.includes("young/a") && left.includes("old/kept") && !left.includes("old/a"));
        await refused(
          s3.send(
            new PutBucketLifecycleConfigurationCommand({
              Bucket,
              LifecycleConfiguration: {
                Rules: [{
                  ID: "x",
                  Status: "Enabled",
                  Filter: { Prefix: "" },
                  Expiration: { Days: 0 },
                }],
              },
            }),
          ),
          "InvalidArgument",
          400,
        );
        await s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
        await refused(get(), "NoSuchLifecycleConfiguration", 404);
      },
    }),
});
