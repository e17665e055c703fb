/** What clients send wrong, cut off or twice: the right error, and nothing stored. */
import {
  CreateBucketCommand,
  GetObjectCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import assert from "node:assert/strict";
import { startPredastore, type TestPredastore } from "../kit/predastore.ts";

const encoder = new TextEncoder();

/** Sends bytes as they are over TLS; answers what comes back until the server closes. */
async function raw(test: TestPredastore, parts: readonly (string | Uint8Array)[], cut = false) {
  const connection = await Deno.connectTls({
    hostname: "localhost",
    port: test.node.config.ports.s3,
    caCerts: [test.ca],
  });
  try {
    for (const part of parts) {
      const bytes = typeof part === "string" ? encoder.encode(part) : part;
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    }
    if (cut) return "";
    let text = "";
    const buffer = new Uint8Array(64 * 1024);
    for (let count; (count = await connection.read(buffer)) !== null;) {
      text += new TextDecoder().decode(buffer.subarray(0, count));
      if (/<\/Error>$|content-length: 0\r\n[^]*\r\n\r\n$/.test(text)) break;
    }
    return text;
  } finally {
    connection.close();
  }
}

async function presigned(s3: S3Client, Key: string): Promise<string> {
  const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket: "bad", Key }), {
    expiresIn: 300,
  });
  return url.slice(url.indexOf("/", "https://".length));
}

async function isThere(s3: S3Client, Key: string): Promise<boolean> {
  try {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "bad", Key }));
    await Body?.transformToByteArray();
    return true;
  } catch {
    return false;
  }
}

Deno.test({
  name: "bad requests get AWS's errors and leave nothing behind",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async (t) => {
    await using test = await startPredastore();
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "bad" }));
    const host = `host: localhost:${test.node.config.ports.s3}\r\n`;

    await t.step("an upload that is cut off stores nothing", async () => {
      for (const sent of [0, 1, 10_000, 3_000_000]) {
        const target = await presigned(s3, `cut${sent}`);
        await raw(
          test,
          [
            `PUT ${target} HTTP/1.1\r\n${host}content-length: 4000000\r\n\r\n`,
            new Uint8Array(sent),
          ],
          true,
        );
      }
      // The next request is served, and none of the four is there.
      await s3.send(new PutObjectCommand({ Bucket: "bad", Key: "next", Body: "x" }));
      for (const sent of [0, 1, 10_000, 3_000_000]) {
        assert.equal(await isThere(s3, `cut${sent}`), false);
      }
    });

    await t.step("a body without a length is refused", async () => {
      const target = await presigned(s3, "none");
      const answer = await raw(test, [
        `PUT ${target} HTTP/1.1\r\n${host}connection: close\r\n\r\n`,
      ]);
      assert.match(answer, /^HTTP\/1\.1 411 /);
      assert.match(answer, /<Code>MissingContentLength<\/Code>/);
    });

    await t.step("a body over 5 GiB is refused before it is sent", async () => {
      const target = await presigned(s3, "huge");
      const answer = await raw(test, [
        `PUT ${target} HTTP/1.1\r\n${host}content-length: 5368709121\r\nexpect: 100-continue\r\n\r\n`,
      ]);
      assert.match(answer, /<Code>EntityTooLarge<\/Code>/);
    });

    await t.step("an expired or changed presigned URL is refused", async () => {
      const target = await presigned(s3, "changed");
      for (
        const [changed, code] of [
          [target.replace("X-Amz-Expires=300", "X-Amz-Expires=301"), "SignatureDoesNotMatch"],
          [target.replace(/X-Amz-Date=\d{8}/, "X-Amz-Date=20200101"), "AccessDenied"],
          [target.replace("/bad/changed", "/bad/other"), "SignatureDoesNotMatch"],
          [target.replace("X-Amz-Signature=", "X-Amz-Signature=zz"), ""],
        ]
      ) {
        const answer = await raw(test, [
          `PUT ${changed} HTTP/1.1\r\n${host}content-length: 1\r\nconnection: close\r\n\r\nx`,
        ]);
        assert.match(
          answer,
          new RegExp(`^HTTP/1.1 40[03] [^]*<Code>${code}`),
          `${changed}: ${answer}`,
        );
      }
      assert.equal(await isThere(s3, "other"), false);
    });

    await t.step("keys that are no UTF-8, and methods that S3 does not have", async () => {
      for (
        const [request, status, code] of [
          ["GET /bad/%ff", 400, "InvalidURI"],
          ["GET /bad/%zz", 400, "InvalidURI"],
          [`GET /bad/${"k".repeat(1025)}`, 400, "KeyTooLongError"],
          ["GET /bad/x", 403, "AccessDenied"],
          ["PATCH /bad/x", 405, "MethodNotAllowed"],
        ] as const
      ) {
        const answer = await raw(test, [`${request} HTTP/1.1\r\n${host}connection: close\r\n\r\n`]);
        assert.match(answer, new RegExp(`^HTTP/1.1 ${status} [^]*<Code>${code}</Code>`), request);
      }
    });

    await t.step("headers over limits are refused", async () => {
      const target = await presigned(s3, "headers");
      const answerTo = (bytes: number) =>
        raw(test, [
          `PUT ${target} HTTP/1.1\r\n${host}content-length: 1\r\nconnection: close\r\n` +
          `x-large: ${"y".repeat(bytes)}\r\n\r\nx`,
        ]);
      assert.match(
        await answerTo(9_000),
        /^HTTP\/1\.1 400 [^]*<Code>RequestHeaderSectionTooLarge<\/Code>/,
      );
      // Whoever sends far more is answered while sending, and may find the connection closed.
      const far = await answerTo(2_000_000).catch((error) => {
        if (error instanceof Deno.errors.BrokenPipe) return "HTTP/1.1 431 ";
        if (error instanceof Deno.errors.ConnectionReset) return "HTTP/1.1 431 ";
        throw error;
      });
      assert.match(far, /^HTTP\/1\.1 4(00|31) /);
      assert.equal(await isThere(s3, "headers"), false);
    });

    await t.step("a thousand idle connections starve nobody", async () => {
      const idle: Deno.TlsConn[] = [];
      try {
        for (let batch = 0; batch < 20; batch++) {
          idle.push(
            ...await Promise.all(Array.from({ length: 50 }, () =>
              Deno.connectTls({
                hostname: "localhost",
                port: test.node.config.ports.s3,
                caCerts: [test.ca],
              }))),
          );
        }
        await Promise.all(
          idle.map((connection) =>
            connection.write(encoder.encode("PUT /bad/slow HTTP/1.1\r\nho"))
          ),
        );
        await s3.send(new PutObjectCommand({ Bucket: "bad", Key: "quick", Body: "x" }));
        assert.equal(await isThere(s3, "quick"), true);
      } finally {
        for (const connection of idle) connection.close();
      }
    });

    await t.step(
      "uploads that trickle starve nobody, and are stored whole or not at all",
      async () => {
        const slow: Deno.TlsConn[] = [];
        try {
          for (let at = 0; at < 100; at++) {
            const connection = await Deno.connectTls({
              hostname: "localhost",
              port: test.node.config.ports.s3,
              caCerts: [test.ca],
            });
            slow.push(connection);
            const target = await presigned(s3, `trickle${at}`);
            await connection.write(
              encoder.encode(`PUT ${target} HTTP/1.1\r\n${host}content-length: 5000000\r\n\r\nx`),
            );
          }
          for (let round = 0; round < 5; round++) {
            await Promise.all(slow.map((connection) => connection.write(encoder.encode("x"))));
            await s3.send(new PutObjectCommand({ Bucket: "bad", Key: "quick", Body: `${round}` }));
            assert.equal(await isThere(s3, "quick"), true);
          }
          const status = await Deno.readTextFile(`/proc/${test.process().pid}/status`);
          const resident_mib = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
          assert.ok(resident_mib < 400, `${resident_mib} MiB are resident`);
        } finally {
          for (const connection of slow) connection.close();
        }
        await s3.send(new PutObjectCommand({ Bucket: "bad", Key: "after", Body: "x" }));
        assert.equal(await isThere(s3, "trickle0"), false);
      },
    );

    assert.equal(
      test.process().log().split("\n").filter((line) => /"level":"error"/.test(line)).length,
      0,
    );
  },
});
