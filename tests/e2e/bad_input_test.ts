/**
 * What is wrong is answered in AWS's form, or with one sentence on the terminal, and leaves nothing
 * behind.
 */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import {
  CreateVolumeCommand,
  DescribeFpgaImagesCommand,
  DescribeInstancesCommand,
  DescribeVolumesCommand,
  EC2Client,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { pathsOf } from "../../services/config/node_config.ts";
import { type Stack, startStack } from "../kit/stack.ts";
import { untilWorks } from "../kit/until.ts";

async function clientOf(stack: Stack, wrongSecret = false) {
  const paths = pathsOf(stack.dataDir);
  const config = JSON.parse(await Deno.readTextFile(paths.config));
  const text = await Deno.readTextFile(stack.awsEnv["AWS_SHARED_CREDENTIALS_FILE"] ?? "");
  const field = (name: string) => new RegExp(`${name}\\s*=\\s*(\\S+)`).exec(text)?.[1] ?? "";
  return {
    region: config.region as string,
    az: config.az as string,
    endpoint: `https://localhost:${config.ports.gateway}`,
    maxAttempts: 1,
    credentials: {
      accessKeyId: field("aws_access_key_id"),
      secretAccessKey: wrongSecret ? "wrong" : field("aws_secret_access_key"),
    },
    requestHandler: new NodeHttpHandler({
      httpsAgent: new Agent({ ca: await Deno.readTextFile(paths.tls.ca), keepAlive: true }),
    }),
  };
}

const refused = (name: string, status = 400) => (error: unknown) => {
  const seen = error as { name: string; $metadata?: { httpStatusCode: number; requestId: string } };
  assert.equal(seen.name, name, String(error));
  assert.equal(seen.$metadata?.httpStatusCode, status);
  assert.ok(seen.$metadata?.requestId, "the answer names the request");
  return true;
};

Deno.test("bad input is refused in AWS's form and leaves nothing behind", async (t) => {
  await using stack = await startStack();
  const settings = await clientOf(stack);
  const ec2 = new EC2Client(settings);

  await t.step("a wrong signature", async () => {
    const wrong = new STSClient(await clientOf(stack, true));
    await assert.rejects(
      wrong.send(new GetCallerIdentityCommand({})),
      refused("SignatureDoesNotMatch", 403),
    );
  });
  await t.step(
    "an operation that exists and is not there yet, and one that does not exist",
    async () => {
      await assert.rejects(
        ec2.send(new DescribeFpgaImagesCommand({})),
        refused("UnsupportedOperation"),
      );
      const response = await fetch(`${settings.endpoint}/?Action=DescribeUnicorns`, {
        client: Deno.createHttpClient({
          caCerts: [await Deno.readTextFile(pathsOf(stack.dataDir).tls.ca)],
        }),
      });
      assert.ok(response.status >= 400 && response.status < 500);
      assert.match(await response.text(), /<Code>|"__type"/);
    },
  );
  await t.step("ids that are malformed or unknown", async () => {
    const describe = (id: string) => ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    await assert.rejects(describe("i-nonsense"), refused("InvalidInstanceID.Malformed"));
    await assert.rejects(
      describe("i-0123456789abcdef0"),
      refused("InvalidInstanceID.NotFound"),
    );
  });
  await t.step("launches that cannot be", async () => {
    const run = (input: Partial<ConstructorParameters<typeof RunInstancesCommand>[0]>) =>
      ec2.send(
        new RunInstancesCommand({
          ImageId: "ami-0123456789abcdef0",
          InstanceType: "t3.nano",
          MinCount: 1,
          MaxCount: 1,
          ...input,
        }),
      );
    await assert.rejects(run({}), refused("InvalidAMIID.NotFound"));
    await assert.rejects(run({ MinCount: 2, MaxCount: 1 }), refused("InvalidParameterValue"));
  });
  await t.step("a volume larger than the disk has room for", async () => {
    await assert.rejects(
      ec2.send(new CreateVolumeCommand({ AvailabilityZone: settings.az, Size: 16_384 })),
      (error: { name: string }) => error.name === "InsufficientVolumeCapacity",
    );
    await assert.rejects(
      ec2.send(new CreateVolumeCommand({ AvailabilityZone: "mars-1a", Size: 1 })),
      refused("InvalidZone.NotFound"),
    );
    assert.deepEqual((await ec2.send(new DescribeVolumesCommand({}))).Volumes, []);
  });
  await t.step("an image that is none", async () => {
    const path = `${stack.dataDir}/broken.qcow2`;
    await Deno.writeFile(
      path,
      new TextEncoder().encode("QFI\u0000 this is no image").with(3, 0xfb),
    );
    const ran = await stack.hiveRaw(["image", "import", path, "--name", "broken"]);
    assert.notEqual(ran.code, 0);
    assert.ok((ran.stdout + ran.stderr).trim().split("\n").length <= 3, ran.stderr);
    assert.doesNotMatch(ran.stderr, /at file:|Uncaught/);
    const { Images } = await stack.aws<{ Images: unknown[] }>("ec2", "describe-images");
    assert.deepEqual(Images, []);
  });
  await t.step("a second up on the same data directory, and a port already taken", async () => {
    const again = await stack.up("--no-image");
    assert.match(again.stdout + again.stderr, /already (up|runs|running)/i);
    await stack.aws("sts", "get-caller-identity");
    const port = new URL(settings.endpoint).port;
    const other = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-" });
    const taken = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "tasks/up.ts", "--no-image", "--data-dir", other, "--port", port],
      stdout: "piped",
      stderr: "piped",
    }).output();
    assert.notEqual(taken.code, 0);
    const said = new TextDecoder().decode(taken.stderr) + new TextDecoder().decode(taken.stdout);
    assert.match(said, new RegExp(`\\b${port}\\b`));
    assert.doesNotMatch(said, /at file:|Uncaught/);
    await Deno.remove(other, { recursive: true });
  });
});

Deno.test("nats-server killed under load: every answer is right or AWS's 503, and then all is well", async () => {
  await using stack = await startStack();
  const settings = await clientOf(stack);
  const ec2 = new EC2Client(settings);
  const outcomes = new Map<string, number>();
  let stop = false;
  const load = Array.from({ length: 8 }, async () => {
    while (!stop) {
      const outcome = await ec2.send(new DescribeVolumesCommand({})).then(
        () => "ok",
        (error) => error.name as string,
      );
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  });
  await untilWorks("load", () => (outcomes.get("ok") ?? 0) > 50);
  await stack.kill("nats");
  const before = outcomes.get("ok") ?? 0;
  await untilWorks("answers after the kill", () => (outcomes.get("ok") ?? 0) > before + 50);
  stop = true;
  await Promise.all(load);
  const allowed = new Set(["ok", "ServiceUnavailable", "Unavailable"]);
  assert.deepEqual([...outcomes.keys()].filter((name) => !allowed.has(name)), []);
  // Compute answers again; those that it asks may be back a moment later. The token makes it one volume.
  const wish = { AvailabilityZone: settings.az, Size: 1, ClientToken: "after-the-kill" };
  const { VolumeId } = await untilWorks(
    "a volume to be made",
    () => ec2.send(new CreateVolumeCommand(wish)),
  );
  const { Volumes } = await ec2.send(new DescribeVolumesCommand({}));
  assert.deepEqual(Volumes?.map((volume) => volume.VolumeId), [VolumeId]);
});
