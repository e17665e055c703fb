/** The official JavaScript SDK against a predastore process over HTTPS: multipart uploads. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { content, keptAlive, md5, refused, same, withPredastore } from "./steps.ts";

Deno.test(
  "the JavaScript SDK finds the S3 it knows: multipart uploads",
  keptAlive,
  (t) =>
    withPredastore(t, {
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
    }),
);
