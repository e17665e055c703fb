/** What an object is given by which it can be checked when its client sends no checksum: CRC-64/NVME, as by S3. */
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { keptAlive, withPredastore } from "./steps.ts";

const Bucket = "bucket";

/** The value that S3 tells for a body by the client's own choice of the algorithm. */
async function summed(s3: S3Client, Body: Uint8Array): Promise<string | undefined> {
  const { ChecksumCRC64NVME } = await s3.send(
    new PutObjectCommand({ Bucket, Key: "summed", Body, ChecksumAlgorithm: "CRC64NVME" }),
  );
  return ChecksumCRC64NVME;
}

async function told(s3: S3Client, Key: string) {
  const { ChecksumCRC64NVME, ChecksumCRC32, ChecksumType } = await s3.send(
    new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }),
  );
  return { ChecksumCRC64NVME, ChecksumCRC32, ChecksumType };
}

Deno.test(
  "default checksums: what comes without one is given CRC-64/NVME",
  keptAlive,
  (t) =>
    withPredastore(t, {
      "one upload: told by PutObject, HeadObject, attributes and lists": async (s3, test) => {
        const silent = test.s3(undefined, { requestChecksumCalculation: "WHEN_REQUIRED" });
        for (const size of [0, 1, 20_000, 700_000]) {
          const Body = bytesOf(size, size);
          const expected = await summed(s3, Body);
          assert.ok(expected !== undefined);
          const put = await silent.send(new PutObjectCommand({ Bucket, Key: "silent", Body }));
          assert.equal(put.ChecksumCRC64NVME, expected, `${size} bytes`);
          assert.equal(put.ChecksumType, "FULL_OBJECT");
          assert.deepEqual(await told(s3, "silent"), {
            ChecksumCRC64NVME: expected,
            ChecksumCRC32: undefined,
            ChecksumType: "FULL_OBJECT",
          });
          const attributes = await s3.send(
            new GetObjectAttributesCommand({
              Bucket,
              Key: "silent",
              ObjectAttributes: ["Checksum"],
            }),
          );
          assert.deepEqual(attributes.Checksum, {
            ChecksumCRC64NVME: expected,
            ChecksumType: "FULL_OBJECT",
          });
        }
        const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "silent" }));
        assert.deepEqual(Contents?.[0]?.ChecksumAlgorithm, ["CRC64NVME"]);
        assert.equal(Contents?.[0]?.ChecksumType, "FULL_OBJECT");
        const plain = await s3.send(new HeadObjectCommand({ Bucket, Key: "silent" }));
        assert.equal(plain.ChecksumCRC64NVME, undefined);
      },

      "an upload in parts: of the whole, and told of no part": async (
        s3,
        test,
      ) => {
        const silent = test.s3(undefined, { requestChecksumCalculation: "WHEN_REQUIRED" });
        const first = bytesOf(1, 5 << 20);
        const last = bytesOf(2, 12_345);
        const where = { Bucket, Key: "parts" };
        const created = await silent.send(new CreateMultipartUploadCommand(where));
        assert.equal(created.ChecksumAlgorithm, undefined);
        const upload = { ...where, UploadId: created.UploadId };
        const one = await silent.send(
          new UploadPartCommand({ ...upload, PartNumber: 1, Body: first }),
        );
        assert.equal(one.ChecksumCRC64NVME, undefined);
        await silent.send(new PutObjectCommand({ Bucket, Key: "last", Body: last }));
        const two = await silent.send(
          new UploadPartCopyCommand({ ...upload, PartNumber: 2, CopySource: "bucket/last" }),
        );
        assert.equal(two.CopyPartResult?.ChecksumCRC64NVME, undefined);
        const listed = await s3.send(new ListPartsCommand(upload));
        assert.deepEqual(
          listed.Parts?.map(({ ChecksumCRC64NVME }) => ChecksumCRC64NVME),
          [undefined, undefined],
        );
        assert.equal(listed.ChecksumAlgorithm, undefined);
        const done = await silent.send(
          new CompleteMultipartUploadCommand({
            ...upload,
            MultipartUpload: {
              Parts: [
                { PartNumber: 1, ETag: one.ETag },
                { PartNumber: 2, ETag: two.CopyPartResult?.ETag },
              ],
            },
          }),
        );
        const expected = await summed(s3, new Uint8Array(Buffer.concat([first, last])));
        assert.equal(done.ChecksumCRC64NVME, expected);
        assert.equal(done.ChecksumType, "FULL_OBJECT");
        assert.equal((await told(s3, "parts")).ChecksumCRC64NVME, expected);
        const attributes = await s3.send(
          new GetObjectAttributesCommand({
            Bucket,
            Key: "parts",
            ObjectAttributes: ["ObjectParts", "Checksum"],
          }),
        );
        assert.equal(attributes.ObjectParts?.TotalPartsCount, 2);
        assert.equal(attributes.ObjectParts?.Parts, undefined);
        assert.equal(attributes.Checksum?.ChecksumCRC64NVME, expected);
      },

      "parts that are summed otherwise make an object that has it all the same": async (s3) => {
        const where = { Bucket, Key: "otherwise" };
        // The client says nothing when it begins, as many do, and then sums each part in its own way.
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(where));
        const part = await s3.send(
          new UploadPartCommand({
            ...where,
            UploadId,
            PartNumber: 1,
            Body: "part",
            ChecksumAlgorithm: "SHA256",
          }),
        );
        assert.ok(part.ChecksumSHA256 !== undefined);
        assert.equal(part.ChecksumCRC64NVME, undefined);
        const { ETag, ChecksumSHA256 } = part;
        const done = await s3.send(
          new CompleteMultipartUploadCommand({
            ...where,
            UploadId,
            MultipartUpload: { Parts: [{ PartNumber: 1, ETag, ChecksumSHA256 }] },
          }),
        );
        assert.equal(done.ChecksumType, "FULL_OBJECT");
        const expected = await summed(s3, new TextEncoder().encode("part"));
        assert.equal(done.ChecksumCRC64NVME, expected);
      },

      "a copy has the algorithm of its source, or the one it asks for": async (s3) => {
        const copy = async (from: string, more: object = {}) => {
          const { CopyObjectResult } = await s3.send(
            new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `bucket/${from}`, ...more }),
          );
          assert.equal(CopyObjectResult?.ChecksumType, "FULL_OBJECT");
          return await told(s3, "copy");
        };
        assert.ok((await copy("parts")).ChecksumCRC64NVME !== undefined);
        assert.ok((await copy("otherwise")).ChecksumCRC64NVME !== undefined);
        assert.ok((await copy("parts", { ChecksumAlgorithm: "CRC32" })).ChecksumCRC32);
      },
    }),
);
