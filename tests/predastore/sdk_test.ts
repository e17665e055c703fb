/** The official JavaScript SDK against a predastore process over HTTPS: what S3 does, in S3's words. */
import {
  AbortMultipartUploadCommand,
  ChecksumAlgorithm,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketLocationCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  GetObjectTorrentCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { startPredastore, type TestPredastore } from "../kit/predastore.ts";

const md5 = (bytes: Uint8Array | string) => createHash("md5").update(bytes).digest("hex");

function bytesOf(seed: number, length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state >>> 0;
  }
  return new Uint8Array(words.buffer, 0, length);
}

async function refused(work: Promise<unknown>, code: string, status: number): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof S3ServiceException, String(error));
    assert.equal(error.name, code, error.message);
    assert.equal(error.$metadata.httpStatusCode, status);
    return true;
  });
}

async function content(s3: S3Client, Bucket: string, Key: string): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  assert.ok(Body !== undefined);
  return await Body.transformToByteArray();
}

const same = (a: Uint8Array, b: Uint8Array) =>
  assert.ok(Buffer.compare(a, b) === 0, "bytes differ");

async function withPredastore(
  t: Deno.TestContext,
  steps: Readonly<Record<string, (s3: S3Client, test: TestPredastore) => Promise<void>>>,
): Promise<void> {
  await using test = await startPredastore();
  const s3 = test.s3();
  await s3.send(new CreateBucketCommand({ Bucket: "bucket" }));
  for (const [name, step] of Object.entries(steps)) await t.step(name, () => step(s3, test));
  assert.ok(!test.process().log().includes(`"level":"error"`), test.process().log());
}

Deno.test({
  name: "the JavaScript SDK finds the S3 it knows",
  // The SDK's agents keep sockets that end after the test.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: (t) =>
    withPredastore(t, {
      "buckets are made, found, listed and deleted; names are checked": async (s3, test) => {
        await s3.send(new CreateBucketCommand({ Bucket: "second.bucket" }));
        const listed = await s3.send(new ListBucketsCommand({}));
        assert.deepEqual(listed.Buckets?.map(({ Name }) => Name), ["bucket", "second.bucket"]);
        const head = await s3.send(new HeadBucketCommand({ Bucket: "bucket" }));
        assert.equal(head.BucketRegion, test.node.config.region);
        const location = await s3.send(new GetBucketLocationCommand({ Bucket: "bucket" }));
        assert.equal(location.LocationConstraint, test.node.config.region);
        await s3.send(new DeleteBucketCommand({ Bucket: "second.bucket" }));
        await refused(s3.send(new HeadBucketCommand({ Bucket: "second.bucket" })), "NotFound", 404);
        await refused(
          s3.send(new ListObjectsV2Command({ Bucket: "second.bucket" })),
          "NoSuchBucket",
          404,
        );
        await refused(
          s3.send(new CreateBucketCommand({ Bucket: "bucket" })),
          "BucketAlreadyOwnedByYou",
          409,
        );
        for (const Bucket of ["Upper", "a_b", "mulga-blocks", "x".repeat(64), "1.2.3.4"]) {
          await refused(s3.send(new CreateBucketCommand({ Bucket })), "InvalidBucketName", 400);
        }
      },

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
          listed.Contents?.map(({ Key }) => decodeURIComponent(Key ?? "")),
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

      "listings page by prefix, delimiter, start and token, in byte order": async (s3) => {
        await s3.send(new CreateBucketCommand({ Bucket: "listing" }));
        const keys = ["a", "b/1", "b/2", "b/3/x", "c", "d/1", "é", "z"];
        for (const Key of keys) {
          await s3.send(new PutObjectCommand({ Bucket: "listing", Key, Body: Key }));
        }
        for (const MaxKeys of [1, 2, 3, 1000]) {
          const seen: string[] = [];
          let ContinuationToken: string | undefined;
          while (true) {
            const page = await s3.send(
              new ListObjectsV2Command({
                Bucket: "listing",
                Delimiter: "/",
                MaxKeys,
                ContinuationToken,
              }),
            );
            const shown = [
              ...page.Contents?.map(({ Key }) => Key ?? "") ?? [],
              ...page.CommonPrefixes?.map(({ Prefix }) => Prefix ?? "") ?? [],
            ];
            assert.equal(page.KeyCount, shown.length);
            assert.ok(shown.length <= MaxKeys);
            seen.push(...shown);
            if (page.IsTruncated !== true) break;
            ContinuationToken = page.NextContinuationToken;
          }
          assert.deepEqual(seen.sort(), ["a", "b/", "c", "d/", "z", "é"], `by ${MaxKeys}`);
          const v1: string[] = [];
          let Marker: string | undefined;
          while (true) {
            const page = await s3.send(
              new ListObjectsCommand({ Bucket: "listing", Delimiter: "/", MaxKeys, Marker }),
            );
            v1.push(
              ...page.Contents?.map(({ Key }) => Key ?? "") ?? [],
              ...page.CommonPrefixes?.map(({ Prefix }) => Prefix ?? "") ?? [],
            );
            if (page.IsTruncated !== true) break;
            Marker = page.NextMarker;
          }
          assert.deepEqual(v1.sort(), ["a", "b/", "c", "d/", "z", "é"]);
        }
        const below = await s3.send(
          new ListObjectsV2Command({ Bucket: "listing", Prefix: "b/", Delimiter: "/" }),
        );
        assert.deepEqual(below.Contents?.map(({ Key }) => Key), ["b/1", "b/2"]);
        assert.deepEqual(below.CommonPrefixes?.map(({ Prefix }) => Prefix), ["b/3/"]);
        const after = await s3.send(
          new ListObjectsV2Command({ Bucket: "listing", StartAfter: "b/3/x", FetchOwner: true }),
        );
        assert.deepEqual(after.Contents?.map(({ Key }) => Key), ["c", "d/1", "z", "é"]);
        assert.match(after.Contents?.[0]?.Owner?.ID ?? "", /123456789012$/);
        const none = await s3.send(new ListObjectsV2Command({ Bucket: "listing", MaxKeys: 0 }));
        assert.equal(none.KeyCount, 0);
        assert.equal(none.IsTruncated, false);
        await refused(
          s3.send(new ListObjectsV2Command({ Bucket: "listing", ContinuationToken: "!" })),
          "InvalidArgument",
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

      "multipart uploads are checked part by part and become one object": async (s3) => {
        const Key = "multi";
        const part = 5 << 20;
        const Body = bytesOf(6, 2 * part + 1000);
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({
            Bucket: "bucket",
            Key,
            ContentType: "text/m",
            ChecksumAlgorithm: "CRC32",
          }),
        );
        const where = { Bucket: "bucket", Key, UploadId };
        const upload = (PartNumber: number, from: number, to: number) =>
          s3.send(
            new UploadPartCommand({
              ...where,
              PartNumber,
              Body: Body.subarray(from, to),
              ChecksumAlgorithm: "CRC32",
            }),
          );
        const [two, one, three] = await Promise.all([
          upload(2, part, 2 * part),
          upload(1, 0, part),
          upload(9, 2 * part, Body.length),
        ]);
        const uploads = await s3.send(new ListMultipartUploadsCommand({ Bucket: "bucket" }));
        assert.deepEqual(uploads.Uploads?.map(({ Key }) => Key), [Key]);
        const listed = await s3.send(new ListPartsCommand({ ...where, MaxParts: 2 }));
        assert.deepEqual(listed.Parts?.map(({ PartNumber }) => PartNumber), [1, 2]);
        assert.equal(listed.IsTruncated, true);
        assert.equal(listed.NextPartNumberMarker, "2");
        const chosen = (PartNumber: number, part: typeof one) => ({
          PartNumber,
          ETag: part.ETag,
          ChecksumCRC32: part.ChecksumCRC32,
        });
        const complete = (Parts: { PartNumber: number; ETag: string | undefined }[]) =>
          s3.send(new CompleteMultipartUploadCommand({ ...where, MultipartUpload: { Parts } }));
        await refused(complete([{ ...chosen(1, one), ETag: '"0"' }]), "InvalidPart", 400);
        await refused(
          complete([chosen(2, two), chosen(1, one)]),
          "InvalidPartOrder",
          400,
        );
        await refused(
          complete([chosen(9, three), chosen(10, one)]),
          "InvalidPart",
          400,
        );
        const done = await complete([
          chosen(1, one),
          chosen(2, two),
          chosen(9, three),
        ]);
        const joined = [one, two, three].map(({ ETag }) =>
          Buffer.from((ETag ?? "").replaceAll('"', ""), "hex")
        );
        assert.equal(done.ETag, `"${md5(Buffer.concat(joined))}-3"`);
        assert.equal(done.ChecksumType, "COMPOSITE");
        assert.match(done.ChecksumCRC32 ?? "", /-3$/);
        same(await content(s3, "bucket", Key), Body);
        const second = await s3.send(
          new GetObjectCommand({ Bucket: "bucket", Key, PartNumber: 2 }),
        );
        assert.equal(second.PartsCount, 3);
        same(
          await second.Body?.transformToByteArray() ?? new Uint8Array(),
          Body.subarray(part, 2 * part),
        );
        await refused(s3.send(new ListPartsCommand(where)), "NoSuchUpload", 404);
        await refused(s3.send(new AbortMultipartUploadCommand(where)), "NoSuchUpload", 404);
      },

      "a whole-object CRC is made from the parts' and equals that of one upload": async (s3) => {
        const part = 5 << 20;
        const Body = bytesOf(7, part + 12_345);
        for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME"] as const) {
          const member = `Checksum${ChecksumAlgorithm}` as const;
          const single = await s3.send(
            new PutObjectCommand({ Bucket: "bucket", Key: "single", Body, ChecksumAlgorithm }),
          );
          const { UploadId } = await s3.send(
            new CreateMultipartUploadCommand({
              Bucket: "bucket",
              Key: "full",
              ChecksumAlgorithm,
              ChecksumType: "FULL_OBJECT",
            }),
          );
          const where = { Bucket: "bucket", Key: "full", UploadId };
          const Parts = [];
          for (const [at, piece] of [Body.subarray(0, part), Body.subarray(part)].entries()) {
            const { ETag } = await s3.send(
              new UploadPartCommand({
                ...where,
                PartNumber: at + 1,
                Body: piece,
                ChecksumAlgorithm,
              }),
            );
            Parts.push({ PartNumber: at + 1, ETag });
          }
          const done = await s3.send(
            new CompleteMultipartUploadCommand({ ...where, MultipartUpload: { Parts } }),
          );
          assert.equal(done[member], single[member], ChecksumAlgorithm);
          assert.equal(done.ChecksumType, "FULL_OBJECT");
        }
      },

      "parts are copied from objects, and a small part in the middle is refused": async (s3) => {
        const Body = bytesOf(8, 6 << 20);
        await s3.send(new PutObjectCommand({ Bucket: "bucket", Key: "source", Body }));
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({ Bucket: "bucket", Key: "copied" }),
        );
        const where = { Bucket: "bucket", Key: "copied", UploadId };
        const copy = async (PartNumber: number, CopySourceRange: string) => {
          const { CopyPartResult } = await s3.send(
            new UploadPartCopyCommand({
              ...where,
              PartNumber,
              CopySource: "bucket/source",
              CopySourceRange,
            }),
          );
          return { PartNumber, ETag: CopyPartResult?.ETag };
        };
        const small = await copy(1, "bytes=0-99");
        const last = await copy(2, "bytes=100-199");
        await refused(
          s3.send(
            new CompleteMultipartUploadCommand({
              ...where,
              MultipartUpload: { Parts: [small, last] },
            }),
          ),
          "EntityTooSmall",
          400,
        );
        const large = await copy(1, `bytes=0-${(5 << 20) - 1}`);
        await s3.send(
          new CompleteMultipartUploadCommand({
            ...where,
            MultipartUpload: { Parts: [large, last] },
          }),
        );
        same(
          await content(s3, "bucket", "copied"),
          Buffer.concat([Body.subarray(0, 5 << 20), Body.subarray(100, 200)]),
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

      "presigned URLs read and write for those who hold them": async (s3, test) => {
        const client = Deno.createHttpClient({ caCerts: [test.ca] });
        const put = await getSignedUrl(
          s3,
          new PutObjectCommand({ Bucket: "bucket", Key: "pre/signed key", ContentType: "text/p" }),
          { expiresIn: 60 },
        );
        const stored = await fetch(put, {
          method: "PUT",
          body: "presigned",
          headers: { "content-type": "text/p" },
          client,
        });
        assert.equal(stored.status, 200, await stored.text());
        const url = await getSignedUrl(
          s3,
          new GetObjectCommand({
            Bucket: "bucket",
            Key: "pre/signed key",
            ResponseContentDisposition: "inline",
          }),
          { expiresIn: 60 },
        );
        const got = await fetch(url, { client });
        assert.equal(await got.text(), "presigned");
        assert.equal(got.headers.get("content-disposition"), "inline");
        const forged = await fetch(url.replace("signed%20key", "other"), { client });
        assert.equal(forged.status, 403);
        assert.match(await forged.text(), /<Code>SignatureDoesNotMatch<\/Code>/);
        const anonymous = await fetch(`${test.endpoint}/bucket/pre/x`, { client });
        assert.equal(anonymous.status, 403);
        assert.match(await anonymous.text(), /<Code>AccessDenied<\/Code>/);
        client.close();
      },

      "another account gets AccessDenied, and a wrong key or secret its own error": async (
        _s3,
        test,
      ) => {
        const other = test.s3("AKIAOTHER");
        for (
          const command of [
            new ListObjectsV2Command({ Bucket: "bucket" }),
            new GetObjectCommand({ Bucket: "bucket", Key: "headers" }),
            new DeleteObjectCommand({ Bucket: "bucket", Key: "headers" }),
            new PutObjectCommand({ Bucket: "bucket", Key: "theirs", Body: "x" }),
            new DeleteBucketCommand({ Bucket: "bucket" }),
            new ListObjectsV2Command({ Bucket: "mulga-blocks" }),
          ]
        ) await refused(other.send(command as never), "AccessDenied", 403);
        await refused(
          other.send(new CreateBucketCommand({ Bucket: "bucket" })),
          "BucketAlreadyExists",
          409,
        );
        assert.deepEqual((await other.send(new ListBucketsCommand({}))).Buckets ?? [], []);
        const wrong = test.s3("AKIATEST", {
          credentials: { accessKeyId: "AKIATEST", secretAccessKey: "wrong" },
        });
        await refused(wrong.send(new ListBucketsCommand({})), "SignatureDoesNotMatch", 403);
        const unknown = test.s3("AKIATEST", {
          credentials: { accessKeyId: "AKIANOBODY", secretAccessKey: "x" },
        });
        await refused(unknown.send(new ListBucketsCommand({})), "InvalidAccessKeyId", 403);
      },

      "what is not served is refused by its name": async (s3) => {
        await assert.rejects(
          s3.send(new GetObjectTorrentCommand({ Bucket: "bucket", Key: "headers" })),
          (error: S3ServiceException) => {
            assert.equal(error.name, "NotImplemented");
            assert.equal(error.$metadata.httpStatusCode, 501);
            assert.match(error.message, /GetObjectTorrent/);
            return true;
          },
        );
        await refused(
          s3.send(
            new PutObjectCommand({
              Bucket: "bucket",
              Key: "sse",
              Body: "x",
              ServerSideEncryption: "aws:kms",
            }),
          ),
          "NotImplemented",
          501,
        );
      },
    }),
});
