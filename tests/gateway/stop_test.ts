/** A stop of the gateway lets bodies that are being received come to their end. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Agent } from "node:https";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { beginUpload } from "../kit/begun_upload.ts";
import { startGatewayProcess } from "../kit/gateway_process.ts";
import { until } from "../kit/until.ts";

Deno.test("an upload that runs when the gateway is told to stop is stored, and what comes then is told to come again", async () => {
  await using gateway = await startGatewayProcess(["predastore"]);
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const s3 = new S3Client({
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    requestHandler: { httpsAgent: new Agent({ ca, keepAlive: false }) },
  });
  await s3.send(new CreateBucketCommand({ Bucket: "stop" }));
  const body = randomBytes(4 << 20);
  const half = body.length / 2;
  const object = { Bucket: "stop", Key: "k", length: body.length };
  using upload = await beginUpload({ endpoint: gateway.endpoint, ca }, s3, object);
  await upload.send(body.subarray(0, half));
  const { hostname, port } = new URL(gateway.endpoint);
  // A connection that never says anything holds nothing up.
  using _silent = await Deno.connect({ hostname, port: Number(port) });
  const stopped = gateway.stop();
  await until("it stops", () => gateway.log().includes("service_stopping"));
  await until("requests are refused", async () => {
    try {
      await s3.send(new CreateBucketCommand({ Bucket: "stop" }));
    } catch (error) {
      return (error as Error).name === "ServiceUnavailable";
    }
    return false;
  });
  await upload.send(body.subarray(half));
  assert.match(await upload.answer(), /^HTTP\/1\.1 200 /);
  assert.equal(await stopped, 0);
  assert.doesNotMatch(gateway.log(), /"level":"error"|requests_cut_off/);
  s3.destroy();
});
