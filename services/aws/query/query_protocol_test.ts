import assert from "node:assert/strict";
import * as ec2 from "@aws-sdk/client-ec2";
import * as iam from "@aws-sdk/client-iam";
import * as sts from "@aws-sdk/client-sts";
import { type QueryService, queryService } from "../schema/catalog.ts";
import { AwsError } from "../errors.ts";
import { readCall, readParameters, writeAnswer, writeError } from "./query_protocol.ts";
import { asJson, Generator, nasty, plain } from "../schema/schema_samples.ts";
import { operationsOf } from "../schema/smithy_schema.ts";
import { seeded } from "../../../tests/kit/random.ts";

interface CapturedRequest {
  body?: string;
}

// deno-lint-ignore no-explicit-any
type AnyClient = Record<string, any>;

async function roundTrip(
  service: QueryService,
  module: AnyClient,
  clientName: string,
  strings: readonly string[],
): Promise<{ operations: number; sent: number; answered: number }> {
  let captured: CapturedRequest = {};
  let answer = "";
  const client = new module[clientName]({
    region: "ap-southeast-2",
    endpoint: "https://localhost:9999",
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    requestHandler: {
      handle: (request: CapturedRequest) => {
        captured = request;
        const headers = { "content-type": "text/xml" };
        return Promise.resolve({
          response: { statusCode: 200, headers, body: new TextEncoder().encode(answer) },
        });
      },
    },
  });
  const generator = new Generator(strings);
  let operations = 0;
  let sent = 0;
  let answered = 0;
  const failures: string[] = [];
  for (const schema of operationsOf(module)) {
    operations++;
    const input = generator.of(schema.input);
    const output = generator.of(schema.output);
    const operation = service.operation(schema.name)!;
    // The answer goes the way of a real one: JSON over the bus, then XML.
    answer = writeAnswer(service, operation, JSON.parse(JSON.stringify(asJson(output))), "r-1");
    const { $metadata: _, ...decoded } = await client.send(
      new module[`${schema.name}Command`](input),
    );
    try {
      const call = readCall(service, readParameters(service, "", captured.body!));
      assert.equal(call.action, schema.name);
      assert.deepEqual(call.input, asJson(input));
      sent += captured.body!.length;
    } catch (error) {
      failures.push(`${schema.name} request: ${(error as Error).message.slice(0, 600)}`);
    }
    try {
      assert.deepEqual(JSON.parse(JSON.stringify(asJson(decoded))), asJson(output));
      answered += answer.length;
    } catch (error) {
      failures.push(`${schema.name} response: ${(error as Error).message.slice(0, 600)}`);
    }
  }
  assert.deepEqual(failures.slice(0, 5), [], `${failures.length} failures`);
  return { operations, sent, answered };
}

for (const [kind, strings] of [["plain", plain], ["nasty", nasty]] as const) {
  Deno.test(`all 823 EC2 operations round-trip through the official SDK with ${kind} strings`, async () => {
    const { operations, sent, answered } = await roundTrip(
      queryService("ec2")!,
      ec2,
      "EC2Client",
      strings,
    );
    assert.equal(operations, 823);
    assert.ok(sent > 300_000 && answered > 1_000_000, `${sent} ${answered}`);
  });

  Deno.test(`all IAM and STS operations round-trip with ${kind} strings`, async () => {
    const ofIam = await roundTrip(queryService("iam")!, iam, "IAMClient", strings);
    const ofSts = await roundTrip(queryService("sts")!, sts, "STSClient", strings);
    assert.equal(ofIam.operations, 180);
    assert.equal(ofSts.operations, 11);
  });
}

function refusal(service: string, form: string): string {
  const of = queryService(service)!;
  try {
    readCall(of, readParameters(of, "", form));
  } catch (error) {
    if (error instanceof AwsError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "accepted";
}

Deno.test("each bad parameter is refused with its whole path", () => {
  const run = "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1";
  for (
    const [form, expected] of [
      [run, /^accepted$/],
      ["Version=1", /^MissingAction /],
      ["Action=&Version=1", /^MissingAction /],
      ["Action=Nonsense", /^InvalidAction .*Nonsense/],
      ["Action=__proto__", /^InvalidAction /],
      ["Action=RunInstances&MinCount=1", /^MissingParameter .*MaxCount/],
      [`${run}&Bogus=1`, /^UnknownParameter .*'Bogus'/],
      [`${run}&__proto__=1`, /^UnknownParameter .*__proto__/],
      [`${run}&__proto__.polluted=1`, /^UnknownParameter .*__proto__/],
      [`${run}&constructor.prototype.x=1`, /^UnknownParameter /],
      [
        `${run}&BlockDeviceMapping.1.Ebs.Nope=1`,
        /^UnknownParameter .*'BlockDeviceMapping\.1\.Ebs\.Nope'/,
      ],
      [
        `${run}&BlockDeviceMapping.1.Ebs.VolumeSize=ten`,
        /^InvalidParameterValue .*'ten'.*BlockDeviceMapping\.1\.Ebs\.VolumeSize/,
      ],
      [
        `${run}&BlockDeviceMapping.x.Ebs.VolumeSize=1`,
        /^InvalidParameterValue .*BlockDeviceMapping\.x/,
      ],
      [
        `${run}&BlockDeviceMapping.0.DeviceName=a`,
        /^InvalidParameterValue .*BlockDeviceMapping\.0/,
      ],
      [`${run}&BlockDeviceMapping.-1.DeviceName=a`, /^InvalidParameterValue /],
      [`${run}&BlockDeviceMapping.99999999.DeviceName=a`, /^InvalidParameterValue /],
      [`${run}&BlockDeviceMapping=x`, /^InvalidParameterValue .*A list was expected/],
      [`${run}&Placement=x`, /^InvalidParameterValue .*A structure was expected/],
      [`${run}&ImageId.1=x`, /^UnknownParameter .*'ImageId\.1'/],
      [`${run}&DryRun=maybe`, /^InvalidParameterValue .*DryRun.*true or false/],
      [`${run}&MinCount=2`, /^InvalidParameterValue .*more than once/],
      [`${run}&Placement.Tenancy=a&Placement=b`, /^InvalidParameterValue .*more than once/],
      [`${run}&ImageId=%ff`, /^MalformedQueryString /],
      [`${run}&ImageId=%zz`, /^MalformedQueryString /],
      [`${run}&ImageId=a%00b`, /^InvalidParameterValue .*characters/],
      [`${run}&${"A.".repeat(40)}=1`, /^UnknownParameter .*deeply/],
      [`${run}&${"A".repeat(2_000)}=1`, /^UnknownParameter /],
      ["Action=RunInstances&MinCount=1.5&MaxCount=1", /^InvalidParameterValue .*'1\.5'.*MinCount/],
      ["Action=RunInstances&MinCount=1e3&MaxCount=1", /^InvalidParameterValue /],
      ["Action=RunInstances&MinCount=0x1&MaxCount=1", /^InvalidParameterValue /],
      ["Action=RunInstances&MinCount=&MaxCount=1", /^InvalidParameterValue /],
      ["Action=RunInstances&MinCount=99999999999999999&MaxCount=1", /^InvalidParameterValue /],
      ["Action=DescribeSpotPriceHistory&StartTime=yesterday", /^InvalidParameterValue .*StartTime/],
      [
        "Action=DescribeSpotPriceHistory&StartTime=2026-02-30T00:00:00Z",
        /^InvalidParameterValue .*StartTime/,
      ],
      ["Action=DescribeSpotPriceHistory&StartTime=2026-02-28T00:00:00Z", /^accepted$/],
      [
        "Action=ImportKeyPair&KeyName=a&PublicKeyMaterial=%2A%2A",
        /^InvalidParameterValue .*base64/,
      ],
      ["Action=ImportKeyPair&KeyName=a&PublicKeyMaterial=AAA", /^InvalidParameterValue .*base64/],
      ["Action=ImportKeyPair&KeyName=a&PublicKeyMaterial=AAAA", /^accepted$/],
    ] as const
  ) assert.match(refusal("ec2", form), expected, form);

  for (
    const [form, expected] of [
      ["Action=DeleteAccessKey", /^ValidationError .*AccessKeyId/],
      ["Action=ListAccessKeys&MaxItems=1.5", /^ValidationError .*MaxItems/],
      ["Action=TagUser&UserName=a&Tags.1.Key=k", /^ValidationError .*Tags\.1/],
      ["Action=TagUser&UserName=a&Tags.member.1.Key=k&Tags.member.1.Value=v", /^accepted$/],
      ["Action=TagUser&UserName=a&Tags=", /^accepted$/],
      ["Action=GetUser&Nope=1", /^ValidationError .*Nope/],
    ] as const
  ) assert.match(refusal("iam", form), expected, form);
});

Deno.test("list entries come in the order of their numbers, gaps and all", () => {
  const service = queryService("ec2")!;
  const form = "Action=DescribeInstances&InstanceId.10=c&InstanceId.2=b&InstanceId.1=a";
  assert.deepEqual(readCall(service, readParameters(service, "", form)).input, {
    InstanceIds: ["a", "b", "c"],
  });
});

Deno.test("a call may be made by query string, and its signature is no parameter", () => {
  const service = queryService("sts")!;
  const query = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Signature=0&X-Amz-Expires=60";
  assert.deepEqual(readCall(service, readParameters(service, query, "")).input, {});
});

Deno.test("no form, however broken, fails otherwise than with an AwsError", () =>
  seeded((source) => {
    const random = (below: number) => source.below(below);
    const words = [
      "Action",
      "RunInstances",
      "Placement",
      "BlockDeviceMapping",
      "1",
      "Ebs",
      ".",
      "&",
      "=",
      "%",
      "%00",
      "__proto__",
      "toString",
      "MinCount",
      "Tag",
      "0",
      "-1",
      "+",
      "\u{1f600}",
      "é",
    ];
    for (let round = 0; round < 5_000; round++) {
      let form = "Action=RunInstances&MinCount=1&MaxCount=1&";
      for (let n = random(30); n > 0; n--) form += words[random(words.length)];
      refusal("ec2", form);
      refusal("iam", form);
    }
  }));

Deno.test("errors come back as the SDK's own exceptions", async () => {
  const error = new AwsError(
    "InvalidInstanceID.NotFound",
    "The instance ID 'i-<&>' does not exist",
  );
  for (
    const [name, module, clientName, command] of [
      ["ec2", ec2, "EC2Client", "DescribeInstancesCommand"],
      ["iam", iam, "IAMClient", "ListUsersCommand"],
    ] as const
  ) {
    const service = queryService(name)!;
    const body = writeError(service.flavour, service.xml_namespace, error, "req-7");
    const anyModule: AnyClient = module;
    const client = new anyModule[clientName]({
      region: "x",
      maxAttempts: 1,
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
      requestHandler: {
        handle: () =>
          Promise.resolve({
            response: { statusCode: 400, headers: {}, body: new TextEncoder().encode(body) },
          }),
      },
    });
    await assert.rejects(client.send(new anyModule[command]({})), {
      name: "InvalidInstanceID.NotFound",
      message: "The instance ID 'i-<&>' does not exist",
    });
  }
});

Deno.test("an answer of the wrong kind is a fault that names its place", () => {
  const service = queryService("ec2")!;
  const operation = service.operation("DescribeInstances")!;
  const write = (output: unknown) => writeAnswer(service, operation, output, "r");
  assert.throws(() => write({ Reservations: "x" }), /Reservations must be a list/);
  assert.throws(
    () => write({ Reservations: [{ Instances: [{ InstanceId: 7 }] }] }),
    /Reservations\.Instances\.InstanceId must be a string/,
  );
  assert.match(write({ Unknown: 1, NextToken: null }), /<requestId>r<\/requestId><\/Describe/);
});
