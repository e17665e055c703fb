/** SSE-C: objects under keys that their clients bring with each request, as the JavaScript SDK finds them. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetBucketEncryptionCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutBucketEncryptionCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { answered, assertAnswer } from "./answered.ts";
import { keptAlive, md5, refused, same, withPredastore } from "./steps.ts";

const Bucket = "bucket";
const digestOf = (key: Uint8Array) => createHash("md5").update(key).digest("base64");
const withKey = (key: Uint8Array) => ({
  SSECustomerAlgorithm: "AES256",
  SSECustomerKey: Buffer.from(key).toString("base64"),
  SSECustomerKeyMD5: digestOf(key),
});
const fromKey = (key: Uint8Array) => ({
  CopySourceSSECustomerAlgorithm: "AES256",
  CopySourceSSECustomerKey: Buffer.from(key).toString("base64"),
  CopySourceSSECustomerKeyMD5: digestOf(key),
});
const one = bytesOf(1, 32);
const two = bytesOf(2, 32);
const large = bytesOf(3, 3_000_000);

const needed =
  "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
const wrong =
  "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.";
const notApplicable = "The encryption parameters are not applicable to this object.";
const begun =
  "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.";
const another = "The provided encryption parameters did not match the ones used originally.";

/** The bytes of an object, as far as they are asked for. */
async function read(s3: S3Client, Key: string, more: object = {}): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key, ...more }));
  assert.ok(Body !== undefined);
  return await Body.transformToByteArray();
}

const headStatus = (s3: S3Client, Key: string, more: object = {}) =>
  s3.send(new HeadObjectCommand({ Bucket, Key, ...more })).then(
    () => 200,
    (error: { $metadata: { httpStatusCode: number } }) => error.$metadata.httpStatusCode,
  );

Deno.test({
  name: "customer keys: objects are sealed under keys that clients bring",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "customer keys: what is put opens with its key, and tells of it": async (s3) => {
        for (const [Key, Body] of [["small", large.subarray(0, 500)], ["large", large]] as const) {
          const put = await s3.send(new PutObjectCommand({ Bucket, Key, Body, ...withKey(one) }));
          const got = await s3.send(new GetObjectCommand({ Bucket, Key, ...withKey(one) }));
          const head = await s3.send(new HeadObjectCommand({ Bucket, Key, ...withKey(one) }));
          for (const answer of [put, got, head]) {
            assert.equal(answer.SSECustomerAlgorithm, "AES256");
            assert.equal(answer.SSECustomerKeyMD5, digestOf(one));
            assert.equal(answer.ServerSideEncryption, undefined);
            assert.equal(answer.ETag, put.ETag);
          }
          assert.match(put.ETag ?? "", /^"[0-9a-f]{32}"$/);
          assert.notEqual(put.ETag, `"${md5(Body)}"`);
          assert.equal(head.ContentLength, Body.length);
          same(await got.Body?.transformToByteArray() ?? new Uint8Array(), Body);
          const again = await s3.send(new PutObjectCommand({ Bucket, Key, Body, ...withKey(one) }));
          assert.notEqual(again.ETag, put.ETag);
        }
      },

      "customer keys: without the key, or with another, nothing is told": async (s3) => {
        await s3.send(new PutObjectCommand({ Bucket, Key: "plain", Body: "x" }));
        for (const Key of ["small", "large"]) {
          const attributes = {
            Bucket,
            Key,
            ObjectAttributes: ["ETag" as const, "ObjectSize" as const],
          };
          for (
            const asked of [
              (more: object) => new GetObjectCommand({ Bucket, Key, ...more }),
              (more: object) => new GetObjectAttributesCommand({ ...attributes, ...more }),
            ]
          ) {
            assertAnswer(await answered(s3, asked({})), 400, {
              Code: "InvalidRequest",
              Message: needed,
            });
            assertAnswer(await answered(s3, asked(withKey(two))), 403, {
              Code: "AccessDenied",
              Message: wrong,
            });
          }
          assert.equal(await headStatus(s3, Key), 400);
          assert.equal(await headStatus(s3, Key, withKey(two)), 403);
          const { ObjectSize } = await s3.send(
            new GetObjectAttributesCommand({ ...attributes, ...withKey(one) }),
          );
          assert.equal(ObjectSize, Key === "small" ? 500 : large.length);
        }
        assertAnswer(
          await answered(s3, new GetObjectCommand({ Bucket, Key: "plain", ...withKey(one) })),
          400,
          { Code: "InvalidRequest", Message: notApplicable },
        );
        assert.equal(await headStatus(s3, "plain", withKey(one)), 400);
      },

      "customer keys: ranges, conditions, checksums and tags": async (s3) => {
        for (const [from, last] of [[0, 0], [524_287, 524_288], [2_000_000, 2_999_999]] as const) {
          const range = { Range: `bytes=${from}-${last}`, ...withKey(one) };
          same(await read(s3, "large", range), large.subarray(from, last + 1));
        }
        same(
          await read(s3, "small", { Range: "bytes=-7", ...withKey(one) }),
          large.subarray(493, 500),
        );
        await refused(
          read(s3, "small", { IfMatch: '"x"', ...withKey(one) }),
          "PreconditionFailed",
          412,
        );
        const { ETag } = await s3.send(
          new HeadObjectCommand({ Bucket, Key: "small", ...withKey(one) }),
        );
        assert.ok(ETag !== undefined);
        assert.equal(await headStatus(s3, "small", { IfNoneMatch: ETag, ...withKey(one) }), 304);
        // Who does not have the key does not learn either whether he has the object.
        assert.equal(await headStatus(s3, "small", { IfNoneMatch: ETag }), 400);
        const summed = await s3.send(
          new PutObjectCommand({
            Bucket,
            Key: "summed",
            Body: "hello",
            ChecksumAlgorithm: "SHA256",
            ContentMD5: createHash("md5").update("hello").digest("base64"),
            ...withKey(one),
          }),
        );
        const sum = createHash("sha256").update("hello").digest("base64");
        assert.equal(summed.ChecksumSHA256, sum);
        const told = await s3.send(
          new HeadObjectCommand({
            Bucket,
            Key: "summed",
            ChecksumMode: "ENABLED",
            ...withKey(one),
          }),
        );
        assert.equal(told.ChecksumSHA256, sum);
        const bad = new PutObjectCommand({
          Bucket,
          Key: "bad",
          Body: "hello",
          ContentMD5: createHash("md5").update("other").digest("base64"),
          ...withKey(one),
        });
        await refused(s3.send(bad), "BadDigest", 400);
        // Tags need no key.
        const TagSet = [{ Key: "a", Value: "1" }];
        await s3.send(new PutObjectTaggingCommand({ Bucket, Key: "small", Tagging: { TagSet } }));
        const tags = await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "small" }));
        assert.deepEqual(tags.TagSet, TagSet);
        same(await read(s3, "small", withKey(one)), large.subarray(0, 500));
      },

      "customer keys: an upload of three parts, each with the key that it was begun with": async (
        s3,
      ) => {
        const upload = { Bucket, Key: "parts" };
        const created = await s3.send(
          new CreateMultipartUploadCommand({ ...upload, ...withKey(one) }),
        );
        assert.equal(created.SSECustomerAlgorithm, "AES256");
        assert.equal(created.SSECustomerKeyMD5, digestOf(one));
        assert.equal(created.ServerSideEncryption, undefined);
        const of = { ...upload, UploadId: created.UploadId };
        const first = bytesOf(4, 5 << 20);
        const part = (more: object) =>
          new UploadPartCommand({ ...of, PartNumber: 1, Body: first, ...more });
        assertAnswer(await answered(s3, part({})), 400, { Code: "InvalidRequest", Message: begun });
        assertAnswer(await answered(s3, part(withKey(two))), 400, {
          Code: "InvalidRequest",
          Message: another,
        });
        const sent = await s3.send(part(withKey(one)));
        assert.equal(sent.SSECustomerKeyMD5, digestOf(one));
        assert.notEqual(sent.ETag, `"${md5(first)}"`);
        await s3.send(
          new PutObjectCommand({
            Bucket,
            Key: "source",
            Body: bytesOf(5, 6 << 20),
            ...withKey(two),
          }),
        );
        const copy = (more: object) =>
          new UploadPartCopyCommand({
            ...of,
            PartNumber: 2,
            CopySource: `${Bucket}/source`,
            CopySourceRange: `bytes=100-${(5 << 20) + 99}`,
            ...more,
          });
        assertAnswer(await answered(s3, copy(fromKey(two))), 400, {
          Code: "InvalidRequest",
          Message: begun,
        });
        assertAnswer(await answered(s3, copy(withKey(one))), 400, {
          Code: "InvalidRequest",
          Message: needed,
        });
        assertAnswer(await answered(s3, copy({ ...withKey(one), ...fromKey(one) })), 403, {
          Code: "AccessDenied",
          Message: "Access Denied",
        });
        const copied = await s3.send(copy({ ...withKey(one), ...fromKey(two) }));
        assert.equal(copied.SSECustomerKeyMD5, digestOf(one));
        const last = await s3.send(
          new UploadPartCommand({ ...of, PartNumber: 3, Body: "the end", ...withKey(one) }),
        );
        const listed = await s3.send(new ListPartsCommand(of));
        assert.equal(listed.Parts?.length, 3);
        const Parts = [sent.ETag, copied.CopyPartResult?.ETag, last.ETag].map((ETag, at) => ({
          ETag,
          PartNumber: at + 1,
        }));
        const complete = (more: object) =>
          new CompleteMultipartUploadCommand({ ...of, MultipartUpload: { Parts }, ...more });
        assertAnswer(await answered(s3, complete(withKey(two))), 400, {
          Code: "InvalidRequest",
          Message: another,
        });
        const done = await s3.send(complete({}));
        assert.match(done.ETag ?? "", /^"[0-9a-f]{32}-3"$/);
        const whole = Buffer.concat([
          first,
          bytesOf(5, 6 << 20).subarray(100, (5 << 20) + 100),
          new TextEncoder().encode("the end"),
        ]);
        same(await read(s3, "parts", withKey(one)), whole);
        const seam = (5 << 20) - 3;
        same(
          await read(s3, "parts", { Range: `bytes=${seam}-${seam + 9}`, ...withKey(one) }),
          whole.subarray(seam, seam + 10),
        );
        same(
          await read(s3, "parts", { PartNumber: 3, ...withKey(one) }),
          new TextEncoder().encode("the end"),
        );
        assertAnswer(await answered(s3, new GetObjectCommand(upload)), 400, { Message: needed });
        // An upload that was begun without a key takes none.
        const plain = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "plain" }));
        const into = { Bucket, Key: "plain", UploadId: plain.UploadId };
        assertAnswer(
          await answered(
            s3,
            new UploadPartCommand({ ...into, PartNumber: 1, Body: "x", ...withKey(one) }),
          ),
          400,
          { Code: "InvalidRequest", Message: begun },
        );
        await s3.send(new AbortMultipartUploadCommand(into));
      },

      "customer keys: copies between two keys, to and from what the store seals": async (s3) => {
        const copy = (Key: string, from: string, more: object) =>
          new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/${from}`, ...more });
        assertAnswer(await answered(s3, copy("copy", "large", withKey(two))), 400, {
          Code: "InvalidRequest",
          Message: needed,
        });
        assertAnswer(
          await answered(s3, copy("copy", "large", { ...withKey(two), ...fromKey(two) })),
          403,
          { Code: "AccessDenied", Message: "Access Denied" },
        );
        assertAnswer(await answered(s3, copy("copy", "plain", fromKey(one))), 400, {
          Code: "InvalidRequest",
          Message: notApplicable,
        });
        const made = await s3.send(copy("copy", "large", { ...withKey(two), ...fromKey(one) }));
        assert.equal(made.SSECustomerKeyMD5, digestOf(two));
        assert.notEqual(made.CopyObjectResult?.ETag, `"${md5(large)}"`);
        same(await read(s3, "copy", withKey(two)), large);
        await refused(read(s3, "copy", withKey(one)), "AccessDenied", 403);
        const back = await s3.send(copy("open", "copy", fromKey(two)));
        assert.equal(back.ServerSideEncryption, "AES256");
        assert.equal(back.SSECustomerAlgorithm, undefined);
        assert.equal(back.CopyObjectResult?.ETag, `"${md5(large)}"`);
        same(await read(s3, "open"), large);
        await s3.send(copy("sealed", "open", withKey(one)));
        same(await read(s3, "sealed", withKey(one)), large);
        // Another key is another encryption: an object may be copied to itself for it.
        await s3.send(copy("sealed", "sealed", { ...withKey(two), ...fromKey(one) }));
        same(await read(s3, "sealed", withKey(two)), large);
        await s3.send(copy("sealed", "sealed", fromKey(two)));
        same(await read(s3, "sealed"), large);
      },

      "customer keys: each version has its own": async (s3) => {
        const versions = { Bucket: "keyed-versions", Key: "k" };
        await s3.send(new CreateBucketCommand({ Bucket: versions.Bucket }));
        await s3.send(
          new PutBucketVersioningCommand({
            Bucket: versions.Bucket,
            VersioningConfiguration: { Status: "Enabled" },
          }),
        );
        const first = await s3.send(
          new PutObjectCommand({ ...versions, Body: "one", ...withKey(one) }),
        );
        const second = await s3.send(
          new PutObjectCommand({ ...versions, Body: "two", ...withKey(two) }),
        );
        const textOf = async (VersionId: string | undefined, key: Uint8Array) => {
          const { Body } = await s3.send(
            new GetObjectCommand({ ...versions, VersionId, ...withKey(key) } as never),
          ) as { Body: { transformToString(): Promise<string> } };
          return await Body.transformToString();
        };
        assert.equal(await textOf(first.VersionId, one), "one");
        assert.equal(await textOf(second.VersionId, two), "two");
        await refused(textOf(first.VersionId, two), "AccessDenied", 403);
        await s3.send(new DeleteObjectCommand({ ...versions, VersionId: second.VersionId }));
        assert.equal(await textOf(first.VersionId, one), "one");
      },

      "customer keys: a presigned URL takes the key in headers": async (s3, test) => {
        const get = new GetObjectCommand({ Bucket, Key: "small", ...withKey(one) });
        const url = await getSignedUrl(s3, get, { expiresIn: 60 });
        assert.ok(!url.includes(encodeURIComponent(withKey(one).SSECustomerKey)), url);
        const client = Deno.createHttpClient({ caCerts: [test.ca] });
        const headers = {
          "x-amz-server-side-encryption-customer-algorithm": "AES256",
          "x-amz-server-side-encryption-customer-key": withKey(one).SSECustomerKey,
          "x-amz-server-side-encryption-customer-key-MD5": digestOf(one),
        };
        const got = await fetch(url, { client, headers });
        same(await got.bytes(), large.subarray(0, 500));
        // One in the URL itself would stand wherever that does, and open the object with nothing else.
        const hoistableHeaders = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
        const hoisted = { expiresIn: 60, hoistableHeaders };
        const put = new PutObjectCommand({ Bucket, Key: "hoisted", ...withKey(one) });
        const copy = new CopyObjectCommand({
          ...{ Bucket, Key: "hoisted", CopySource: `${Bucket}/small` },
          ...fromKey(one),
        });
        const urls = [
          ["GET", await getSignedUrl(s3, get, hoisted)],
          ["PUT", await getSignedUrl(s3, put, hoisted)],
          ["PUT", await getSignedUrl(s3, copy, { expiresIn: 60 })],
        ] as const;
        for (const [method, asked] of urls) {
          assert.ok(asked.includes(encodeURIComponent(withKey(one).SSECustomerKey)), asked);
          const body = method === "PUT" ? "x" : null;
          const answer = await fetch(asked, { client, method, body });
          const text = await answer.text();
          assert.equal(answer.status, 400, method);
          assert.match(text, /<Code>InvalidArgument</);
        }
        assert.equal(await headStatus(s3, "hoisted"), 404);
        client.close();
      },

      "customer keys: a bucket may take none": async (s3) => {
        const told = async () => {
          const answer = await s3.send(new GetBucketEncryptionCommand({ Bucket }));
          return answer.ServerSideEncryptionConfiguration?.Rules?.[0]?.BlockedEncryptionTypes;
        };
        const set = (EncryptionType: ("NONE" | "SSE-C")[]) =>
          s3.send(
            new PutBucketEncryptionCommand({
              Bucket,
              ServerSideEncryptionConfiguration: {
                Rules: [{ BlockedEncryptionTypes: { EncryptionType } }],
              },
            }),
          );
        assert.deepEqual(await told(), { EncryptionType: ["NONE"] });
        await set(["SSE-C"]);
        assert.deepEqual(await told(), { EncryptionType: ["SSE-C"] });
        // One that does not say leaves it.
        await s3.send(
          new PutBucketEncryptionCommand({
            Bucket,
            ServerSideEncryptionConfiguration: {
              Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
            },
          }),
        );
        assert.deepEqual(await told(), { EncryptionType: ["SSE-C"] });
        const upload = { Bucket, Key: "blocked" };
        for (
          const command of [
            new PutObjectCommand({ ...upload, Body: "x", ...withKey(one) }),
            new CreateMultipartUploadCommand({ ...upload, ...withKey(one) }),
            new CopyObjectCommand({ ...upload, CopySource: `${Bucket}/plain`, ...withKey(one) }),
          ]
        ) {
          const answer = await answered(s3, command);
          assertAnswer(answer, 403, { Code: "AccessDenied" });
          assert.match(
            answer.text,
            /because this bucket has blocked upload requests that specify Server Side Encryption with Customer provided keys \(SSE-C\)/,
          );
        }
        same(await read(s3, "small", withKey(one)), large.subarray(0, 500));
        await set(["NONE"]);
        assert.deepEqual(await told(), { EncryptionType: ["NONE"] });
        await s3.send(new PutObjectCommand({ ...upload, Body: "x", ...withKey(one) }));
      },

      "customer keys: what they seal outlives a restart, and the index": async (s3, test) => {
        const upload = { Bucket, Key: "resumed" };
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({
            ...upload,
            ChecksumAlgorithm: "SHA256",
            ...withKey(one),
          }),
        );
        const part = async (PartNumber: number, Body: Uint8Array) => {
          const of = {
            ...upload,
            UploadId,
            PartNumber,
            Body,
            ChecksumAlgorithm: "SHA256",
          } as const;
          const sent = await s3.send(new UploadPartCommand({ ...of, ...withKey(one) }));
          return { PartNumber, ETag: sent.ETag, ChecksumSHA256: sent.ChecksumSHA256 };
        };
        const first = await part(1, bytesOf(6, 5 << 20));
        await test.restart();
        same(await read(s3, "large", withKey(one)), large);
        const index = `${test.node.paths.service("predastore")}/index.db`;
        await test.process().stop("SIGKILL");
        for (const suffix of ["", "-wal", "-shm"]) {
          await Deno.remove(index + suffix).catch(() => {});
        }
        await test.restart("SIGKILL");
        same(await read(s3, "large", withKey(one)), large);
        same(await read(s3, "small", withKey(one)), large.subarray(0, 500));
        await refused(read(s3, "small"), "InvalidRequest", 400);
        await refused(read(s3, "small", withKey(two)), "AccessDenied", 403);
        // An upload goes on with the key that it was begun with.
        const Parts = [first, await part(2, bytesOf(7, 100))];
        await s3.send(
          new CompleteMultipartUploadCommand({
            ...upload,
            UploadId,
            MultipartUpload: { Parts },
            ...withKey(one),
          }),
        );
        same(
          await read(s3, "resumed", withKey(one)),
          Buffer.concat([bytesOf(6, 5 << 20), bytesOf(7, 100)]),
        );
      },
    }),
});
