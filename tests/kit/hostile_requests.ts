/**
 * Random and mutated requests to every operation of IAM, STS, the tagging API and the EBS direct APIs: signed,
 * over HTTPS, to the real services. No answer is a fault of ours, none takes long, and a refusal has written
 * nothing. Names and ids are often real ones, so that much is done as well.
 */
import * as Ebs from "@aws-sdk/client-ebs";
import * as Ec2 from "@aws-sdk/client-ec2";
import * as Iam from "@aws-sdk/client-iam";
import * as Tagging from "@aws-sdk/client-resource-groups-tagging-api";
import * as Sts from "@aws-sdk/client-sts";
import { jetstreamManager } from "@nats-io/jetstream";
import { SignatureV4 } from "@smithy/signature-v4";
import assert from "node:assert/strict";
import { NormalizedSchema, operationsOf } from "../../services/aws/schema/smithy_schema.ts";
import { ownedActions } from "../../services/gateway/dispatch.ts";
import { type Ec2Cloud, startEc2Cloud } from "./ec2_cloud.ts";
import { Sha256 } from "./official_signer.ts";
import type { Random } from "./random.ts";

const slowest_ms = 120_000;
const deepest = 4;

const texts = [
  "",
  "a",
  "u1",
  "u2",
  "g1",
  "r1",
  "p1",
  "*",
  "Version=1",
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}',
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}',
  '{"Statement":{}}',
  "[".repeat(2000),
  "v1",
  "/",
  "/team/",
  "Active",
  "123456",
  "é\u0000\u{1f600}",
  "../../x",
  "x".repeat(300),
  "__proto__",
  "constructor",
  "k1",
  "aws:x",
  "ec2:volume",
  "SHA256",
  "2012-10-17",
  "<a>&amp;]]>",
];
const numbers = [-2147483648, -1, 0, 1, 2, 5, 100, 1000, 3600, 65536, 2147483647];

type Client = { send(command: never): Promise<unknown> };

/** What is there to be named. */
interface Known {
  readonly texts: string[];
}

/** Members by name, and what fits them. */
const fitting: readonly (readonly [RegExp, RegExp])[] = [
  [/PolicyDocument$/, /s3:\*/],
  [/PolicyArn$/, /:policy\//],
  [/RoleArn$/, /:role\//],
  [/^(?:UserName|NewUserName)$/, /^u[12]$/],
  [/GroupName$/, /^g1$/],
  [/RoleName$/, /^r1$/],
  [/^(?:PolicyName|InstanceProfileName|RoleSessionName)$/, /^p1$/],
  [/^ResourceARNList$/, /:volume\//],
  [/SnapshotId$/, /^snap-/],
  [/^VersionId$/, /^v1$/],
  [/^(?:Status)$/, /^Active$/],
  [/^(?:TagKeys?|Key)$/, /^(?:k1|a)$/],
  [/^(?:Tags|Value)$/, /^a$/],
];

class Inputs {
  #sensible = false;
  constructor(readonly random: Random, readonly known: Known) {}

  /** A whole request; every other one is made to be answered. */
  request(of: NormalizedSchema): unknown {
    this.#sensible = this.random.below(2) === 0;
    return of.isStructSchema() ? this.value(of, "", 0) : {};
  }

  value(of: NormalizedSchema, member: string, depth: number): unknown {
    const { random } = this;
    if (of.isStructSchema()) {
      return Object.fromEntries(
        [...of.structIterator()].flatMap(([name, schema]) => {
          // Sensible requests name what they need and little else.
          const isLeftOut = this.#sensible
            ? !fitting.some(([pattern]) => pattern.test(name)) && random.below(6) > 0
            : random.below(3) === 0;
          return depth > deepest || isLeftOut ? [] : [[name, this.value(schema, name, depth + 1)]];
        }),
      );
    }
    if (of.isListSchema()) {
      return Array.from(
        { length: random.below(3) },
        () => this.value(of.getValueSchema(), member, depth + 1),
      );
    }
    if (of.isMapSchema()) {
      return Object.fromEntries(
        Array.from({ length: random.below(3) }, () => [
          random.pick(texts),
          this.value(of.getValueSchema(), member, depth + 1),
        ]),
      );
    }
    if (of.isTimestampSchema()) return new Date(random.pick([0, Date.now(), 4e12]));
    if (of.isBlobSchema()) return new Uint8Array(random.below(20)).fill(7);
    if (of.isBooleanSchema()) return random.below(2) === 0;
    if (of.isNumericSchema()) return random.pick(numbers);
    return this.text(member);
  }

  text(member: string): string {
    const wanted = fitting.find(([pattern]) => pattern.test(member))?.[1];
    const sense = wanted === undefined
      ? []
      : [...this.known.texts, ...texts].filter((one) => wanted.test(one));
    return this.random.pick(
      sense.length > 0 && this.random.below(this.#sensible ? 20 : 3) > 0
        ? sense
        : [...this.known.texts, ...texts],
    );
  }
}

/** How many writes the services' tables have had. */
async function writes(cloud: Ec2Cloud): Promise<string> {
  const counts: string[] = [];
  for (
    const [service, buckets] of [
      [
        "identity",
        [
          "iam_accounts",
          "iam_users",
          "iam_groups",
          "iam_roles",
          "iam_profiles",
          "iam_policies",
          "iam_keys",
          "iam_sessions",
        ],
      ],
      ["compute", ["ec2_volumes", "ec2_snapshots", "ec2_images", "ec2_key_pairs", "ec2_records"]],
    ] as const
  ) {
    const manager = await jetstreamManager((await cloud.node.bus(service)).connection, {
      checkAPI: false,
    });
    for (const bucket of buckets) {
      counts.push(`${bucket} ${(await manager.streams.info(`KV_${bucket}`)).state.last_seq}`);
    }
  }
  return counts.join(", ");
}

async function populate(cloud: Ec2Cloud, iam: Iam.IAMClient, ec2: Ec2.EC2Client): Promise<Known> {
  const known: string[] = [];
  for (const UserName of ["u1", "u2"]) {
    known.push((await iam.send(new Iam.CreateUserCommand({ UserName }))).User?.Arn ?? "");
  }
  await iam.send(new Iam.CreateGroupCommand({ GroupName: "g1" }));
  const role = await iam.send(
    new Iam.CreateRoleCommand({
      RoleName: "r1",
      AssumeRolePolicyDocument: texts.find((one) => one.includes("AssumeRole")),
    }),
  );
  const policy = await iam.send(
    new Iam.CreatePolicyCommand({
      PolicyName: "p1",
      PolicyDocument: texts.find((one) => one.includes("s3:*")),
    }),
  );
  await iam.send(new Iam.CreateInstanceProfileCommand({ InstanceProfileName: "p1" }));
  known.push(role.Role?.Arn ?? "", policy.Policy?.Arn ?? "");
  const { VolumeId = "" } = await ec2.send(
    new Ec2.CreateVolumeCommand({ AvailabilityZone: cloud.node.config.az, Size: 1 }),
  );
  const { SnapshotId = "" } = await ec2.send(new Ec2.CreateSnapshotCommand({ VolumeId }));
  const { region } = cloud.node.config;
  known.push(SnapshotId, `arn:aws:ec2:${region}:${cloud.admin.account_id}:volume/${VolumeId}`);
  return { texts: known };
}

/** The client refused to send it: a header or a path that cannot be. */
function isUnsent(error: unknown): boolean {
  return error instanceof Error && (
    /HTTP label|Invalid character in header|Cannot read properties|is not a function|is not iterable/
      .test(error.message)
  );
}

/** What a body of a query call becomes. */
function mutated(random: Random, body: string): string {
  const at = random.below(body.length + 1);
  switch (random.below(7)) {
    case 0:
      return body.slice(0, at);
    case 1:
      return `${body}&${body}`;
    case 2:
      return `${body}&${"A.1.".repeat(400)}B=1`;
    case 3:
      return `${body}&Tags.member.2147483647.Key=a&Filter.999999999999.Name=x`;
    case 4:
      return body.slice(0, at) + random.pick(["%", "%zz", "%00", "\uffff", "=", "&"]) +
        body.slice(at);
    case 5:
      return `${body}&MaxItems=1e400&DurationSeconds=NaN&UserName.1=a&UserName=b`;
    default:
      return `${body}&${"x=1&".repeat(5000)}`;
  }
}

/** A signed POST of that body, by the names of a credential scope. */
async function post(cloud: Ec2Cloud, service: string, body: string, target?: string) {
  const { admin, node } = cloud;
  const url = new URL(node.endpoint);
  const signer = new SignatureV4({
    service,
    region: node.config.region,
    credentials: {
      accessKeyId: admin.access_key_id,
      secretAccessKey: admin.secret_access_key,
    },
    sha256: Sha256,
  });
  const signed = await signer.sign({
    method: "POST",
    protocol: "https:",
    hostname: url.hostname,
    path: "/",
    headers: {
      host: url.host,
      "content-type": target === undefined
        ? "application/x-www-form-urlencoded"
        : "application/x-amz-json-1.1",
      ...(target === undefined ? {} : { "x-amz-target": target }),
    },
    query: {},
    body,
  } as never) as unknown as { readonly headers: Record<string, string> };
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(node.paths.tls.ca)] });
  const reply = await fetch(node.endpoint, {
    method: "POST",
    headers: signed.headers,
    body,
    client,
    signal: AbortSignal.timeout(slowest_ms),
  });
  await reply.text();
  return reply.status;
}

const services = {
  iam: { sdk: Iam, version: "2010-05-08" },
  sts: { sdk: Sts, version: "2011-06-15" },
  tagging: { sdk: Tagging, target: "ResourceGroupsTaggingAPI_20170126" },
  ebs: { sdk: Ebs },
} as const;

/** Sends `rounds` requests to every operation, and as many mutated bodies. */
export async function sendHostileRequests(random: Random, rounds: number): Promise<void> {
  await using cloud = await startEc2Cloud();
  const clients: Readonly<Record<keyof typeof services, Client>> = {
    iam: new Iam.IAMClient(cloud.settings()),
    sts: new Sts.STSClient(cloud.settings()),
    tagging: new Tagging.ResourceGroupsTaggingAPIClient(cloud.settings()),
    ebs: new Ebs.EBSClient(cloud.settings()),
  };
  const ec2 = new Ec2.EC2Client(cloud.settings());
  const known = await populate(cloud, clients.iam as Iam.IAMClient, ec2);
  const inputs = new Inputs(random, known);
  let answered = 0;
  let refused = 0;
  const isRefused = async (before: string, status: number, shown: string) => {
    refused++;
    assert.ok(status >= 400 && status < 500, `${status}: ${shown}`);
    assert.equal(await writes(cloud), before, `refused, and written: ${shown}`);
  };
  for (let round = 0; round < rounds; round++) {
    for (const [service, { sdk }] of Object.entries(services)) {
      const schemas = new Map(operationsOf(sdk).map((schema) => [schema.name, schema]));
      for (const action of ownedActions[service] ?? []) {
        const schema = NormalizedSchema.of(schemas.get(action)?.input as never);
        const input = inputs.request(schema);
        const shown = `${service}:${action} ${JSON.stringify(input).slice(0, 800)}`;
        const command = (sdk as unknown as Record<string, new (input: unknown) => never>)[
          `${action}Command`
        ];
        assert.ok(command, action);
        const before = await writes(cloud);
        const started = performance.now();
        try {
          await clients[service as keyof typeof services].send(new command(input));
          answered++;
        } catch (error) {
          if (isUnsent(error)) continue;
          const { name, message, $metadata } = error as Error & {
            $metadata?: { httpStatusCode?: number };
          };
          const status = $metadata?.httpStatusCode ?? 0;
          await isRefused(before, status, `${name} ${message}: ${shown}`);
        }
        assert.ok(performance.now() - started < slowest_ms, `hangs: ${shown}`);

        const { version, target } = services[service as keyof typeof services] as {
          readonly version?: string;
          readonly target?: string;
        };
        if (version === undefined && target === undefined) continue;
        const body = mutated(
          random,
          version === undefined
            ? JSON.stringify(input)
            : `Action=${action}&Version=${version}&UserName=u1`,
        );
        const state = await writes(cloud);
        const status = await post(
          cloud,
          service,
          body,
          target === undefined ? undefined : `${target}.${action}`,
        );
        const what = `${service}:${action} mutated ${body.slice(0, 800)}`;
        if (status >= 300) await isRefused(state, status, what);
        else answered++;
      }
    }
  }
  assert.ok(answered >= rounds * 10 && refused >= rounds * 50, `${answered}, ${refused} refused`);
}
