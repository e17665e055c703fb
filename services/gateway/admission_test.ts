import assert from "node:assert/strict";
import { DescribeRegionsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { otherCredentials, startTestGateway, testCredentials } from "../../tests/kit/gateway.ts";
import { subject } from "../bus/subject.ts";
import { until } from "../../tests/kit/until.ts";
import { clientOptions, faultOf } from "../../tests/kit/sdk_calls.ts";

Deno.test("one account's calls are bounded, and calls beyond that are told to wait", async () => {
  await using stand = await startTestGateway({
    limits: { receiving: 100, strangers: 100, account: 3 },
  });
  const gate = Promise.withResolvers<void>();
  let running = 0;
  stand.bus.answer(subject<unknown, unknown>("ec2.DescribeRegions"), async () => {
    running++;
    await gate.promise;
    return { Regions: [] };
  });
  await stand.bus.connection.flush();
  const ec2 = new EC2Client(clientOptions(stand));
  const describe = () => faultOf(ec2.send(new DescribeRegionsCommand({})));
  const slow = [describe(), describe(), describe()];
  await until("three run", () => running === 3);
  assert.deepEqual(await describe(), { name: "RequestLimitExceeded", status: 503 });
  gate.resolve();
  for (const one of slow) assert.equal((await one).name, "none");
  assert.equal((await describe()).name, "none");
});

Deno.test("senders without an access key of this cloud take no place from those who have one", async () => {
  await using stand = await startTestGateway({
    limits: { receiving: 2, strangers: 2, account: 3 },
  });
  stand.bus.answer(subject<unknown, unknown>("ec2.DescribeRegions"), () => ({ Regions: [] }));
  await stand.bus.connection.flush();
  /** Begins a request and never sends its body. */
  const begin = async (target: string, more: string) => {
    const { hostname, port } = new URL(stand.endpoint);
    const connection = await Deno.connectTls({ hostname, port: +port, caCerts: [stand.tls.ca] });
    await connection.write(
      new TextEncoder().encode(
        `POST ${target} HTTP/1.1\r\nHost: localhost\r\n${more}Content-Length: 9\r\n\r\n`,
      ),
    );
    return connection;
  };
  const credential = "AKIASTRANGER/20261121/ap-southeast-2/ec2/aws4_request";
  using _unknown = await begin(
    "/",
    `Authorization: AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=0\r\n`,
  );
  using _form = await begin(
    "/console",
    "Content-Type: application/x-www-form-urlencoded\r\n",
  );
  await until("no stranger gets in any more", async () => {
    const reply = await stand.fetch("/", { method: "POST", body: "Action=DescribeRegions" });
    return /<Code>Throttling</.test(await reply.text());
  });
  const form = await stand.fetch("/console", { method: "POST", body: new URLSearchParams() });
  assert.match(await form.text(), /^Throttling:/);
  const ec2 = new EC2Client(clientOptions(stand));
  assert.deepEqual(await faultOf(ec2.send(new DescribeRegionsCommand({}))), {
    name: "none",
    status: 200,
  });
});

Deno.test("whoever knows one access key's id takes no more than half of the places of those who have one", async () => {
  await using stand = await startTestGateway({
    limits: { receiving: 4, strangers: 100, account: 3 },
  });
  stand.bus.answer(subject<unknown, unknown>("ec2.DescribeRegions"), () => ({ Regions: [] }));
  await stand.bus.connection.flush();
  const { hostname, port } = new URL(stand.endpoint);
  const today = new Date().toISOString().slice(0, 10).replaceAll("-", "");
  const credential = `${otherCredentials.accessKeyId}/${today}/ap-southeast-2/ec2/aws4_request`;
  using held = new DisposableStack();
  // Requests that name the key, are signed with nothing, and never end.
  for (let n = 0; n < 4; n++) {
    const connection = held.use(
      await Deno.connectTls({ hostname, port: +port, caCerts: [stand.tls.ca] }),
    );
    await connection.write(
      new TextEncoder().encode(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n" +
          `Authorization: AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=0\r\n\r\n`,
      ),
    );
  }
  const call = async (credentials: typeof testCredentials | typeof otherCredentials) =>
    (await faultOf(
      new EC2Client({ ...clientOptions(stand), credentials }).send(new DescribeRegionsCommand({})),
    )).name;
  await until(
    "no more of that key get in",
    async () => await call(otherCredentials) === "RequestLimitExceeded",
  );
  assert.equal(await call(testCredentials), "none");
});
