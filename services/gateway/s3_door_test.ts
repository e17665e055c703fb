import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import {
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { startTestGateway, testAccount } from "../../tests/kit/gateway.ts";
import { frontHeaders } from "../predastore/contract.ts";
import { frontReplyHeaders } from "./contract.ts";
import { auditOf, clientOptions } from "../../tests/kit/sdk_calls.ts";

interface Forwarded {
  method: string;
  headers: Record<string, string>;
  size: number;
}

function startFront(path: string, reply: (request: Request) => Response) {
  const seen: Forwarded[] = [];
  const server = Deno.serve({ path, onListen() {} }, async (request) => {
    let size = 0;
    for await (const part of request.body ?? []) size += part.length;
    seen.push({ method: request.method, headers: Object.fromEntries(request.headers), size });
    return reply(request);
  });
  return { seen, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("S3 requests pass untouched in both directions, and their front headers cannot be forged", async () => {
  await using stand = await startTestGateway();
  await using front = startFront(stand.s3Front, (request) => {
    const target = request.headers.get(frontHeaders.target) ?? "";
    const ok = {
      [frontReplyHeaders.action]: "GetObject",
      [frontReplyHeaders.accountId]: testAccount,
    };
    if (target.includes("/packed")) {
      return new Response(new Uint8Array(gzipSync("hello")), {
        headers: { ...ok, [frontReplyHeaders.contentEncoding]: "gzip" },
      });
    }
    if (target.includes("/range")) {
      return new Response("bcd", {
        status: 206,
        headers: {
          ...ok,
          "content-range": "bytes 1-3/10",
          etag: '"e"',
          "content-type": "text/plain",
        },
      });
    }
    if (request.method === "HEAD") {
      return new Response(null, { headers: { ...ok, "content-length": "123456789" } });
    }
    return new Response("done", { headers: { ...ok, "x-amz-request-id": "its-own" } });
  });
  const s3 = new S3Client({ ...clientOptions(stand), forcePathStyle: true });

  const key = "a b/../ü+%/./k";
  const data = new Uint8Array(3_000_000).fill(7);
  await s3.send(new PutObjectCommand({ Bucket: "bucket", Key: key, Body: data }));
  const put = front.seen.at(-1)!;
  assert.equal(put.method, "PUT");
  assert.equal(put.headers["content-length"], String(data.length));
  assert.equal(put.size, data.length);
  assert.equal(
    put.headers[frontHeaders.target],
    "/bucket/a%20b/../%C3%BC%2B%25/./k?x-id=PutObject",
    "the raw target, dot segments and all",
  );
  assert.equal(put.headers[frontHeaders.authority], `localhost:${stand.gateway.port}`);
  assert.equal(put.headers[frontHeaders.sourceIp], "127.0.0.1");
  assert.match(put.headers["authorization"]!, /ap-southeast-2\/s3\/aws4_request/);

  const head = await s3.send(new HeadObjectCommand({ Bucket: "bucket", Key: "k" }));
  assert.equal(head.ContentLength, 123_456_789);
  const range = await s3.send(
    new GetObjectCommand({ Bucket: "bucket", Key: "range", Range: "bytes=1-3" }),
  );
  assert.equal(range.ContentRange, "bytes 1-3/10");
  assert.equal(range.ContentLength, 3);
  assert.equal(front.seen.at(-1)!.headers["range"], "bytes=1-3");
  await range.Body?.transformToString();
  const packed = await s3.send(new GetObjectCommand({ Bucket: "bucket", Key: "packed" }));
  assert.equal(packed.ContentEncoding, "gzip");
  assert.deepEqual(
    Buffer.from(await packed.Body!.transformToByteArray()),
    gzipSync("hello"),
    "stored bytes are not unpacked on the way",
  );

  const forged = await stand.fetch("/bucket/public?versionId=1", {
    headers: {
      [frontHeaders.sourceIp]: "10.0.0.1",
      [frontHeaders.target]: "/other",
      "x-mulga-root": "1",
    },
  });
  assert.equal(await forged.text(), "done");
  assert.equal(forged.headers.get("x-amz-request-id"), "its-own");
  assert.equal(forged.headers.get(frontReplyHeaders.action), null);
  const anonymous = front.seen.at(-1)!;
  assert.equal(anonymous.headers[frontHeaders.target], "/bucket/public?versionId=1");
  assert.equal(anonymous.headers[frontHeaders.sourceIp], "127.0.0.1");
  assert.equal(anonymous.headers["x-mulga-root"], undefined);
  const entry = await auditOf(stand, "audit.s3.GetObject");
  assert.equal(entry.account_id, testAccount);
});

Deno.test("without predastore S3 is unavailable in S3's own words", async () => {
  await using stand = await startTestGateway();
  const reply = await stand.fetch("/bucket/key");
  assert.equal(reply.status, 503);
  assert.match(
    await reply.text(),
    /^<\?xml.*\n<Error><Code>ServiceUnavailable<\/Code>.*<Resource>\/bucket\/key<\/Resource>/,
  );
});
