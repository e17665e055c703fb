/**
 * What verifying, decoding and encoding one call costs, and how that compares with `JSON.stringify`
 * of the same answer. Run with `deno bench -A services/aws/codec_bench.ts`.
 */
import { createHash } from "node:crypto";
import { queryService } from "./schema/catalog.ts";
import { readCall, readParameters, writeAnswer } from "./query/query_protocol.ts";
import { deriveSigningKey, type SigningScope, verify } from "./signatures/sigv4.ts";
import { createHmac } from "node:crypto";

const ec2 = queryService("ec2");
const operation = ec2?.operation("DescribeInstances");
if (ec2 === undefined || operation === undefined) throw new Error("EC2 is missing");

const instance = (n: number) => ({
  InstanceId: `i-${String(n).padStart(17, "0")}`,
  ImageId: "ami-0123456789abcdef0",
  State: { Code: 16, Name: "running" },
  PrivateDnsName: `ip-10-0-0-${n}.ap-southeast-2.compute.internal`,
  PublicDnsName: "",
  StateTransitionReason: "",
  KeyName: "key",
  AmiLaunchIndex: 0,
  ProductCodes: [],
  InstanceType: "t3.micro",
  LaunchTime: "2026-11-21T10:00:00.000Z",
  Placement: { AvailabilityZone: "ap-southeast-2a", GroupName: "", Tenancy: "default" },
  Monitoring: { State: "disabled" },
  SubnetId: "subnet-0123456789abcdef0",
  VpcId: "vpc-0123456789abcdef0",
  PrivateIpAddress: `10.0.0.${n}`,
  Architecture: "x86_64",
  RootDeviceType: "ebs",
  RootDeviceName: "/dev/xvda",
  BlockDeviceMappings: ["/dev/xvda", "/dev/sdf"].map((DeviceName) => ({
    DeviceName,
    Ebs: {
      AttachTime: "2026-11-21T10:00:00.000Z",
      DeleteOnTermination: true,
      Status: "attached",
      VolumeId: "vol-0123456789abcdef0",
    },
  })),
  VirtualizationType: "hvm",
  Hypervisor: "xen",
  NetworkInterfaces: [{
    NetworkInterfaceId: "eni-0123456789abcdef0",
    MacAddress: "02:00:00:00:00:01",
    PrivateIpAddress: `10.0.0.${n}`,
    Status: "in-use",
    SourceDestCheck: true,
    Groups: [{ GroupId: "sg-0123456789abcdef0", GroupName: "default" }],
    Attachment: { AttachmentId: "eni-attach-1", DeviceIndex: 0, Status: "attached" },
    PrivateIpAddresses: [{ Primary: true, PrivateIpAddress: `10.0.0.${n}` }],
  }],
  SecurityGroups: [{ GroupId: "sg-0123456789abcdef0", GroupName: "default" }],
  Tags: [{ Key: "Name", Value: `instance & ${n}` }, { Key: "team", Value: "blue" }],
  MetadataOptions: { State: "applied", HttpTokens: "required", HttpEndpoint: "enabled" },
  CpuOptions: { CoreCount: 1, ThreadsPerCore: 2 },
  EnaSupport: true,
  EbsOptimized: false,
});
const output = {
  Reservations: Array.from({ length: 20 }, (_, n) => ({
    ReservationId: `r-${n}`,
    OwnerId: "123456789012",
    Groups: [],
    Instances: [instance(n)],
  })),
};
const bytes = writeAnswer(ec2, operation, output, "r").length;

const describe =
  "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-state-name&Filter.1.Value.1=running&MaxResults=100";
const run =
  "Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=1&InstanceType=t3.micro&KeyName=key&ClientToken=3b2f&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.VolumeSize=8&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a+b";

const scope: SigningScope = {
  access_key_id: "AKIATEST",
  date: "20261121",
  region: "ap-southeast-2",
  service: "ec2",
};
const key = deriveSigningKey("secret", scope);
const grant = Promise.resolve({
  key: key.toBase64(),
  account_id: "1",
  principal_arn: "a",
  user_id: "u",
  valid_until_ms: 0,
});
const now = new Date("2026-11-21T10:00:00Z");
const hash = (text: string) => createHash("sha256").update(text).digest("hex");
const canonical =
  `POST\n/\n\ncontent-type:application/x-www-form-urlencoded\nhost:localhost:9999\nx-amz-date:20261121T100000Z\n\ncontent-type;host;x-amz-date\n${
    hash(describe)
  }`;
const signature = createHmac("sha256", key)
  .update(
    `AWS4-HMAC-SHA256\n20261121T100000Z\n20261121/ap-southeast-2/ec2/aws4_request\n${
      hash(canonical)
    }`,
  ).digest("hex");
const request = {
  method: "POST",
  target: "/",
  authority: "localhost:9999",
  headers: new Headers({
    "content-type": "application/x-www-form-urlencoded",
    "x-amz-date": "20261121T100000Z",
    authorization:
      `AWS4-HMAC-SHA256 Credential=AKIATEST/20261121/ap-southeast-2/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=${signature}`,
  }),
};

Deno.bench("verify a signed request, key cached", async () => {
  await verify(request, () => grant, { now, body_sha256: hash(describe) });
});
Deno.bench("decode DescribeInstances", () => {
  readCall(ec2, readParameters(ec2, "", describe));
});
Deno.bench("decode RunInstances", () => {
  readCall(ec2, readParameters(ec2, "", run));
});
Deno.bench("JSON.stringify 20 instances", { group: "encode", baseline: true }, () => {
  JSON.stringify(output);
});
Deno.bench(`XML of 20 instances (${bytes} bytes)`, { group: "encode" }, () => {
  writeAnswer(ec2, operation, output, "r");
});
