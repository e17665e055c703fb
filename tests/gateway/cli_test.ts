/** The AWS CLI as users run it, against the gateway with services that answer on the bus. */
import assert from "node:assert/strict";
import { AwsError } from "../../services/aws/errors.ts";
import { subject } from "../../services/bus/subject.ts";
import { startTestGateway, type TestGateway } from "../kit/gateway.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function aws(stand: TestGateway, args: readonly string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command("/usr/bin/aws", {
    args: ["--output", "json", ...args],
    env: {
      AWS_ACCESS_KEY_ID: "AKIATEST",
      AWS_SECRET_ACCESS_KEY: "secret",
      AWS_DEFAULT_REGION: "ap-southeast-2",
      AWS_ENDPOINT_URL: stand.endpoint,
      AWS_CA_BUNDLE: stand.tls.ca_path,
      AWS_RETRY_MODE: "standard",
      AWS_MAX_ATTEMPTS: "1",
      AWS_EC2_METADATA_DISABLED: "true",
      AWS_CONFIG_FILE: "/dev/null",
      AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
      ...env,
    },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) } satisfies Ran;
}

Deno.test("the AWS CLI's STS, EC2 and S3 calls work, and its errors read as AWS's do", async () => {
  await using stand = await startTestGateway();
  const inputs: unknown[] = [];
  stand.bus.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => ({
    UserId: "AIDATEST",
    Account: "123456789012",
    Arn: "arn:aws:iam::123456789012:user/test",
  }));
  stand.bus.answer(subject<unknown, unknown>("ec2.DescribeRegions"), (input) => {
    inputs.push(input);
    return {
      Regions: [{
        RegionName: "ap-southeast-2",
        Endpoint: "localhost",
        OptInStatus: "opt-in-not-required",
      }],
    };
  });
  stand.bus.answer(subject<unknown, unknown>("ec2.RunInstances"), (input) => {
    inputs.push(input);
    throw new AwsError("InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist");
  });
  await stand.bus.connection.flush();

  const who = await aws(stand, ["sts", "get-caller-identity"]);
  assert.equal(who.code, 0, who.err);
  assert.equal(JSON.parse(who.out).Account, "123456789012");

  const regions = await aws(stand, [
    "ec2",
    "describe-regions",
    "--filters",
    "Name=region-name,Values=a b,ü",
  ]);
  assert.equal(regions.code, 0, regions.err);
  assert.equal(JSON.parse(regions.out).Regions[0].RegionName, "ap-southeast-2");
  assert.deepEqual(inputs.at(-1), { Filters: [{ Name: "region-name", Values: ["a b", "ü"] }] });

  const run = await aws(stand, [
    "ec2",
    "run-instances",
    "--image-id",
    "ami-1",
    "--count",
    "2",
    "--user-data",
    "#!/bin/sh\necho hi",
    "--block-device-mappings",
    '[{"DeviceName":"/dev/xvda","Ebs":{"VolumeSize":8,"DeleteOnTermination":true}}]',
    "--tag-specifications",
    "ResourceType=instance,Tags=[{Key=Name,Value=é & <x>}]",
  ]);
  assert.equal(run.code, 254);
  assert.match(
    run.err,
    /An error occurred \(InvalidAMIID\.NotFound\) when calling the RunInstances operation.*: The image id '\[ami-1\]' does not exist/,
  );
  const { ClientToken, ...launched } = inputs.at(-1) as Record<string, unknown>;
  assert.match(String(ClientToken), /^[0-9a-f-]{36}$/);
  assert.deepEqual(launched, {
    ImageId: "ami-1",
    MinCount: 2,
    MaxCount: 2,
    UserData: btoa("#!/bin/sh\necho hi"),
    BlockDeviceMappings: [
      { DeviceName: "/dev/xvda", Ebs: { VolumeSize: 8, DeleteOnTermination: true } },
    ],
    TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "Name", Value: "é & <x>" }] }],
  });

  // Over HTTP/2 there is no Host header to sign; the authority stands for it.
  const curl = await new Deno.Command("curl", {
    args: [
      "--silent",
      "--show-error",
      "--http2",
      "--cacert",
      stand.tls.ca_path,
      "--aws-sigv4",
      "aws:amz:ap-southeast-2:sts",
      "--user",
      "AKIATEST:secret",
      "--data",
      "Action=GetCallerIdentity&Version=2011-06-15",
      "--write-out",
      " %{http_version} %{http_code}",
      `${stand.endpoint}/`,
    ],
  }).output();
  assert.match(new TextDecoder().decode(curl.stdout), /<Account>123456789012<\/Account>.* 2 200$/s);

  const unsupported = await aws(stand, ["ec2", "describe-fpga-images"]);
  assert.match(unsupported.err, /\(UnsupportedOperation\)/);
  const wrong = await aws(stand, ["sts", "get-caller-identity"], {
    AWS_SECRET_ACCESS_KEY: "other",
  });
  assert.match(wrong.err, /\(SignatureDoesNotMatch\)/);

  const puts: { target: string; body: string; hash: string }[] = [];
  const front = Deno.serve({ path: stand.s3Front, onListen() {} }, async (request) => {
    puts.push({
      target: request.headers.get("x-mulga-target") ?? "",
      hash: request.headers.get("x-amz-content-sha256") ?? "",
      body: await request.text(),
    });
    return new Response(null, { headers: { etag: '"e"' } });
  });
  const file = `${stand.nats.directory}/file`;
  await Deno.writeTextFile(file, "hello");
  const put = await aws(stand, ["s3", "cp", file, "s3://bucket/a b+c/é.bin"]);
  assert.equal(put.code, 0, put.err);
  assert.equal(puts[0]?.target, "/bucket/a%20b%2Bc/%C3%A9.bin");
  assert.match(puts[0].body, /hello/);
  await front.shutdown();
});

Deno.test("the AWS CLI writes blocks of snapshots, whose bytes it does not sign", async () => {
  await using stand = await startTestGateway();
  const came: Record<string, unknown>[] = [];
  stand.bus.answer(subject<Record<string, unknown>, unknown>("ebs.PutSnapshotBlock"), (input) => {
    came.push(input);
    return { Checksum: "c", ChecksumAlgorithm: "SHA256" };
  });
  await stand.bus.connection.flush();
  const bytes = crypto.getRandomValues(new Uint8Array(524_288).subarray(0, 65_536));
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeFile(file, bytes);
    const put = await aws(stand, [
      ...["ebs", "put-snapshot-block", "--snapshot-id", "snap-0123456789abcdef0"],
      ...["--block-index", "3", "--block-data", file, "--data-length", "65536"],
      ...["--checksum", "c", "--checksum-algorithm", "SHA256"],
    ]);
    assert.equal(put.code, 0, put.err);
    assert.equal(came[0]?.["BlockData"], bytes.toBase64());
    assert.deepEqual([came[0]?.["BlockIndex"], came[0]?.["Checksum"]], [3, "c"]);
  } finally {
    await Deno.remove(file);
  }
});
