/** Connections that are opened and say nothing: they end nobody who has something to say. */
import assert from "node:assert/strict";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { randomBytes } from "node:crypto";
import { startPredastore, type TestPredastore } from "../kit/predastore.ts";
import { until } from "../kit/until.ts";

const descriptors = 1_024;
const idle = 3_000;

/** An upload whose parts are sent when the test likes. */
async function begunUpload(test: TestPredastore, target: string, length: number) {
  const port = test.node.config.ports.s3;
  const connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [test.ca] });
  const send = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  };
  await send(new TextEncoder().encode(
    `PUT ${target} HTTP/1.1\r\nhost: localhost:${port}\r\ncontent-length: ${length}\r\n\r\n`,
  ));
  return {
    send,
    async answer() {
      const buffer = new Uint8Array(64 * 1024);
      const count = await connection.read(buffer);
      return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
    },
    [Symbol.dispose]: () => connection.close(),
  };
}

Deno.test({
  name:
    "three times as many idle connections as it may have descriptors end the silent ones, and no upload under way",
  // The SDK keeps its connections open until it is destroyed.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    await using test = await startPredastore({ limits: { descriptors } });
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "idle" }));
    const { pid } = test.process();
    const open = new Set<Deno.Conn>();
    const held = () => [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
    const works = async (Key: string) => {
      await s3.send(new PutObjectCommand({ Bucket: "idle", Key, Body: Key }));
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: "idle", Key }));
      assert.equal(await Body?.transformToString(), Key);
    };
    await works("before");
    const atFirst = held();

    const body = randomBytes(4 << 20);
    const part = body.length / 4;
    const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket: "idle", Key: "slow" }));
    const target = url.slice(url.indexOf("/", "https://".length));
    using upload = await begunUpload(test, target, body.length);
    await upload.send(body.subarray(0, part));
    let refused = 0;
    try {
      // Longer than all but the first of them the upload is silent.
      for (let n = 1; n <= idle; n++) {
        const to = { hostname: "localhost", port: test.node.config.ports.s3 };
        try {
          const connection = n % 3 === 0
            ? await Deno.connectTls({ ...to, caCerts: [test.ca] })
            : await Deno.connect(to);
          open.add(connection);
          if (n % 3 === 0) await (connection as Deno.TlsConn).handshake();
        } catch {
          refused++;
        }
        if (n % 500 === 0) await works(`beside ${n}`);
        if (n % 1_000 === 0) {
          const sent = part * n / 1_000;
          await upload.send(body.subarray(sent, sent + part));
        }
      }
      assert.match(await upload.answer(), /^HTTP\/1\.1 200 /);
      assert.ok(held() < descriptors);
      const { facts } = await test.process().healthy();
      assert.ok(Number(facts["connections_ended"]) >= idle - refused - descriptors);
    } finally {
      for (const connection of open) connection.close();
    }
    await until("what they held is free again", () => held() < atFirst + 50);
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "idle", Key: "slow" }));
    assert.ok(body.equals((await Body?.transformToByteArray()) ?? new Uint8Array()));
    await works("afterwards");
    assert.equal(test.process().pid, pid);
    s3.destroy();
    assert.equal(await test.process().stop(), 0);
    assert.doesNotMatch(test.process().log(), /"level":"error"/);
  },
});
