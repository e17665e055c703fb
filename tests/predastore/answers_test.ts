/** What answers tell besides the object: when it expires, what of its metadata is missing, which part it is. */
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  DeleteBucketLifecycleCommand,
  GetBucketLifecycleConfigurationCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
  type TransitionStorageClass,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { keptAlive, refused, withPredastore } from "./steps.ts";

const Bucket = "bucket";
const day_ms = 86_400_000;

/** Has the command carry a header that the client itself has no field for. */
function withHeader(command: GetObjectCommand, name: string, value: string): GetObjectCommand {
  command.middlewareStack.add((next) => (args) => {
    const { headers } = args.request as { headers: Record<string, string> };
    headers[name] = value;
    return next(args);
  }, { step: "build", priority: "low" });
  return command;
}

async function read(s3: S3Client, command: GetObjectCommand) {
  const { Body, $metadata, ...told } = await s3.send(command);
  return { ...told, status: $metadata.httpStatusCode, text: await Body?.transformToString() };
}

Deno.test({
  name: "answers tell what S3 tells besides the object",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "lifecycle: writes and reads tell when an object expires, and by which rule": async (s3) => {
        const rule = (
          ID: string,
          Prefix: string,
          Days: number,
          Status: "Enabled" | "Disabled",
        ) => ({
          ...{ ID, Status, Filter: { Prefix }, Expiration: { Days } },
          AbortIncompleteMultipartUpload: { DaysAfterInitiation: Days + 1 },
        });
        const Rules = [
          rule("all of it", "", 9, "Enabled"),
          rule("soon & gone", "soon/", 3, "Enabled"),
          rule("off", "", 1, "Disabled"),
        ];
        await s3.send(
          new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }),
        );
        const midnight = (days: number) =>
          new Date(Math.ceil((Date.now() + days * day_ms) / day_ms) * day_ms).toUTCString();
        const soon = `expiry-date="${midnight(3)}", rule-id="soon & gone"`;
        const target = { Bucket, Key: "soon/a" };
        assert.equal(
          (await s3.send(new PutObjectCommand({ ...target, Body: "x" }))).Expiration,
          soon,
        );
        assert.equal((await s3.send(new HeadObjectCommand(target))).Expiration, soon);
        assert.equal((await read(s3, new GetObjectCommand(target))).Expiration, soon);
        const copy = new CopyObjectCommand({ Bucket, Key: "late/a", CopySource: "bucket/soon/a" });
        assert.equal(
          (await s3.send(copy)).Expiration,
          `expiry-date="${midnight(9)}", rule-id="all of it"`,
        );
        const upload = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "soon/u" }));
        assert.equal(upload.AbortDate?.toUTCString(), midnight(4));
        assert.equal(upload.AbortRuleId, "soon & gone");
        const parts = await s3.send(
          new ListPartsCommand({ Bucket, Key: "soon/u", UploadId: upload.UploadId }),
        );
        assert.equal(parts.AbortRuleId, upload.AbortRuleId);
        await s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
        assert.equal((await s3.send(new HeadObjectCommand(target))).Expiration, undefined);
      },

      "lifecycle: transitions come back, and what AWS refuses of them is refused": async (s3) => {
        const put = (rule: object) =>
          s3.send(
            new PutBucketLifecycleConfigurationCommand({
              Bucket,
              LifecycleConfiguration: {
                Rules: [{ ID: "r", Status: "Enabled", Filter: { Prefix: "t/" }, ...rule }],
              },
            }),
          );
        const to = (StorageClass: TransitionStorageClass, Days: number) => ({ StorageClass, Days });
        const rule = {
          Transitions: [to("STANDARD_IA", 30), to("GLACIER_IR", 60)],
          NoncurrentVersionTransitions: [{
            NoncurrentDays: 30,
            NewerNoncurrentVersions: 2,
            StorageClass: "ONEZONE_IA" as const,
          }],
          Expiration: { Days: 90 },
        };
        await put(rule);
        const got = await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
        assert.deepEqual(got.Rules, [
          { ID: "r", Status: "Enabled", Filter: { Prefix: "t/" }, ...rule },
        ]);
        assert.equal(got.TransitionDefaultMinimumObjectSize, "all_storage_classes_128K");
        for (
          const [bad, code] of [
            [{ Transitions: [to("STANDARD_IA", 29)] }, "InvalidArgument"],
            [{ Transitions: [to("GLACIER_IR", 90)], Expiration: { Days: 90 } }, "InvalidArgument"],
            [{ Transitions: [to("GLACIER_IR", 1), to("GLACIER_IR", 2)] }, "InvalidRequest"],
            [{ Transitions: [{ StorageClass: "GLACIER_IR" }] }, "MalformedXML"],
            [{ Transitions: [to("COLD" as "GLACIER", 1)] }, "MalformedXML"],
            [{
              Transitions: [{ StorageClass: "GLACIER_IR", Date: new Date(0) }],
              Expiration: { Days: 1 },
            }, "InvalidRequest"],
          ] as const
        ) await refused(put(bad), code, 400);
        await s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
      },

      "ranges: If-Range decides whether the part still means the same object": async (s3) => {
        const target = { Bucket, Key: "ranged" };
        const { ETag = "" } = await s3.send(
          new PutObjectCommand({ ...target, Body: "0123456789" }),
        );
        const { LastModified } = await s3.send(new HeadObjectCommand(target));
        const ask = (ifRange: string) =>
          read(
            s3,
            withHeader(
              new GetObjectCommand({ ...target, Range: "bytes=2-4" }),
              "if-range",
              ifRange,
            ),
          );
        for (const same of [ETag, LastModified?.toUTCString() ?? ""]) {
          const part = await ask(same);
          assert.equal(part.status, 206);
          assert.equal(part.text, "234");
        }
        const before = new Date((LastModified?.getTime() ?? 0) - 5000).toUTCString();
        for (const other of ['"other"', `W/${ETag}`, before]) {
          const whole = await ask(other);
          assert.equal(whole.status, 200, other);
          assert.equal(whole.text, "0123456789");
        }
        await refused(
          s3.send(new GetObjectCommand({ ...target, Range: "bytes=0-1", PartNumber: 1 })),
          "InvalidRequest",
          400,
        );
      },

      "user metadata that is no plain text is given back encoded, as S3 does": async (s3) => {
        const target = { Bucket, Key: "named" };
        const given = { nonascii: "ÄMÄZÕÑ S3" };
        await s3.send(new PutObjectCommand({ ...target, Body: "x", Metadata: given }));
        const { Metadata } = await s3.send(new HeadObjectCommand(target));
        // The example of the S3 user guide.
        assert.deepEqual(Metadata, { nonascii: "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?=" });
      },

      "multipart: who completes again what was completed hears the same": async (s3) => {
        const target = { Bucket, Key: "twice" };
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
        const { ETag } = await s3.send(
          new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: "part" }),
        );
        const complete = (etag = ETag) =>
          s3.send(
            new CompleteMultipartUploadCommand({
              ...target,
              UploadId,
              MultipartUpload: { Parts: [{ PartNumber: 1, ETag: etag }] },
            }),
          );
        const first = await complete();
        assert.match(first.Location ?? "", /^https:\/\/localhost:\d+\/bucket\/twice$/);
        const { $metadata: _first, ...told } = first;
        const { $metadata: _again, ...again } = await complete();
        assert.deepEqual(again, told);
        await refused(complete("0".repeat(32)), "NoSuchUpload", 404);
        await s3.send(new PutObjectCommand({ ...target, Body: "newer" }));
        await refused(complete(), "NoSuchUpload", 404);
      },

      "multipart: checksums of parts are told where the upload has some": async (s3) => {
        const size = 5 << 20;
        const made = async (Key: string, algorithm: Partial<CreateMultipartUploadCommandInput>) => {
          const target = { Bucket, Key };
          const { UploadId } = await s3.send(
            new CreateMultipartUploadCommand({ ...target, ...algorithm }),
          );
          const Parts = [];
          for (const [at, Body] of [Buffer.alloc(size, 1), Buffer.alloc(9, 2)].entries()) {
            const part = { ...target, ...algorithm, UploadId, PartNumber: at + 1, Body };
            const { ETag, ChecksumSHA256 } = await s3.send(new UploadPartCommand(part));
            Parts.push({ PartNumber: at + 1, ETag, ChecksumSHA256 });
          }
          await s3.send(
            new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
          );
          const asked = { ...target, ObjectAttributes: ["ObjectParts" as const] };
          const { ObjectParts } = await s3.send(new GetObjectAttributesCommand(asked));
          const page = await s3.send(
            new GetObjectAttributesCommand({ ...asked, MaxParts: 1, PartNumberMarker: "1" }),
          );
          return { Parts, ObjectParts, page: page.ObjectParts };
        };
        const sums = await made("summed", { ChecksumAlgorithm: "SHA256" });
        assert.equal(sums.ObjectParts?.TotalPartsCount, 2);
        assert.deepEqual(
          sums.ObjectParts?.Parts,
          sums.Parts.map(({ PartNumber, ChecksumSHA256 }, at) => ({
            ...{ PartNumber, ChecksumSHA256 },
            Size: at === 0 ? size : 9,
          })),
        );
        assert.ok(sums.Parts.every(({ ChecksumSHA256 }) => (ChecksumSHA256?.length ?? 0) === 44));
        assert.deepEqual(sums.page?.Parts?.map(({ PartNumber }) => PartNumber), [2]);
        assert.equal(sums.page?.IsTruncated, false);
        const second = await read(
          s3,
          new GetObjectCommand({
            ...{ Bucket, Key: "summed", PartNumber: 2 },
            ChecksumMode: "ENABLED",
          }),
        );
        assert.equal(second.status, 206);
        assert.equal(second.PartsCount, 2);
        assert.equal(second.ChecksumSHA256, sums.Parts[1]?.ChecksumSHA256);
        assert.equal(second.text, "\x02".repeat(9));
        await refused(
          s3.send(
            new UploadPartCommand({
              ...{ Bucket, Key: "other", PartNumber: 1, Body: "x", ChecksumAlgorithm: "SHA1" },
              UploadId: (await s3.send(
                new CreateMultipartUploadCommand({
                  ...{ Bucket, Key: "other", ChecksumAlgorithm: "SHA256" },
                }),
              )).UploadId,
            }),
          ),
          "InvalidRequest",
          400,
        );
      },

      "errors tell their details as S3 does": async (s3) => {
        const target = { Bucket, Key: "detailed" };
        await s3.send(new PutObjectCommand({ ...target, Body: "0123" }));
        const details = async (work: Promise<unknown>) => {
          try {
            await work;
          } catch (error) {
            return error as Readonly<Record<string, string>>;
          }
          assert.fail("it was not refused");
        };
        const exists = await details(
          s3.send(new PutObjectCommand({ ...target, Body: "x", IfNoneMatch: "*" })),
        );
        assert.equal(exists["Condition"], "If-None-Match");
        assert.equal(
          exists["message"],
          "At least one of the pre-conditions you specified did not hold",
        );
        const beyond = await details(
          s3.send(new GetObjectCommand({ ...target, Range: "bytes=9-10" })),
        );
        assert.equal(beyond["RangeRequested"], "bytes=9-10");
        assert.equal(beyond["ActualObjectSize"], "4");
        const upload = await details(
          s3.send(new ListPartsCommand({ ...target, UploadId: "none" })),
        );
        assert.equal(upload["UploadId"], "none");
      },

      "copies: a source may be encoded as a whole, as clients do": async (s3) => {
        const Key = "copied/a b+c%2Fd";
        await s3.send(new PutObjectCommand({ Bucket, Key, Body: "copied" }));
        const whole = encodeURIComponent(`${Bucket}/${Key}`);
        const parts = `/${Bucket}/${Key.split("/").map(encodeURIComponent).join("/")}`;
        for (const CopySource of [whole, parts]) {
          await s3.send(new CopyObjectCommand({ Bucket, Key: "copied/to", CopySource }));
          assert.equal(
            (await read(s3, new GetObjectCommand({ Bucket, Key: "copied/to" }))).text,
            "copied",
          );
        }
        await refused(
          s3.send(new CopyObjectCommand({ Bucket, Key: "x", CopySource: `${Bucket}%2F` })),
          "InvalidArgument",
          400,
        );
      },

      "listings encode keys as S3 does": async (s3) => {
        const Key = "enc/a b+c*(d)~'é&.txt";
        await s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
        const listed = await s3.send(
          new ListObjectsV2Command({ Bucket, Prefix: "enc/", EncodingType: "url" }),
        );
        assert.equal(listed.Contents?.[0]?.Key, "enc/a+b%2Bc*%28d%29%7E%27%C3%A9%26.txt");
        assert.equal(listed.EncodingType, "url");
      },

      "versioning: only the current version tells when it expires": async (s3) => {
        await s3.send(
          new PutBucketVersioningCommand({
            Bucket,
            VersioningConfiguration: { Status: "Enabled" },
          }),
        );
        const target = { Bucket, Key: "versioned" };
        const old = await s3.send(new PutObjectCommand({ ...target, Body: "1" }));
        const now = await s3.send(new PutObjectCommand({ ...target, Body: "2" }));
        const Rules = [{
          ...{ ID: "r", Status: "Enabled" as const, Filter: { Prefix: "" } },
          Expiration: { Days: 1 },
        }];
        await s3.send(
          new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }),
        );
        const told = async (VersionId?: string) =>
          (await s3.send(new HeadObjectCommand({ ...target, VersionId }))).Expiration;
        assert.match(await told() ?? "", /^expiry-date=/);
        assert.match(await told(now.VersionId) ?? "", /^expiry-date=/);
        assert.equal(await told(old.VersionId), undefined);
      },
    }),
});
