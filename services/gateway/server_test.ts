import assert from "node:assert/strict";
import { DescribeRegionsCommand, EC2Client, RunInstancesCommand } from "@aws-sdk/client-ec2";
import { IAMClient, ListUsersCommand } from "@aws-sdk/client-iam";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { SignatureV4 } from "@smithy/signature-v4";
import {
  startTestGateway,
  testAccount,
  testCredentials,
  type TestGateway,
  testPrincipal,
} from "../../tests/kit/gateway.ts";
import { AwsError } from "../aws/errors.ts";
import { type CallContext, subject } from "../bus/subject.ts";
import { identityChanged } from "../identity/contract.ts";
import { consolePage } from "./contract.ts";
import { Sha256 } from "../../tests/kit/official_signer.ts";
import { until } from "../../tests/kit/until.ts";
import { auditOf, auditOfRequest, clientOptions, faultOf } from "../../tests/kit/sdk_calls.ts";

Deno.test("a signed call reaches its owner with who, when and what, and its answer comes back", async () => {
  await using stand = await startTestGateway();
  const seen: { input: unknown; context: CallContext }[] = [];
  stand.bus.answer(subject<unknown, unknown>("ec2.RunInstances"), (input, context) => {
    seen.push({ input, context });
    return {
      ReservationId: "r-1",
      Instances: [{ InstanceId: "i-1", LaunchTime: "2026-11-21T10:00:00.000Z", AmiLaunchIndex: 0 }],
    };
  });
  await stand.bus.connection.flush();
  const client = new EC2Client(clientOptions(stand));
  const before = Date.now();
  const output = await client.send(
    new RunInstancesCommand({
      ImageId: "ami-1",
      MinCount: 1,
      MaxCount: 1,
      ClientToken: "token",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: 8 } }],
    }),
  );
  assert.equal(output.Instances?.[0]?.InstanceId, "i-1");
  assert.equal(output.Instances[0].LaunchTime?.toISOString(), "2026-11-21T10:00:00.000Z");
  const [call] = seen;
  assert.deepEqual(call?.input, {
    ImageId: "ami-1",
    MinCount: 1,
    MaxCount: 1,
    ClientToken: "token",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: 8 } }],
  });
  assert.equal(call.context.account_id, testAccount);
  assert.equal(call.context.principal_arn, testPrincipal);
  assert.equal(call.context.access_key_id, "AKIATEST");
  assert.equal(call.context.region, "ap-southeast-2");
  assert.equal(call.context.source_ip, "127.0.0.1");
  assert.equal(call.context.request_id, output.$metadata.requestId);
  assert.ok(call.context.deadline_ms >= before + 299_000, "a launch has five minutes");

  const entry = await auditOf(stand, "audit.ec2.RunInstances");
  assert.equal(entry.request_id, output.$metadata.requestId);
  assert.equal(entry.principal_arn, testPrincipal);
  assert.equal(entry.status, 200);
  assert.ok(entry.duration_ms >= 0 && entry.user_agent.includes("aws-sdk-js"));
});

Deno.test("what goes wrong with a call has AWS's code in the words of its protocol", async () => {
  await using stand = await startTestGateway();
  const { bus } = stand;
  bus.answer(subject<unknown, unknown>("ec2.DescribeRegions"), () => {
    throw new AwsError("InvalidParameterValue", "not this <region>");
  });
  bus.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => {
    throw new Error("secret insides");
  });
  bus.answer(subject<unknown, unknown>("ec2.DescribeInstances"), () => ({ Reservations: "wrong" }));
  await bus.connection.flush();
  const ec2 = new EC2Client(clientOptions(stand));
  const describe = () => ec2.send(new DescribeRegionsCommand({}));
  assert.deepEqual(await faultOf(describe()), { name: "InvalidParameterValue", status: 400 });
  assert.equal(
    (await auditOf(stand, "audit.ec2.DescribeRegions")).error_code,
    "InvalidParameterValue",
  );

  const { DescribeInstancesCommand, DescribeFpgaImagesCommand, StopInstancesCommand } =
    await import(
      "@aws-sdk/client-ec2"
    );
  assert.deepEqual(await faultOf(ec2.send(new DescribeFpgaImagesCommand({}))), {
    name: "UnsupportedOperation",
    status: 400,
  });
  assert.deepEqual(await faultOf(ec2.send(new StopInstancesCommand({ InstanceIds: ["i-1"] }))), {
    name: "ServiceUnavailable",
    status: 503,
  }, "owned, but nobody answers");
  assert.deepEqual(await faultOf(ec2.send(new DescribeInstancesCommand({}))), {
    name: "InternalError",
    status: 500,
  }, "an answer that fits no shape");
  const sts = new STSClient(clientOptions(stand));
  await assert.rejects(sts.send(new GetCallerIdentityCommand({})), (error: Error) => {
    assert.equal(error.name, "InternalError");
    assert.ok(!error.message.includes("secret insides"));
    return true;
  });

  stand.denied.add("ec2:DescribeRegions");
  bus.say(identityChanged, {});
  assert.deepEqual(
    await until("a refusal", async () => {
      const fault = await faultOf(describe());
      return fault.status === 403 ? fault : undefined;
    }),
    { name: "UnauthorizedOperation", status: 403 },
  );
  const iam = new IAMClient(clientOptions(stand));
  assert.deepEqual(await faultOf(iam.send(new ListUsersCommand({}))), {
    name: "ServiceUnavailable",
    status: 503,
  });

  const wrong = { accessKeyId: "AKIATEST", secretAccessKey: "wrong" } as never;
  assert.deepEqual(
    await faultOf(new EC2Client(clientOptions(stand, wrong)).send(new DescribeRegionsCommand({}))),
    {
      name: "SignatureDoesNotMatch",
      status: 403,
    },
  );
  const unknown = { accessKeyId: "AKIANOBODY", secretAccessKey: "wrong" } as never;
  assert.deepEqual(
    await faultOf(
      new EC2Client(clientOptions(stand, unknown)).send(new DescribeRegionsCommand({})),
    ),
    {
      name: "AuthFailure",
      status: 401,
    },
  );
  assert.deepEqual(
    await faultOf(
      new STSClient(clientOptions(stand, unknown)).send(new GetCallerIdentityCommand({})),
    ),
    { name: "InvalidClientTokenId", status: 403 },
  );
});

Deno.test("unsigned and oversized requests are refused, pages and health are served", async () => {
  await using stand = await startTestGateway();
  const pages: unknown[] = [];
  stand.bus.answer(consolePage, (request) => {
    pages.push(request);
    return {
      status: 201,
      headers: { "content-type": "text/html", "set-cookie": "a=b" },
      body: "<p>",
    };
  });
  await stand.bus.connection.flush();

  const health = await stand.fetch("/health");
  assert.equal(health.status, 200);
  assert.deepEqual(await health.json(), { status: "ok" });

  const bare = await stand.fetch("/", { method: "POST", body: "Action=DescribeRegions" });
  assert.equal(bare.status, 403);
  const text = await bare.text();
  assert.match(text, /<Code>MissingAuthenticationToken<\/Code>/);
  assert.match(text, new RegExp(`<RequestId>${bare.headers.get("x-amzn-requestid")}</RequestId>`));

  const scope = "AKIATEST/20261121/ap-southeast-2/ec2/aws4_request";
  const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`;
  const large = await stand.fetch("/", {
    method: "POST",
    headers: { authorization },
    body: "a".repeat(1_048_577),
  });
  assert.equal(large.status, 413);
  assert.match(await large.text(), /<Errors><Error><Code>RequestEntityTooLarge</);
  const put = await stand.fetch("/", { method: "PUT", headers: { authorization } });
  assert.equal(put.status, 405);
  await put.body?.cancel();

  const home = await stand.fetch("/", { headers: { accept: "text/html" }, redirect: "manual" });
  assert.equal(home.status, 302);
  assert.equal(home.headers.get("location"), "/console");

  const page = await stand.fetch("/console/x?y=1", { headers: { cookie: "s=1" } });
  assert.equal(page.status, 201);
  assert.equal(page.headers.get("set-cookie"), "a=b");
  assert.equal(await page.text(), "<p>");
  const form = { method: "POST", body: new URLSearchParams({ a: "1", __proto__x: "2" }) };
  assert.equal((await stand.fetch("/console", form)).status, 201);
  assert.deepEqual(pages, [
    { method: "GET", target: "/console/x?y=1", cookie: "s=1", form: {} },
    { method: "POST", target: "/console", cookie: "", form: { a: "1", __proto__x: "2" } },
  ]);
  for (
    const [headers, status] of [
      [{ origin: "https://evil.example" }, 403],
      [{ "sec-fetch-site": "cross-site" }, 403],
      [{ "content-type": "text/plain" }, 415],
    ] as const
  ) {
    const refused = await stand.fetch("/console", { ...form, headers });
    assert.equal(refused.status, status);
    await refused.body?.cancel();
  }
  const deleted = await stand.fetch("/console", { method: "DELETE" });
  assert.equal(deleted.status, 405);
  await deleted.body?.cancel();
});

Deno.test("the console is told of a HEAD as such", async () => {
  await using stand = await startTestGateway();
  const methods: string[] = [];
  stand.bus.answer(consolePage, ({ method }) => {
    methods.push(method);
    return { status: 200, headers: {}, body: "page" };
  });
  await stand.bus.connection.flush();
  const reply = await stand.fetch("/console/login?token=one", { method: "HEAD" });
  assert.deepEqual([reply.status, await reply.text(), methods], [200, "", ["HEAD"]]);
});

Deno.test("calls go on while the bus is away: unavailable, then answered, and all of them audited", async () => {
  await using stand = await startTestGateway();
  stand.bus.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => ({ Account: "1" }));
  await stand.bus.connection.flush();
  const sts = new STSClient(clientOptions(stand));
  assert.equal((await sts.send(new GetCallerIdentityCommand({}))).Account, "1");
  await stand.nats.kill();
  await until("the gateway is unwell", async () => {
    const health = await stand.fetch("/health");
    await health.body?.cancel();
    return health.status === 503;
  });
  await stand.nats.start();
  await until("the gateway is well", async () => {
    const health = await stand.fetch("/health");
    await health.body?.cancel();
    return health.status === 200;
  });
  const answered = await until("an answer", async () => {
    try {
      return (await sts.send(new GetCallerIdentityCommand({}))).$metadata.requestId;
    } catch {
      return undefined;
    }
  });
  const entry = await auditOfRequest(stand, answered);
  assert.deepEqual([entry.action, entry.status], ["GetCallerIdentity", 200]);
  assert.equal(stand.gateway.audit.dropped, 0);
});

Deno.test("a presigned call works from its URL alone, until it expires or is changed", async () => {
  await using stand = await startTestGateway();
  stand.bus.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => ({ Account: "1" }));
  await stand.bus.connection.flush();
  const signer = new SignatureV4({
    credentials: testCredentials,
    region: "ap-southeast-2",
    service: "sts",
    sha256: Sha256,
  });
  const presigned = async (signingDate: Date) => {
    const { query } = await signer.presign({
      method: "GET",
      protocol: "https:",
      hostname: "localhost",
      port: stand.gateway.port,
      path: "/",
      query: { Action: "GetCallerIdentity", Version: "2011-06-15" },
      headers: { host: `localhost:${stand.gateway.port}` },
    }, { expiresIn: 60, signingDate });
    return `/?${new URLSearchParams(query as Record<string, string>)}`;
  };
  const answer = async (target: string) => {
    const reply = await stand.fetch(target);
    return `${reply.status} ${/<(?:Account|Code)>(\w+)</.exec(await reply.text())?.[1]}`;
  };
  const fresh = await presigned(new Date());
  assert.equal(await answer(fresh), "200 1");
  assert.equal(
    await answer(fresh.replace("GetCallerIdentity", "GetAccessKeyInfo")),
    "403 SignatureDoesNotMatch",
  );
  assert.equal(await answer(await presigned(new Date(Date.now() - 61_000))), "400 RequestExpired");
});

/** A form of a thousand bytes that was begun, and the connection on which its body is awaited. */
async function begunForm({ gateway, tls }: TestGateway) {
  const to = { hostname: "localhost", port: gateway.port };
  const sender = await Deno.connectTls({ ...to, caCerts: [tls.ca] });
  const head = [
    "POST /console/sign-in HTTP/1.1",
    `Host: localhost:${gateway.port}`,
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Length: 1000",
    "Expect: 100-continue",
  ];
  await sender.write(new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n`));
  const answer = new Uint8Array(4096);
  const read = async () => {
    const length = await sender.read(answer).catch(() => null);
    return length === null ? "" : new TextDecoder().decode(answer.subarray(0, length));
  };
  // It is asked for its body.
  assert.match(await read(), /^HTTP\/1.1 100 /);
  return { sender, read };
}

Deno.test("who does not come to an end when the gateway stops is cut off", async () => {
  await using stand = await startTestGateway();
  using _silent = await Deno.connect({ hostname: "localhost", port: stand.gateway.port });
  const { sender, read } = await begunForm(stand);
  using _sender = sender;
  await stand.gateway.stop(10);
  assert.doesNotMatch(await read(), /^HTTP\/1.1 [235]/);
});
