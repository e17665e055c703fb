/** S3 through the gateway to a real predastore: what neither side alone can show. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Agent } from "node:https";
import { gzipSync } from "node:zlib";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { jetstreamManager } from "@nats-io/jetstream";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { type AuditEntry, strangersTrail } from "../../services/gateway/contract.ts";
import { erasureCodeHeader } from "../../services/predastore/contract.ts";
import { startGatewayProcess } from "../kit/gateway_process.ts";
import { until } from "../kit/until.ts";

Deno.test("objects pass through the gateway to predastore and back, byte for byte", async () => {
  await using gateway = await startGatewayProcess(["predastore"]);
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const s3 = new S3Client({
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    forcePathStyle: true,
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    requestHandler: { httpsAgent: new Agent({ ca, keepAlive: true }) },
  });
  const Bucket = "bucket";
  // The one header of this cloud's own that clients may send, and get.
  const create = new CreateBucketCommand({ Bucket });
  create.middlewareStack.add((next) => async (args) => {
    (args.request as { headers: Record<string, string> }).headers[erasureCodeHeader] = "1+0";
    const reply = await next(args);
    const { headers } = reply.response as { headers: Record<string, string> };
    assert.equal(headers[erasureCodeHeader], "1+0");
    return reply;
  }, { step: "build" });
  await s3.send(create);

  const large = new Uint8Array(20_000_000);
  for (let at = 0; at < large.length; at += 65_536) {
    crypto.getRandomValues(large.subarray(at, Math.min(large.length, at + 65_536)));
  }
  const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");
  const get = async (Key: string, Range?: string) => {
    const reply = await s3.send(
      new GetObjectCommand({ Bucket, Key, ...(Range === undefined ? {} : { Range }) }),
    );
    return { ...reply, data: await reply.Body!.transformToByteArray() };
  };
  for (
    const [Key, Body] of [
      ["empty", new Uint8Array(0)],
      ["a b+c/../ü%/./日本", new TextEncoder().encode("odd name")],
      ["large", large],
    ] as const
  ) {
    await s3.send(new PutObjectCommand({ Bucket, Key, Body }));
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    assert.equal(head.ContentLength, Body.length, Key);
    assert.equal(sha256((await get(Key)).data), sha256(Body), Key);
  }
  const part = await get("large", "bytes=1000000-1999999");
  assert.equal(part.ContentRange, "bytes 1000000-1999999/20000000");
  assert.equal(sha256(part.data), sha256(large.subarray(1_000_000, 2_000_000)));

  const packed = gzipSync("packed ".repeat(100));
  await s3.send(
    new PutObjectCommand({ Bucket, Key: "packed", Body: packed, ContentEncoding: "gzip" }),
  );
  const back = await get("packed");
  assert.equal(back.ContentEncoding, "gzip");
  assert.equal(back.ContentLength, packed.length);
  assert.deepEqual(Buffer.from(back.data), packed);

  const secret = new Uint8Array(32).fill(7);
  const SSECustomerKeyMD5 = createHash("md5").update(secret).digest("base64");
  const sealed = {
    ...{ Bucket, Key: "sealed", SSECustomerAlgorithm: "AES256", SSECustomerKeyMD5 },
    SSECustomerKey: secret.toBase64(),
  };
  await s3.send(new PutObjectCommand({ ...sealed, Body: "under a key of the client's own" }));
  await assert.rejects(get("sealed"), { name: "InvalidRequest" });
  const opened = await s3.send(new GetObjectCommand(sealed));
  assert.equal(await opened.Body?.transformToString(), "under a key of the client's own");
  assert.equal(opened.SSECustomerKeyMD5, SSECustomerKeyMD5);
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "sealed" }));

  using client = Deno.createHttpClient({ caCerts: [ca] });
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "large" }), {
    expiresIn: 60,
  });
  const presigned = await fetch(url, { client });
  assert.equal(presigned.status, 200);
  assert.equal(sha256(new Uint8Array(await presigned.arrayBuffer())), sha256(large));
  const anonymous = await fetch(`${gateway.endpoint}/bucket/large`, { client });
  assert.equal(anonymous.status, 403);
  assert.match(await anonymous.text(), /<Code>AccessDenied<\/Code>/);
  const operator = await gateway.bus("operator");
  const manager = await jetstreamManager(operator.connection);
  const refusals = async () => {
    const message = await manager.streams.getMessage(strangersTrail.stream, {
      last_by_subj: "audit_strangers.s3.GetObject",
    }).catch(() => null);
    return message?.json<AuditEntry>();
  };
  await until("the refusal is among those of strangers", async () => {
    return (await refusals())?.error_code === "AccessDenied";
  });
  await assert.rejects(get("missing"), { name: "NoSuchKey" });

  const listed = await s3.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(listed.Contents?.map((object) => object.Key).sort(), [
    "a b+c/../ü%/./日本",
    "empty",
    "large",
    "packed",
  ]);
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "large" }));
  await assert.rejects(get("large"), { name: "NoSuchKey" });
  s3.destroy();
});
