/** The gateway as its own process with its own rights: what only shows there. */
import assert from "node:assert/strict";
import { Agent, request } from "node:https";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { subject } from "../../services/bus/subject.ts";
import { consolePage } from "../../services/gateway/contract.ts";
import { startGatewayProcess } from "../kit/gateway_process.ts";
import { until } from "../kit/until.ts";

/** Milliseconds that each of `count` requests on one kept-alive connection takes. */
async function timings(url: string, ca: string, count: number): Promise<number[]> {
  const agent = new Agent({ ca, keepAlive: true, maxSockets: 1 });
  const one = () =>
    new Promise<number>((resolve, reject) => {
      const started = performance.now();
      request(url, { agent }, (response) => {
        let size = 0;
        response.on("data", (part: Uint8Array) => size += part.length);
        response.on("end", () => {
          if (response.statusCode === 200 && size > 0) resolve(performance.now() - started);
          else reject(new Error(`${response.statusCode}, ${size} bytes`));
        });
      }).on("error", reject).end();
    });
  const all: number[] = [];
  for (let n = 0; n < count; n++) all.push(await one());
  agent.destroy();
  return all.sort((a, b) => a - b);
}

Deno.test("the gateway process gives FFI up, has no 40 ms answers, serves the SDK and stops cleanly", async () => {
  await using gateway = await startGatewayProcess();
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const health = await gateway.health();
  assert.equal(health.status, "ok");
  assert.notEqual(health.facts["ffi"], "granted");
  assert.equal(health.facts["no_delay_sockets"], 1);

  const console_ = await gateway.bus("console");
  const body = "x".repeat(10_240);
  console_.answer(consolePage, () => ({
    status: 200,
    headers: { "content-type": "text/plain" },
    body,
  }));
  const identity = await gateway.bus("identity");
  identity.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => ({
    UserId: "AIDATEST",
    Account: "123456789012",
    Arn: "arn:aws:iam::123456789012:user/test",
  }));
  await Promise.all([console_.connection.flush(), identity.connection.flush()]);

  const slow = (await timings(`${gateway.endpoint}/console`, ca, 100)).filter((ms) => ms > 35);
  // Nagle and delayed acknowledgement, which waits 40 ms, would hold back nearly every one of them; a
  // busy machine holds back some.
  assert.ok(slow.length <= 50, `${slow.length} of 100 answers of 10 KiB took over 35 ms`);

  const sts = new STSClient({
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    requestHandler: { httpsAgent: new Agent({ ca }) },
  });
  const who = await sts.send(new GetCallerIdentityCommand({}));
  assert.equal(who.Account, "123456789012");
  sts.destroy();

  const front = Deno.serve(
    { path: gateway.node.paths.s3Front, onListen() {} },
    (request) => new Response(`front ${request.headers.get("x-mulga-target")}`),
  );
  const client = Deno.createHttpClient({ caCerts: [ca] });
  const object = await fetch(`${gateway.endpoint}/bucket/key?x=1`, { client });
  assert.equal(await object.text(), "front /bucket/key?x=1");
  client.close();
  await front.shutdown();

  assert.equal(await gateway.stop(), 0);
  assert.match(gateway.log(), /"event":"service_stopped"/);
  assert.doesNotMatch(gateway.log(), /"level":"error"/);
});

Deno.test("a call that runs when the gateway is told to stop is still answered", async () => {
  await using gateway = await startGatewayProcess();
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const identity = await gateway.bus("identity");
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  identity.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), async () => {
    begun.resolve();
    await gate.promise;
    return { Account: "123456789012" };
  });
  await identity.connection.flush();
  const sts = new STSClient({
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    maxAttempts: 1,
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    requestHandler: { httpsAgent: new Agent({ ca, keepAlive: false }) },
  });
  const answer = sts.send(new GetCallerIdentityCommand({}));
  await begun.promise;
  const stopped = gateway.stop();
  await until("the gateway stops", () => gateway.log().includes("service_stopping"));
  const refused = async () => {
    try {
      const port = gateway.node.config.ports.gateway;
      using _connection = await Deno.connect({ hostname: "127.0.0.1", port });
      return false;
    } catch (error) {
      return error instanceof Deno.errors.ConnectionRefused;
    }
  };
  await until("new connections are refused", refused);
  gate.resolve();
  assert.equal((await answer).Account, "123456789012");
  assert.equal(await stopped, 0);
  sts.destroy();
});
