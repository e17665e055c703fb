/** The official JavaScript SDK against a predastore process over HTTPS: buckets and what lists them. */
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetBucketLocationCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { keptAlive, refused, withPredastore } from "./steps.ts";

Deno.test(
  "the JavaScript SDK finds the S3 it knows: buckets and what lists them",
  keptAlive,
  (t) =>
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
    }),
);
