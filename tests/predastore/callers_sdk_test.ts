/** The official JavaScript SDK against a predastore process over HTTPS: who may do what, and what is refused. */
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectAnnotationCommand,
  PutObjectCommand,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import assert from "node:assert/strict";
import { answered } from "./answered.ts";
import { keptAlive, refused, withPredastore } from "./steps.ts";

Deno.test(
  "the JavaScript SDK finds the S3 it knows: who may do what, and what is refused",
  keptAlive,
  (t) =>
    withPredastore(t, {
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
        const owned = await fetch(`${test.endpoint}/nobodys-bucket`, { method: "PUT", client });
        assert.equal(owned.status, 403);
        assert.match(
          await owned.text(),
          /<Message>Anonymous users cannot invoke this API. Please authenticate.<\/Message>/,
        );
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

        // Where a bucket is may be known by whoever may nothing with it.
        const client = Deno.createHttpClient({ caCerts: [test.ca] });
        const nobody = await fetch(`${test.endpoint}/bucket`, { method: "HEAD", client });
        client.close();
        assert.equal(nobody.status, 403);
        assert.equal(nobody.headers.get("x-amz-bucket-region"), "ap-southeast-2");
        for (const asker of [other, wrong, unknown]) {
          const head = await answered(asker, new HeadBucketCommand({ Bucket: "bucket" }));
          assert.equal(head.status, 403);
          assert.equal(head.headers["x-amz-bucket-region"], "ap-southeast-2");
        }
        const none = await answered(other, new HeadBucketCommand({ Bucket: "no-such-bucket" }));
        assert.equal(none.status, 404);
        assert.equal(none.headers["x-amz-bucket-region"], undefined);
      },

      "what is not served is refused by its name": async (s3) => {
        await assert.rejects(
          s3.send(
            new PutObjectAnnotationCommand({
              Bucket: "bucket",
              Key: "headers",
              AnnotationName: "a",
              AnnotationPayload: "x",
            }),
          ),
          (error: S3ServiceException) => {
            assert.equal(error.name, "NotImplemented");
            assert.equal(error.$metadata.httpStatusCode, 501);
            assert.match(error.message, /PutObjectAnnotation/);
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
);
