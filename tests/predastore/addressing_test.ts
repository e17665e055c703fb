/** Other ways in: forms that browsers post, buckets as host names, and uploads at their limits. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { lookup } from "node:dns";
import { Agent } from "node:https";
import { deriveSigningKey } from "../../services/aws/signatures/sigv4.ts";
import { accounts, type TestPredastore } from "../kit/predastore.ts";
import { keptAlive, refused, textOf, withPredastore } from "./steps.ts";

const Bucket = "bucket";

interface FormOptions {
  /** What the form has for a policy, instead of one that is made of the rest. */
  readonly policy?: string;
  /** Undefined for a file that has no name. */
  readonly file_name?: string | undefined;
  readonly content_type?: string;
  readonly key?: string;
  readonly conditions?: readonly unknown[];
  readonly fields?: Readonly<Record<string, string>>;
  readonly content?: string | Uint8Array<ArrayBuffer>;
  readonly expires_ms?: number;
  readonly secret?: string;
}

/** Posts a form as a browser does that was given a signed policy. */
async function post(test: TestPredastore, options: FormOptions = {}): Promise<Response> {
  const now = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = { date: now.slice(0, 8), region: test.node.config.region, service: "s3" };
  const credential = `AKIATEST/${scope.date}/${scope.region}/s3/aws4_request`;
  const policy = options.policy ?? Buffer.from(JSON.stringify({
    expiration: new Date(Date.now() + (options.expires_ms ?? 60_000)).toISOString(),
    conditions: options.conditions ?? [
      { bucket: Bucket },
      ["starts-with", "$key", "form/"],
      ["starts-with", "$Content-Type", "text/"],
      ["content-length-range", 1, 1000],
      { "x-amz-algorithm": "AWS4-HMAC-SHA256" },
      { "x-amz-credential": credential },
      { "x-amz-date": now },
      ["starts-with", "$success_action_status", ""],
      ["starts-with", "$x-amz-meta-from", ""],
      ["starts-with", "$x-amz-storage-class", ""],
      ["starts-with", "$tagging", ""],
    ],
  })).toString("base64");
  const key = deriveSigningKey(options.secret ?? accounts.AKIATEST.secret, scope);
  const form = new FormData();
  const fields = {
    key: options.key ?? "form/${filename}",
    "Content-Type": "text/plain",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": credential,
    "x-amz-date": now,
    policy,
    "x-amz-signature": createHmac("sha256", key).update(policy).digest("hex"),
    ...options.fields,
  };
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  const content = options.content ?? "hello";
  const named = !("file_name" in options) || options.file_name !== undefined;
  if (named) form.set("file", new Blob([content], { type: "text/plain" }), "a b.txt");
  else form.set("file", String(content));
  const client = Deno.createHttpClient({ caCerts: [test.ca] });
  try {
    const reply = await fetch(`${test.endpoint}/${Bucket}`, {
      method: "POST",
      ...(options.content_type === undefined
        ? { body: form }
        : { body: "a=b", headers: { "content-type": options.content_type } }),
      client,
      redirect: "manual",
    });
    const body = await reply.text();
    return new Response(reply.status === 204 || reply.status === 303 ? null : body, reply);
  } finally {
    client.close();
  }
}

Deno.test({
  name: "forms, host names and uploads at their limits are S3's",
  ...keptAlive,
  fn: (t) =>
    withPredastore(t, {
      "form upload: a browser's file is stored as its policy allows": async (s3, test) => {
        const plain = await post(test, { fields: { "x-amz-meta-from": "form" } });
        assert.equal(plain.status, 204);
        assert.equal(await textOf(s3, Bucket, "form/a b.txt"), "hello");
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "form/a b.txt" }));
        assert.equal(head.ContentType, "text/plain");
        assert.deepEqual(head.Metadata, { from: "form" });
        const made = await post(test, {
          key: "form/201",
          fields: { success_action_status: "201" },
        });
        assert.equal(made.status, 201);
        assert.match(await made.text(), /<Key>form\/201<\/Key>/);
      },

      "form upload: tags, and metadata that no header can have": async (s3, test) => {
        const tag = (Key: string, Value: string) =>
          `<Tag><Key>${Key}</Key><Value>${Value}</Value></Tag>`;
        const tagging = `<Tagging><TagSet>${tag("team", "a &amp; b")}</TagSet></Tagging>`;
        const conditions = [
          ["starts-with", "$key", ""],
          ...["Content-Type", "tagging", "x-amz-algorithm", "x-amz-credential", "x-amz-date"].map((
            name,
          ) => ["starts-with", `$${name}`, ""]),
          ...["text", "lines", "plain"].map((name) => ["starts-with", `$x-amz-meta-${name}`, ""]),
        ];
        const fields = {
          "x-amz-meta-text": "grün ☂",
          "x-amz-meta-lines": "a\r\nb",
          "x-amz-meta-plain": "plain",
        };
        const key = "form/tagged";
        const bad = await post(test, { key, conditions, fields: { ...fields, tagging: "<T>" } });
        assert.equal(bad.status, 400);
        assert.match(await bad.text(), /<Code>MalformedXML<\/Code>/);
        assert.equal(
          (await post(test, {
            key,
            conditions,
            fields: { ...fields, tagging: tagging.replace("a &amp; b", "a+b") },
          })).status,
          204,
        );
        const { TagSet } = await s3.send(new GetObjectTaggingCommand({ Bucket, Key: key }));
        assert.deepEqual(TagSet, [{ Key: "team", Value: "a+b" }]);
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: key }));
        assert.deepEqual(head.Metadata, {
          plain: "plain",
          text: `=?UTF-8?B?${Buffer.from("grün ☂").toString("base64")}?=`,
        });
        assert.equal(head.MissingMeta, 1);
      },

      "form upload: storage classes: a field of the form says which": async (s3, test) => {
        const asked = { key: "form/class", fields: { "x-amz-storage-class": "ONEZONE_IA" } };
        assert.equal((await post(test, asked)).status, 204);
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "form/class" }));
        assert.equal(head.StorageClass, "ONEZONE_IA");
        const none = await post(test, { ...asked, fields: { "x-amz-storage-class": "GLACIER" } });
        assert.equal(none.status, 400);
        assert.match(await none.text(), /<Code>InvalidStorageClass<\/Code>/);
      },

      "form upload: what the policy does not allow is refused and stores nothing": async (
        s3,
        test,
      ) => {
        const cases: readonly (readonly [FormOptions, number, string])[] = [
          [{ key: "elsewhere/x" }, 403, "AccessDenied"],
          [{ expires_ms: -1000 }, 403, "AccessDenied"],
          [{ secret: "wrong" }, 403, "SignatureDoesNotMatch"],
          [{ content: "x".repeat(1001) }, 400, "EntityTooLarge"],
          [{ content: "" }, 400, "EntityTooSmall"],
          [{ fields: { "x-amz-meta-unnamed": "x" } }, 403, "AccessDenied"],
          [{ fields: { "Content-Type": "image/png" } }, 403, "AccessDenied"],
          [{ fields: { "x-amz-credential": "AKIATEST/x" } }, 400, "InvalidArgument"],
        ];
        for (const [options, status, code] of cases) {
          const answer = await post(test, { key: "form/refused", ...options });
          const text = await answer.text();
          assert.equal(answer.status, status, text);
          assert.match(text, new RegExp(`<Code>${code}</Code>`));
        }
        const { Contents } = await s3.send(
          new ListObjectsV2Command({ Bucket, Prefix: "form/refused" }),
        );
        assert.equal(Contents, undefined);
      },

      "form upload: tags come as a document, and a file may have no name": async (s3, test) => {
        const tagged = {
          key: "form/tagged",
          fields: {
            tagging: "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>",
          },
        };
        assert.equal((await post(test, tagged)).status, 204);
        const { TagSet } = await s3.send(
          new GetObjectTaggingCommand({ Bucket, Key: "form/tagged" }),
        );
        assert.deepEqual(TagSet, [{ Key: "a", Value: "1" }]);
        const wrong = await post(test, { ...tagged, fields: { tagging: "a=1" } });
        assert.match(await wrong.text(), /<Code>MalformedXML<\/Code>/);
        const nameless = await post(test, { key: "form/${filename}", file_name: undefined });
        assert.equal(nameless.status, 204);
        assert.equal(await textOf(s3, Bucket, "form/${filename}"), "hello");
      },

      "form upload: what a refusal tells": async (_, test) => {
        const told = async (options: FormOptions) => {
          const answer = await post(test, { key: "form/refused", ...options });
          return `${answer.status} ${await answer.text()}`;
        };
        assert.match(
          await told({ content: "x".repeat(1001) }),
          /<ProposedSize>1001<\/ProposedSize><MaxSizeAllowed>1000<\/MaxSizeAllowed>/,
        );
        assert.match(
          await told({ content: "" }),
          /<ProposedSize>0<\/ProposedSize><MinSizeAllowed>1<\/MinSizeAllowed>/,
        );
        assert.match(
          await told({ key: "elsewhere/x" }),
          /Policy Condition failed: \[&quot;starts-with&quot;, &quot;\$key&quot;, &quot;form\/&quot;\]/,
        );
        assert.match(
          await told({ conditions: [["eq", "key", "form/refused"]] }),
          /^403 .*Policy Condition failed: \[&quot;eq&quot;, &quot;key&quot;/s,
        );
        assert.match(
          await told({ conditions: [{ bucket: Bucket, key: "form/refused" }] }),
          /^400 .*<Code>InvalidPolicyDocument<\/Code>.*exactly one property/s,
        );
        const policies = [
          ["!", "invalid Base64 encoding."],
          [btoa("nonsense"), "Invalid JSON."],
          [btoa("{}"), "Policy missing expiration."],
          [btoa('{"expiration":"2099-01-01 00:00:00"}'), "Invalid 'expiration' value: '2099-"],
          [btoa('{"expiration":"2099-01-01T00:00:00Z"}'), "Policy missing conditions."],
          [btoa('{"expiration":"2099-01-01T00:00:00Z","conditions":{}}'), "must be a List."],
        ] as const;
        for (const [policy, why] of policies) {
          const text = await told({ policy });
          assert.match(text, /^400 .*<Code>InvalidPolicyDocument<\/Code>/s);
          assert.ok(text.includes(`Invalid Policy: `) && text.includes(why), text);
        }
        const conditions = [
          [["content-length-range", 0], "Invalid content-length-range: wrong number of arguments."],
          [["ends-with", "$key", "x"], "Invalid Condition: unknown operation 'ends-with'."],
          ["key", "Invalid condition test: must be a List or Object."],
        ] as const;
        for (const [condition, why] of conditions) {
          assert.ok((await told({ conditions: [condition] })).includes(why), why);
        }
        assert.match(
          await told({ content_type: "application/x-www-form-urlencoded" }),
          /^412 .*<Condition>Bucket POST must be of the enclosure-type multipart\/form-data</s,
        );
      },

      "virtual-host addressing: the bucket is the host's first label": async (_, test) => {
        const { port } = new URL(test.endpoint);
        const agent = new Agent({
          ca: test.ca,
          keepAlive: true,
          // A resolver need not know `*.localhost`.
          lookup: (_host, options, callback) => lookup("localhost", options, callback),
        });
        const s3 = test.s3("AKIATEST", {
          endpoint: `https://s3.localhost:${port}`,
          forcePathStyle: false,
          requestHandler: { httpsAgent: agent },
        });
        await s3.send(new PutObjectCommand({ Bucket, Key: "by/host name", Body: "found" }));
        assert.equal(await textOf(s3, Bucket, "by/host name"), "found");
        assert.equal(await textOf(test.s3(), Bucket, "by/host name"), "found");
        const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "by/" }));
        assert.deepEqual(Contents?.map(({ Key }) => Key), ["by/host name"]);
        agent.destroy();
      },

      "multi-range reads give the whole object, as S3 does": async (s3) => {
        const { Body, ContentRange } = await s3.send(
          new GetObjectCommand({ Bucket, Key: "by/host name", Range: "bytes=0-0,2-3" }),
        );
        assert.equal(ContentRange, undefined);
        assert.equal(await Body?.transformToString(), "found");
      },

      "expected owners: of the bucket, and of what is copied": async (s3) => {
        const [mine, another] = [accounts.AKIATEST.account_id, accounts.AKIAOTHER.account_id];
        const Key = "owned";
        const put = (ExpectedBucketOwner: string) =>
          s3.send(new PutObjectCommand({ Bucket, Key, Body: "mine", ExpectedBucketOwner }));
        await refused(put(another), "AccessDenied", 403);
        for (const malformed of ["abc", `${mine}0`]) {
          await refused(put(malformed), "InvalidBucketOwnerAWSAccountID", 400);
        }
        await refused(textOf(s3, Bucket, Key), "NoSuchKey", 404);
        await put(mine);

        const CopySource = `${Bucket}/${Key}`;
        const copy = (ExpectedSourceBucketOwner: string) =>
          s3.send(
            new CopyObjectCommand({ Bucket, Key: "copy", CopySource, ExpectedSourceBucketOwner }),
          );
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
        const copyPart = (ExpectedSourceBucketOwner: string) =>
          s3.send(
            new UploadPartCopyCommand({
              ...{ Bucket, Key, UploadId, PartNumber: 1, CopySource, ExpectedSourceBucketOwner },
            }),
          );
        for (const way of [copy, copyPart]) {
          await refused(way(another), "AccessDenied", 403);
          await refused(way("abc"), "InvalidBucketOwnerAWSAccountID", 400);
        }
        await refused(textOf(s3, Bucket, "copy"), "NoSuchKey", 404);
        await copyPart(mine);
        await copy(mine);
        assert.equal(await textOf(s3, Bucket, "copy"), "mine");
        await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
      },

      "multipart: part copy of ranges, and attributes of parts": async (s3) => {
        const size = 5 << 20;
        const bytes = new Uint8Array(size + 1000).map((_, at) => at % 251);
        await s3.send(new PutObjectCommand({ Bucket, Key: "source", Body: bytes }));
        const target = { Bucket, Key: "copied" };
        const { UploadId } = await s3.send(
          new CreateMultipartUploadCommand({ ...target, ChecksumAlgorithm: "CRC32" }),
        );
        const copy = async (PartNumber: number, CopySourceRange: string) => {
          const { CopyPartResult } = await s3.send(
            new UploadPartCopyCommand({
              ...target,
              UploadId,
              PartNumber,
              CopySource: `${Bucket}/source`,
              CopySourceRange,
            }),
          );
          return {
            PartNumber,
            ETag: CopyPartResult?.ETag,
            ChecksumCRC32: CopyPartResult?.ChecksumCRC32,
          };
        };
        const Parts = [
          await copy(1, `bytes=0-${size - 1}`),
          await copy(2, `bytes=${size}-${size + 999}`),
        ];
        await refused(copy(3, `bytes=0-${size + 1000}`), "InvalidArgument", 400);
        await s3.send(
          new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
        );
        const { Body } = await s3.send(new GetObjectCommand(target));
        const found = await Body?.transformToByteArray();
        assert.ok(found !== undefined && Buffer.compare(found, bytes) === 0);
        const { ObjectParts, Checksum } = await s3.send(
          new GetObjectAttributesCommand({
            ...target,
            ObjectAttributes: ["ObjectParts", "Checksum"],
          }),
        );
        assert.equal(ObjectParts?.TotalPartsCount, 2);
        assert.deepEqual(ObjectParts?.Parts?.map(({ Size }) => Size), [size, 1000]);
        // Unlike elsewhere, of how many parts it is made is not in it.
        assert.match(Checksum?.ChecksumCRC32 ?? "", /^[\w+/]{6}==$/);
      },

      "multipart: ten thousand parts and not one more": async (s3) => {
        const target = { Bucket, Key: "many" };
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
        const part = (PartNumber: number) =>
          s3.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body: "x" }));
        await part(10_000);
        await refused(part(10_001), "InvalidArgument", 400);
        await refused(part(0), "InvalidArgument", 400);
        const Parts = Array.from(
          { length: 10_001 },
          (_, at) => ({ PartNumber: at + 1, ETag: "x" }),
        );
        await refused(
          s3.send(
            new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
          ),
          "MalformedXML",
          400,
        );
        await s3.send(new AbortMultipartUploadCommand({ ...target, UploadId }));
      },

      "conditional writes: If-None-Match and If-Match, also on completion": async (s3) => {
        const target = { Bucket, Key: "conditional" };
        const { ETag } = await s3.send(
          new PutObjectCommand({ ...target, Body: "one", IfNoneMatch: "*" }),
        );
        await refused(
          s3.send(new PutObjectCommand({ ...target, Body: "two", IfNoneMatch: "*" })),
          "PreconditionFailed",
          412,
        );
        await refused(
          s3.send(new PutObjectCommand({ ...target, Body: "two", IfMatch: '"other"' })),
          "PreconditionFailed",
          412,
        );
        await refused(
          s3.send(
            new PutObjectCommand({ Bucket, Key: "no such", Body: "two", IfMatch: '"other"' }),
          ),
          "NoSuchKey",
          404,
        );
        const { UploadId } = await s3.send(new CreateMultipartUploadCommand(target));
        const part = await s3.send(
          new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: "three" }),
        );
        const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: part.ETag }] };
        await refused(
          s3.send(
            new CompleteMultipartUploadCommand({
              ...target,
              UploadId,
              MultipartUpload,
              IfNoneMatch: "*",
            }),
          ),
          "PreconditionFailed",
          412,
        );
        await s3.send(
          new CompleteMultipartUploadCommand({
            ...target,
            UploadId,
            MultipartUpload,
            ...(ETag === undefined ? {} : { IfMatch: ETag }),
          }),
        );
        assert.equal(await textOf(s3, Bucket, "conditional"), "three");
      },
    }),
});
