/** Policies that ask for conditions of writes and deletions, with the real identity. */
import assert from "node:assert/strict";
import * as S3 from "@aws-sdk/client-s3";
import { startNode } from "../kit/node.ts";
import { bucketUsers } from "./bucket_users.ts";
import { answered } from "./answered.ts";
import { keptAlive, refused } from "./steps.ts";

Deno.test({
  name: "bucket policies may ask for conditions, of what makes an object and of what deletes one",
  ...keptAlive,
  fn: async (t) => {
    await using node = await startNode();
    const { admin, boss, ada } = await bucketUsers(node);
    const Bucket = "conditional";
    await boss.send(new S3.CreateBucketCommand({ Bucket }));
    const lets = (Action: string | string[], Condition?: object) => ({
      Effect: "Allow",
      Principal: { AWS: `arn:aws:iam::${admin.account_id}:user/ada` },
      Action,
      Resource: `arn:aws:s3:::${Bucket}/*`,
      ...(Condition === undefined ? {} : { Condition }),
    });
    const setPolicy = (...Statement: object[]) =>
      boss.send(
        new S3.PutBucketPolicyCommand({
          Bucket,
          Policy: JSON.stringify({ Version: "2012-10-17", Statement }),
        }),
      );
    const put = (Key: string, more: Partial<S3.PutObjectCommandInput> = {}) =>
      ada.send(new S3.PutObjectCommand({ Bucket, Key, Body: "x", ...more }));
    const etagOf = async (Key: string) => {
      const { ETag } = await boss.send(new S3.HeadObjectCommand({ Bucket, Key }));
      return ETag ?? "";
    };

    await t.step(
      "bucket policies know what makes an object, and exempt the parts of one",
      async () => {
        // As AWS documents how to have objects made and never replaced.
        await setPolicy(
          lets("s3:PutObject", { Null: { "s3:if-none-match": "false" } }),
          lets("s3:PutObject", { Bool: { "s3:ObjectCreationOperation": "false" } }),
        );
        await refused(put("made"), "AccessDenied", 403);
        await put("made", { IfNoneMatch: "*" });
        const upload = { Bucket, Key: "parts" };
        const { UploadId } = await ada.send(new S3.CreateMultipartUploadCommand(upload));
        const of = { ...upload, UploadId };
        const { ETag } = await ada.send(
          new S3.UploadPartCommand({ ...of, PartNumber: 1, Body: "part" }),
        );
        const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
        const complete = (more: object) =>
          ada.send(new S3.CompleteMultipartUploadCommand({ ...of, MultipartUpload, ...more }));
        await refused(complete({}), "AccessDenied", 403);
        await complete({ IfNoneMatch: "*" });
        await setPolicy(
          lets(["s3:PutObject", "s3:GetObject"]),
          {
            ...lets("s3:PutObject", { Bool: { "s3:ObjectCreationOperation": "true" } }),
            Effect: "Deny",
          },
        );
        await refused(put("none"), "AccessDenied", 403);
        await refused(
          ada.send(
            new S3.CopyObjectCommand({ Bucket, Key: "none", CopySource: `${Bucket}/made` }),
          ),
          "AccessDenied",
          403,
        );
        await ada.send(new S3.CreateMultipartUploadCommand({ Bucket, Key: "none" }));
      },
    );

    await t.step("bucket policies let those compare an ETag who may read the object", async () => {
      const IfMatch = await etagOf("made");
      const unlink = (Key: string, more: object = {}) =>
        ada.send(new S3.DeleteObjectCommand({ Bucket, Key, ...more }));
      await setPolicy(lets(["s3:PutObject", "s3:DeleteObject"]));
      await refused(put("made", { IfMatch }), "AccessDenied", 403);
      await refused(put("made", { IfMatch: '"other"' }), "AccessDenied", 403);
      await refused(unlink("made", { IfMatch }), "AccessDenied", 403);
      const listed = await ada.send(
        new S3.DeleteObjectsCommand({
          Bucket,
          Delete: { Objects: [{ Key: "made", ETag: IfMatch }] },
        }),
      );
      assert.deepEqual(listed.Errors?.map(({ Code }) => Code), ["AccessDenied"]);
      await setPolicy(lets(["s3:PutObject", "s3:DeleteObject", "s3:GetObject"]));
      await put("made", { IfMatch });
      await unlink("made", { IfMatch });
      await setPolicy(lets(["s3:PutObject", "s3:DeleteObject"]));
      await put("made");
      // Whether there is one at all is no secret of its content.
      await unlink("made", { IfMatch: "*" });
    });

    await t.step(
      "bucket policies see a condition of each entry in a list of deletions",
      async () => {
        for (const Key of ["one", "two", "three"]) {
          await boss.send(new S3.PutObjectCommand({ Bucket, Key, Body: Key }));
        }
        await setPolicy(
          lets("s3:GetObject"),
          lets("s3:DeleteObject", { Null: { "s3:if-match": "false" } }),
        );
        const one = await etagOf("one");
        const list = () =>
          new S3.DeleteObjectsCommand({
            Bucket,
            Delete: { Objects: [{ Key: "one", ETag: one }, { Key: "two" }] },
          });
        const { Deleted, Errors } = await ada.send(list());
        assert.deepEqual(Deleted?.map(({ Key }) => Key), ["one"]);
        assert.deepEqual(Errors?.map(({ Key, Code }) => [Key, Code]), [["two", "AccessDenied"]]);
        // A header, which nothing is compared with there, is no condition.
        const claimed = await answered(
          ada,
          new S3.DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "three" }] } }),
          { "if-match": "*" },
        );
        assert.match(claimed.text, /<Error><Key>three<\/Key><Code>AccessDenied</);
        await etagOf("three");
      },
    );
  },
});
