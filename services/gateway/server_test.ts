import assert from "node:assert/strict";
import { Agent } from "node:https";
import { createHash, createHmac } from "node:crypto";
import { gzipSync } from "node:zlib";
import { DescribeRegionsCommand, EC2Client, RunInstancesCommand } from "@aws-sdk/client-ec2";
import { IAMClient, ListUsersCommand } from "@aws-sdk/client-iam";
import {
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { jetstreamManager } from "@nats-io/jetstream";
import { SignatureV4 } from "@smithy/signature-v4";
import {
  otherCredentials,
  startTestGateway,
  testAccount,
  testCredentials,
  type TestGateway,
  testPrincipal,
} from "../../tests/kit/gateway.ts";
import { AwsError } from "../aws/errors.ts";
import { type CallContext, subject } from "../bus/subject.ts";
import { identityChanged } from "../identity/contract.ts";
import { frontHeaders } from "../predastore/contract.ts";
import { type AuditEntry, auditTrail, consolePage, frontReplyHeaders } from "./contract.ts";
import { until } from "../../tests/kit/until.ts";

function clientOptions(of: TestGateway, credentials = testCredentials) {
  return {
    region: "ap-southeast-2",
    endpoint: of.endpoint,
    credentials,
    maxAttempts: 1,
    requestHandler: { httpsAgent: new Agent({ ca: of.tls.ca, keepAlive: false }) },
  };
}

async function auditOf(gateway: TestGateway, subjectName: string): Promise<AuditEntry> {
  const manager = await jetstreamManager(gateway.bus.connection);
  return await until("an audit record", async () => {
    try {
      const message = await manager.streams.getMessage(auditTrail.stream, {
        last_by_subj: subjectName,
      });
      return message?.json<AuditEntry>();
    } catch {
      return undefined;
    }
  });
}

async function faultOf(work: Promise<unknown>): Promise<{ name: string; status: number }> {
  try {
    await work;
  } catch (error) {
    const fault = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return { name: fault.name, status: fault.$metadata?.httpStatusCode ?? 0 };
  }
  return { name: "none", status: 200 };
}

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

/** The hash that the official signer wants. */
class Sha256 {
  readonly #state;
  constructor(secret?: unknown) {
    this.#state = secret === undefined
      ? createHash("sha256")
      : createHmac("sha256", secret as string);
  }
  update(data: Uint8Array) {
    this.#state.update(data);
  }
  digest() {
    return Promise.resolve(new Uint8Array(this.#state.digest()));
  }
  reset() {}
}

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

Deno.test("without predastore S3 is unavailable in S3's own words", async () => {
  await using stand = await startTestGateway();
  const reply = await stand.fetch("/bucket/key");
  assert.equal(reply.status, 503);
  assert.match(
    await reply.text(),
    /^<\?xml.*\n<Error><Code>ServiceUnavailable<\/Code>.*<Resource>\/bucket\/key<\/Resource>/,
  );
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
  await until("its audit record", async () => {
    const entry = await auditOf(stand, "audit.sts.GetCallerIdentity");
    return entry.request_id === answered;
  });
  assert.equal(stand.gateway.audit.dropped, 0);
});

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
