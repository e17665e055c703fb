/** A stop lets what is under way come to its end. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { CreateBucketCommand, GetObjectCommand, ListBucketsCommand } from "@aws-sdk/client-s3";
import { startPredastore } from "../kit/predastore.ts";
import { until } from "../kit/until.ts";
import { beginUpload } from "../kit/begun_upload.ts";

Deno.test({
  name:
    "an upload that runs when predastore is told to stop is stored, and what comes then is told to come again",
  // The SDK keeps its connections open until it is destroyed.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    await using test = await startPredastore();
    const s3 = test.s3();
    await s3.send(new CreateBucketCommand({ Bucket: "stop" }));
    const body = randomBytes(4 << 20);
    const half = body.length / 2;
    using upload = await beginUpload(test, s3, { Bucket: "stop", Key: "k", length: body.length });
    await upload.send(body.subarray(0, half));
    // A connection that never says anything holds nothing up.
    using _silent = await Deno.connect({ port: test.node.config.ports.s3 });
    const stopping = test.process();
    const stopped = stopping.stop();
    await until("it stops", () => stopping.log().includes("service_stopping"));
    const late = test.s3("AKIATEST", { maxAttempts: 1 });
    await until("requests are refused", async () => {
      try {
        await late.send(new ListBucketsCommand());
        return false;
      } catch (error) {
        assert.equal((error as Error).name, "ServiceUnavailable");
        return true;
      }
    });
    await upload.send(body.subarray(half));
    assert.match(await upload.answer(), /^HTTP\/1\.1 200 /);
    assert.equal(await stopped, 0);
    assert.doesNotMatch(stopping.log(), /"level":"error"|requests_cut_off/);
    await test.restart();
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "stop", Key: "k" }));
    assert.ok(body.equals((await Body?.transformToByteArray()) ?? new Uint8Array()));
    s3.destroy();
    late.destroy();
  },
});
