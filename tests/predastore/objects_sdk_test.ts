/** The official JavaScript SDK against a predastore process over HTTPS: objects, their checksums, conditions and copies. */
import {
  ChecksumAlgorithm,
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  PutObjectCommand,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { content, keptAlive, md5, refused, same, withPredastore } from "./steps.ts";

Deno.test(
  "the JavaScript SDK finds the S3 it knows: objects, their checksums, conditions and copies",
  keptAlive,
  (t) =>
    withPredastore(t, {
      "an object comes back with its bytes, headers, metadata and content ETag": async (s3) => {
        const Body = bytesOf(1, 100_000);
        const put = await s3.send(
          new PutObjectCommand({
            Bucket: "bucket",
            Key: "headers",
            Body,
            CacheControl: "max-age=5",
            ContentDisposition: 'attachment; filename="x"',
            ContentEncoding: "gzip",
            ContentLanguage: "en",
            ContentType: "text/plain; charset=utf-8",
            Expires: new Date("2030-01-01T00:00:00Z"),
            Metadata: { color: "blue", "other-name": "a b" },
          }),
        );
        assert.equal(put.ETag, `"${md5(Body)}"`);
        for (const command of [GetObjectCommand, HeadObjectCommand]) {
          const got: GetObjectCommandOutput | HeadObjectCommandOutput = await s3.send(
            new command({ Bucket: "bucket", Key: "headers" }),
          );
          // An unread body breaks off when the server stops, which nothing would catch.
          if ("Body" in got) await got.Body?.transformToByteArray();
          assert.equal(got.ETag, put.ETag);
          assert.equal(got.ContentLength, 100_000);
          assert.equal(got.CacheControl, "max-age=5");
          assert.equal(got.ContentDisposition, 'attachment; filename="x"');
          assert.equal(got.ContentEncoding, "gzip");
          assert.equal(got.ContentLanguage, "en");
          assert.equal(got.ContentType, "text/plain; charset=utf-8");
          assert.deepEqual(got.Metadata, { color: "blue", "other-name": "a b" });
          assert.ok(got.LastModified instanceof Date);
        }
        same(await content(s3, "bucket", "headers"), Body);
        const overridden = await s3.send(
          new GetObjectCommand({
            Bucket: "bucket",
            Key: "headers",
            ResponseContentType: "image/png",
            ResponseCacheControl: "no-store",
          }),
        );
        assert.equal(overridden.ContentType, "image/png");
        assert.equal(overridden.CacheControl, "no-store");
        await overridden.Body?.transformToByteArray();
        await refused(
          s3.send(
            new PutObjectCommand({
              Bucket: "bucket",
              Key: "too much",
              Metadata: { x: "y".repeat(2048) },
            }),
          ),
          "MetadataTooLarge",
          400,
        );
      },

      "every checksum algorithm is checked, kept and given back": async (s3) => {
        const Body = bytesOf(2, 300_001);
        const members = {
          CRC32: "ChecksumCRC32",
          CRC32C: "ChecksumCRC32C",
          CRC64NVME: "ChecksumCRC64NVME",
          SHA1: "ChecksumSHA1",
          SHA256: "ChecksumSHA256",
        } as const;
        for (const [name, member] of Object.entries(members)) {
          const put = await s3.send(
            new PutObjectCommand({
              Bucket: "bucket",
              Key: name,
              Body,
              ChecksumAlgorithm: name as ChecksumAlgorithm,
            }),
          );
          const head = await s3.send(
            new HeadObjectCommand({ Bucket: "bucket", Key: name, ChecksumMode: "ENABLED" }),
          );
          assert.ok(put[member] !== undefined, name);
          assert.equal(head[member], put[member]);
          assert.equal(head.ChecksumType, "FULL_OBJECT");
          const given = put[member] ?? "";
          const wrong = (given.startsWith("A") ? "B" : "A") + given.slice(1);
          await refused(
            s3.send(
              new PutObjectCommand({ Bucket: "bucket", Key: "wrong", Body, [member]: wrong }),
            ),
            "BadDigest",
            400,
          );
        }
        await refused(
          s3.send(new HeadObjectCommand({ Bucket: "bucket", Key: "wrong" })),
          "NotFound",
          404,
        );
        await refused(
          s3.send(
            new PutObjectCommand({
              Bucket: "bucket",
              Key: "wrong",
              Body,
              ContentMD5: Buffer.from(md5("other"), "hex").toString("base64"),
            }),
          ),
          "BadDigest",
          400,
        );
        await refused(
          s3.send(
            new PutObjectCommand({ Bucket: "bucket", Key: "wrong", Body, ContentMD5: "no" }),
          ),
          "InvalidDigest",
          400,
        );
      },

      "a stream of unknown content is uploaded in signed-less chunks with a trailer": async (
        s3,
      ) => {
        const Body = bytesOf(3, 3_000_000);
        const put = await s3.send(
          new PutObjectCommand({
            Bucket: "bucket",
            Key: "stream",
            Body: Readable.from(
              (function* () {
                for (let at = 0; at < Body.length; at += 50_000) {
                  yield Body.subarray(at, at + 50_000);
                }
              })(),
            ),
            ContentLength: Body.length,
          }),
        );
        assert.ok(put.ChecksumCRC32 !== undefined);
        assert.equal(put.ETag, `"${md5(Body)}"`);
        same(await content(s3, "bucket", "stream"), Body);
        const head = await s3.send(new HeadObjectCommand({ Bucket: "bucket", Key: "stream" }));
        assert.equal(head.ContentEncoding, undefined);
      },

      "ranges are RFC 9110's, and what lies beyond the end is refused": async (s3) => {
        const Body = bytesOf(4, 2_100_000);
        await s3.send(new PutObjectCommand({ Bucket: "bucket", Key: "range", Body }));
        const get = (Range: string) =>
          s3.send(new GetObjectCommand({ Bucket: "bucket", Key: "range", Range }));
        const ranges: readonly (readonly [string, number, number])[] = [
          ["bytes=0-0", 0, 1],
          ["bytes=100-199", 100, 200],
          ["bytes=1048570-1048590", 1_048_570, 1_048_591],
          ["bytes=2099999-", 2_099_999, 2_100_000],
          ["bytes=-5", 2_099_995, 2_100_000],
          ["bytes=-9999999", 0, 2_100_000],
          ["bytes=5-99999999", 5, 2_100_000],
        ];
        for (const [range, from, to] of ranges) {
          const got = await get(range);
          assert.equal(got.$metadata.httpStatusCode, 206);
          assert.equal(got.ContentRange, `bytes ${from}-${to - 1}/2100000`);
          same(await got.Body?.transformToByteArray() ?? new Uint8Array(), Body.subarray(from, to));
        }
        await refused(get("bytes=2100000-"), "InvalidRange", 416);
        const all = await get("bytes=0-1,5-6");
        assert.equal(all.ContentLength, 2_100_000);
        await all.Body?.transformToByteArray();
      },

      "conditions on reads and writes hold": async (s3) => {
        const Key = "condition";
        const { ETag } = await s3.send(
          new PutObjectCommand({ Bucket: "bucket", Key, Body: "one" }),
        );
        const get = (more: object) =>
          s3.send(new GetObjectCommand({ Bucket: "bucket", Key, ...more }));
        await refused(get({ IfMatch: '"other"' }), "PreconditionFailed", 412);
        await assert.rejects(
          get({ IfNoneMatch: ETag }),
          (error: S3ServiceException) => error.$metadata.httpStatusCode === 304,
        );
        await (await get({ IfMatch: ETag })).Body?.transformToString();
        await assert.rejects(
          get({ IfModifiedSince: new Date() }),
          (error: S3ServiceException) => error.$metadata.httpStatusCode === 304,
        );
        await refused(get({ IfUnmodifiedSince: new Date(0) }), "PreconditionFailed", 412);
        const put = (more: object) =>
          s3.send(new PutObjectCommand({ Bucket: "bucket", Key, Body: "two", ...more }));
        await refused(put({ IfNoneMatch: "*" }), "PreconditionFailed", 412);
        await refused(put({ IfMatch: '"other"' }), "PreconditionFailed", 412);
        await put({ IfMatch: ETag });
        assert.equal(Buffer.from(await content(s3, "bucket", Key)).toString(), "two");
        await refused(
          s3.send(
            new PutObjectCommand({ Bucket: "bucket", Key: "none", Body: "x", IfMatch: ETag }),
          ),
          "NoSuchKey",
          404,
        );
      },

      "keys of every kind come back as they were given": async (s3) => {
        await s3.send(new CreateBucketCommand({ Bucket: "keys" }));
        const keys = [
          "a/../b",
          "./x",
          "..",
          "/lead",
          "two//slashes",
          "trail/",
          "sp ace+plus%25",
          "é/日本語/🦘",
          "quote\"<&>'",
          "\u0001control",
          "x".repeat(1024),
          "é".repeat(512),
          "?query#hash",
        ];
        for (const Key of keys) {
          await s3.send(new PutObjectCommand({ Bucket: "keys", Key, Body: Key }));
        }
        await s3.send(new PutObjectCommand({ Bucket: "bucket", Key: "a/../../b", Body: "dots" }));
        assert.equal(Buffer.from(await content(s3, "bucket", "a/../../b")).toString(), "dots");
        const listed = await s3.send(
          new ListObjectsV2Command({ Bucket: "keys", EncodingType: "url" }),
        );
        assert.deepEqual(
          listed.Contents?.map(({ Key }) => decodeURIComponent((Key ?? "").replaceAll("+", "%20"))),
          keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
        );
        for (const key of keys) {
          assert.equal(Buffer.from(await content(s3, "keys", key)).toString(), key);
        }
        await refused(
          s3.send(new PutObjectCommand({ Bucket: "bucket", Key: "y".repeat(1025), Body: "" })),
          "KeyTooLongError",
          400,
        );
      },

      "copies keep or replace metadata, and refuse to change nothing": async (s3) => {
        const Body = bytesOf(5, 1_500_000);
        await s3.send(
          new PutObjectCommand({ Bucket: "bucket", Key: "from é", Body, Metadata: { a: "1" } }),
        );
        const CopySource = `bucket/${encodeURIComponent("from é")}`;
        const copied = await s3.send(
          new CopyObjectCommand({ Bucket: "bucket", Key: "to", CopySource }),
        );
        assert.equal(copied.CopyObjectResult?.ETag, `"${md5(Body)}"`);
        same(await content(s3, "bucket", "to"), Body);
        await s3.send(
          new CopyObjectCommand({
            Bucket: "bucket",
            Key: "to",
            CopySource,
            MetadataDirective: "REPLACE",
            Metadata: { b: "2" },
            ContentType: "text/x",
          }),
        );
        const head = await s3.send(new HeadObjectCommand({ Bucket: "bucket", Key: "to" }));
        assert.deepEqual(head.Metadata, { b: "2" });
        assert.equal(head.ContentType, "text/x");
        await refused(
          s3.send(new CopyObjectCommand({ Bucket: "bucket", Key: "from é", CopySource })),
          "InvalidRequest",
          400,
        );
        await refused(
          s3.send(
            new CopyObjectCommand({
              Bucket: "bucket",
              Key: "to",
              CopySource,
              CopySourceIfMatch: '"x"',
            }),
          ),
          "PreconditionFailed",
          412,
        );
        await refused(
          s3.send(
            new CopyObjectCommand({ Bucket: "bucket", Key: "to", CopySource: "bucket/none" }),
          ),
          "NoSuchKey",
          404,
        );
      },

      "many are deleted at once, and what is not there counts as deleted": async (s3) => {
        for (const Key of ["del/1", "del/2"]) {
          await s3.send(new PutObjectCommand({ Bucket: "bucket", Key, Body: "" }));
        }
        const { Deleted, Errors } = await s3.send(
          new DeleteObjectsCommand({
            Bucket: "bucket",
            Delete: { Objects: [{ Key: "del/1" }, { Key: "del/2" }, { Key: "del/never" }] },
          }),
        );
        assert.equal(Deleted?.length, 3);
        assert.equal(Errors, undefined);
        await s3.send(new DeleteObjectCommand({ Bucket: "bucket", Key: "del/1" }));
        await refused(
          s3.send(new HeadObjectCommand({ Bucket: "bucket", Key: "del/1" })),
          "NotFound",
          404,
        );
        await refused(
          s3.send(new DeleteObjectsCommand({ Bucket: "bucket", Delete: { Objects: [] } })),
          "MalformedXML",
          400,
        );
        await refused(
          s3.send(new DeleteBucketCommand({ Bucket: "bucket" })),
          "BucketNotEmpty",
          409,
        );
      },
    }),
);
