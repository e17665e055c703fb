/** Versions, delete markers and object lock, as the JavaScript SDK finds them. */
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectLegalHoldCommand,
  GetObjectLockConfigurationCommand,
  GetObjectRetentionCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  paginateListObjectsV2,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand,
  PutObjectRetentionCommand,
  type S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import assert from "node:assert/strict";
import { keptAlive, refused, textOf, withPredastore } from "./steps.ts";

const Bucket = "versions";

async function put(s3: S3Client, Key: string, Body: string, bucket = Bucket): Promise<string> {
  const { VersionId } = await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
  return VersionId ?? "";
}

const setVersioning = (s3: S3Client, Status: "Enabled" | "Suspended") =>
  s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }));

async function versions(s3: S3Client, prefix = "") {
  const found = await s3.send(new ListObjectVersionsCommand({ Bucket, Prefix: prefix }));
  return [
    ...(found.Versions ?? []).map((one) => ({ ...one, marker: false })),
    ...(found.DeleteMarkers ?? []).map((one) => ({ ...one, marker: true })),
  ];
}

Deno.test({
  name: "versions, delete markers and object lock are S3's",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "versioning: every put is a version, and old ones stay readable": async (s3) => {
        await s3.send(new CreateBucketCommand({ Bucket }));
        assert.equal(
          (await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status,
          undefined,
        );
        const plain = await s3.send(
          new PutObjectCommand({ Bucket, Key: "k", Body: "before" }),
        );
        assert.equal(plain.VersionId, undefined);
        await setVersioning(s3, "Enabled");
        assert.equal((await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status, "Enabled");
        const one = await put(s3, "k", "one");
        const two = await put(s3, "k", "two");
        assert.notEqual(one, two);
        assert.equal(await textOf(s3, Bucket, "k"), "two");
        assert.equal(await textOf(s3, Bucket, "k", one), "one");
        assert.equal(await textOf(s3, Bucket, "k", "null"), "before");
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "k" }));
        assert.equal(head.VersionId, two);
        assert.deepEqual(
          (await versions(s3)).map(({ VersionId, IsLatest }) => [VersionId, IsLatest]),
          [[two, true], [one, false], ["null", false]],
        );
        await refused(textOf(s3, Bucket, "k", "no version"), "InvalidArgument", 400);
        await refused(textOf(s3, Bucket, "other", one), "NoSuchVersion", 404);
      },

      "versioning: a delete marker hides, and removing it brings back": async (s3) => {
        const gone = await s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
        assert.equal(gone.DeleteMarker, true);
        await assert.rejects(textOf(s3, Bucket, "k"), (error: S3ServiceException) => {
          assert.equal(error.name, "NoSuchKey");
          assert.equal(error.$response?.headers["x-amz-delete-marker"], "true");
          assert.equal(error.$response?.headers["x-amz-version-id"], gone.VersionId);
          return true;
        });
        await refused(textOf(s3, Bucket, "k", gone.VersionId), "MethodNotAllowed", 405);
        assert.equal((await s3.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 0);
        const [latest] = (await versions(s3)).filter(({ marker }) => marker);
        assert.deepEqual([latest?.VersionId, latest?.IsLatest], [gone.VersionId, true]);
        const back = await s3.send(
          new DeleteObjectCommand({ Bucket, Key: "k", VersionId: gone.VersionId }),
        );
        assert.equal(back.DeleteMarker, true);
        assert.equal(await textOf(s3, Bucket, "k"), "two");
      },

      "versioning: removing the current version shows the one before": async (s3) => {
        const before = (await versions(s3, "k")).map(({ VersionId }) => VersionId);
        await s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: before[0] }));
        assert.equal(await textOf(s3, Bucket, "k"), "one");
        assert.deepEqual(
          (await versions(s3, "k")).map(({ VersionId }) => VersionId),
          before.slice(1),
        );
        // An older version copied over itself becomes the newest.
        const copy = await s3.send(
          new CopyObjectCommand({ Bucket, Key: "k", CopySource: `${Bucket}/k?versionId=null` }),
        );
        assert.ok(copy.VersionId);
        assert.equal(await textOf(s3, Bucket, "k"), "before");
      },

      "versioning: suspended, puts and deletes replace the null version only": async (s3) => {
        await setVersioning(s3, "Suspended");
        // A put that makes the null version tells no id, a read does.
        assert.equal(await put(s3, "s", "null one"), "");
        await setVersioning(s3, "Enabled");
        const kept = await put(s3, "s", "kept");
        await setVersioning(s3, "Suspended");
        assert.equal(await put(s3, "s", "null two"), "");
        assert.equal(await textOf(s3, Bucket, "s"), "null two");
        assert.deepEqual(
          (await versions(s3, "s")).map(({ VersionId }) => VersionId),
          ["null", kept],
        );
        const gone = await s3.send(new DeleteObjectCommand({ Bucket, Key: "s" }));
        assert.deepEqual([gone.DeleteMarker, gone.VersionId], [true, "null"]);
        assert.deepEqual(
          (await versions(s3, "s")).map(({ VersionId, marker }) => [VersionId, marker]),
          [[kept, false], ["null", true]],
        );
        assert.equal(await textOf(s3, Bucket, "s", kept), "kept");
        await setVersioning(s3, "Enabled");
      },

      "versioning: ListObjectVersions pages by key and version, with prefix and delimiter": async (
        s3,
      ) => {
        for (const key of ["p/a", "p/b/1", "p/b/2", "p/c"]) {
          await put(s3, key, "1");
          await put(s3, key, "2");
        }
        const all: string[] = [];
        let KeyMarker: string | undefined;
        let VersionIdMarker: string | undefined;
        for (let pages = 0; pages < 20; pages++) {
          const page = await s3.send(
            new ListObjectVersionsCommand({
              Bucket,
              Prefix: "p/",
              MaxKeys: 3,
              ...(KeyMarker === undefined ? {} : { KeyMarker }),
              ...(VersionIdMarker === undefined ? {} : { VersionIdMarker }),
            }),
          );
          all.push(...(page.Versions ?? []).map(({ Key, VersionId }) => `${Key} ${VersionId}`));
          if (page.IsTruncated !== true) break;
          ({ NextKeyMarker: KeyMarker, NextVersionIdMarker: VersionIdMarker } = page);
        }
        assert.equal(all.length, 8);
        assert.equal(new Set(all).size, 8);
        const grouped = await s3.send(
          new ListObjectVersionsCommand({ Bucket, Prefix: "p/", Delimiter: "/" }),
        );
        assert.deepEqual(grouped.CommonPrefixes?.map(({ Prefix }) => Prefix), ["p/b/"]);
        assert.equal(grouped.Versions?.length, 4);
        await refused(
          s3.send(new ListObjectVersionsCommand({ Bucket, VersionIdMarker: "null" })),
          "InvalidArgument",
          400,
        );
      },

      "versioning: DeleteObjects takes versions and tells of markers": async (s3) => {
        const version = await put(s3, "many", "x");
        const { Deleted } = await s3.send(
          new DeleteObjectsCommand({
            Bucket,
            Delete: { Objects: [{ Key: "many" }, { Key: "p/a" }] },
          }),
        );
        assert.ok(
          Deleted?.every(({ DeleteMarker, DeleteMarkerVersionId }) =>
            DeleteMarker === true && DeleteMarkerVersionId !== undefined
          ),
        );
        const again = await s3.send(
          new DeleteObjectsCommand({
            Bucket,
            Delete: { Objects: [{ Key: "many", VersionId: version }] },
          }),
        );
        assert.deepEqual(again.Deleted?.map(({ VersionId }) => VersionId), [version]);
        await refused(s3.send(new DeleteBucketCommand({ Bucket })), "BucketNotEmpty", 409);
      },

      "versioning survives a restart and an index made again": async (s3, test) => {
        const before = await versions(s3);
        await test.process().stop();
        for (const suffix of ["", "-wal", "-shm"]) {
          await Deno.remove(`${test.node.paths.service("predastore")}/index.db${suffix}`)
            .catch(() => {});
        }
        await test.restart();
        const shown = (all: typeof before) =>
          all.map(({ Key, VersionId, IsLatest, marker }) => [Key, VersionId, IsLatest, marker]);
        assert.deepEqual(shown(await versions(s3)), shown(before));
        assert.equal((await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status, "Enabled");
      },

      "object lock: needs a bucket made for it, and keeps its versioning on": async (s3) => {
        await refused(
          s3.send(
            new PutObjectRetentionCommand({
              Bucket,
              Key: "k",
              Retention: { Mode: "GOVERNANCE", RetainUntilDate: new Date(Date.now() + 60_000) },
            }),
          ),
          "InvalidRequest",
          400,
        );
        await s3.send(
          new CreateBucketCommand({ Bucket: "locked", ObjectLockEnabledForBucket: true }),
        );
        const { ObjectLockConfiguration } = await s3.send(
          new GetObjectLockConfigurationCommand({ Bucket: "locked" }),
        );
        assert.deepEqual(ObjectLockConfiguration, { ObjectLockEnabled: "Enabled" });
        await refused(
          s3.send(
            new PutBucketVersioningCommand({
              Bucket: "locked",
              VersioningConfiguration: { Status: "Suspended" },
            }),
          ),
          "InvalidBucketState",
          409,
        );
        await refused(
          s3.send(new GetObjectLockConfigurationCommand({ Bucket: "bucket" })),
          "ObjectLockConfigurationNotFoundError",
          404,
        );
      },

      "object lock: retention keeps a version from being deleted": async (s3) => {
        const VersionId = await put(s3, "k", "kept", "locked");
        const target = { Bucket: "locked", Key: "k", VersionId };
        const until = (ms: number) => new Date(Math.floor((Date.now() + ms) / 1000) * 1000);
        const RetainUntilDate = until(3_600_000);
        await refused(
          s3.send(new GetObjectRetentionCommand(target)),
          "NoSuchObjectLockConfiguration",
          404,
        );
        const set = (Mode: "GOVERNANCE" | "COMPLIANCE", date: Date, bypass = false) =>
          s3.send(
            new PutObjectRetentionCommand({
              ...target,
              Retention: { Mode, RetainUntilDate: date },
              ...(bypass ? { BypassGovernanceRetention: true } : {}),
            }),
          );
        await set("GOVERNANCE", RetainUntilDate);
        const { Retention } = await s3.send(new GetObjectRetentionCommand(target));
        assert.deepEqual(Retention, { Mode: "GOVERNANCE", RetainUntilDate });
        const head = await s3.send(new HeadObjectCommand(target));
        assert.equal(head.ObjectLockMode, "GOVERNANCE");
        await refused(s3.send(new DeleteObjectCommand(target)), "AccessDenied", 403);
        // Hiding it is no harm.
        const hidden = await s3.send(new DeleteObjectCommand({ Bucket: "locked", Key: "k" }));
        assert.equal(hidden.DeleteMarker, true);
        assert.equal(await textOf(s3, "locked", "k", VersionId), "kept");
        await refused(set("GOVERNANCE", until(60_000)), "AccessDenied", 403);
        await set("GOVERNANCE", until(60_000), true);
        await set("COMPLIANCE", until(7_200_000), true);
        await refused(set("GOVERNANCE", until(9_000_000), true), "AccessDenied", 403);
        await refused(
          s3.send(new DeleteObjectCommand({ ...target, BypassGovernanceRetention: true })),
          "AccessDenied",
          403,
        );
        const governed = await put(s3, "g", "x", "locked");
        const other = { Bucket: "locked", Key: "g", VersionId: governed };
        await s3.send(
          new PutObjectRetentionCommand({
            ...other,
            Retention: { Mode: "GOVERNANCE", RetainUntilDate },
          }),
        );
        await s3.send(new DeleteObjectCommand({ ...other, BypassGovernanceRetention: true }));
        await refused(textOf(s3, "locked", "g", governed), "NoSuchVersion", 404);
      },

      "object lock: a legal hold keeps a version until it is lifted": async (s3) => {
        const VersionId = await put(s3, "hold", "kept", "locked");
        const target = { Bucket: "locked", Key: "hold", VersionId };
        const hold = (Status: "ON" | "OFF") =>
          s3.send(new PutObjectLegalHoldCommand({ ...target, LegalHold: { Status } }));
        await hold("ON");
        const { LegalHold } = await s3.send(new GetObjectLegalHoldCommand(target));
        assert.equal(LegalHold?.Status, "ON");
        await refused(
          s3.send(new DeleteObjectCommand({ ...target, BypassGovernanceRetention: true })),
          "AccessDenied",
          403,
        );
        const { Errors } = await s3.send(
          new DeleteObjectsCommand({
            Bucket: "locked",
            Delete: { Objects: [{ Key: "hold", VersionId }] },
          }),
        );
        assert.deepEqual(Errors?.map(({ Code }) => Code), ["AccessDenied"]);
        await hold("OFF");
        await s3.send(new DeleteObjectCommand(target));
        await refused(s3.send(new GetObjectCommand(target)), "NoSuchVersion", 404);
      },

      "object lock: a bucket's default and a write's headers lock what is written": async (
        s3,
        test,
      ) => {
        await s3.send(
          new PutObjectLockConfigurationCommand({
            Bucket: "locked",
            ObjectLockConfiguration: {
              ObjectLockEnabled: "Enabled",
              Rule: { DefaultRetention: { Mode: "GOVERNANCE", Days: 3 } },
            },
          }),
        );
        const VersionId = await put(s3, "default", "x", "locked");
        const head = await s3.send(new HeadObjectCommand({ Bucket: "locked", Key: "default" }));
        assert.equal(head.ObjectLockMode, "GOVERNANCE");
        const days = ((head.ObjectLockRetainUntilDate?.getTime() ?? 0) - Date.now()) / 86_400_000;
        assert.ok(days > 2.9 && days <= 3, String(days));
        await refused(
          s3.send(new DeleteObjectCommand({ Bucket: "locked", Key: "default", VersionId })),
          "AccessDenied",
          403,
        );
        const held = { Bucket: "locked", Key: "held" };
        await s3.send(
          new PutObjectCommand({ ...held, Body: "x", ObjectLockLegalHoldStatus: "ON" }),
        );
        const both = await s3.send(new HeadObjectCommand(held));
        assert.equal(both.ObjectLockLegalHoldStatus, "ON");
        assert.equal(both.ObjectLockMode, "GOVERNANCE", "the bucket's default holds besides");
        const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket: "locked", Key: "sum" }));
        using client = Deno.createHttpClient({ caCerts: [test.ca] });
        const bare = await fetch(url, { method: "PUT", body: "x", client });
        assert.equal(bare.status, 400);
        assert.match(await bare.text(), /Content-MD5 OR x-amz-checksum- HTTP header is required/);
        const RetainUntilDate = new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000);
        await s3.send(
          new PutObjectCommand({
            Bucket: "locked",
            Key: "own",
            Body: "x",
            ObjectLockMode: "COMPLIANCE",
            ObjectLockRetainUntilDate: RetainUntilDate,
            ObjectLockLegalHoldStatus: "ON",
          }),
        );
        const own = await s3.send(new HeadObjectCommand({ Bucket: "locked", Key: "own" }));
        assert.equal(own.ObjectLockMode, "COMPLIANCE");
        assert.equal(own.ObjectLockLegalHoldStatus, "ON");
        assert.deepEqual(own.ObjectLockRetainUntilDate, RetainUntilDate);
        await refused(
          s3.send(
            new PutObjectCommand({
              Bucket: "bucket",
              Key: "x",
              Body: "x",
              ObjectLockLegalHoldStatus: "ON",
            }),
          ),
          "InvalidRequest",
          400,
        );
      },

      "listing goes over hidden keys without end": async (s3) => {
        for await (const page of paginateListObjectsV2({ client: s3, pageSize: 2 }, { Bucket })) {
          assert.ok((page.Contents ?? []).every(({ Key }) => Key !== "many"));
        }
      },
    }),
});
