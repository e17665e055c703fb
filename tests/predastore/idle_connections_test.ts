/** Connections that are opened and say nothing: they end nobody who has something to say. */
import assert from "node:assert/strict";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { randomBytes } from "node:crypto";
import { startPredastore } from "../kit/predastore.ts";
import { until } from "../kit/until.ts";
import { beginUpload } from "../kit/begun_upload.ts";

const descriptors = 1_024;
const idle = 3_000;

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
    using upload = await beginUpload(test, s3, {
      Bucket: "idle",
      Key: "slow",
      length: body.length,
    });
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
