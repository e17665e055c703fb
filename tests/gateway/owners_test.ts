/** The gateway with every real service behind it: each action it hands on has an owner that answers. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as ebs from "@aws-sdk/client-ebs";
import * as ec2 from "@aws-sdk/client-ec2";
import * as iam from "@aws-sdk/client-iam";
import * as tagging from "@aws-sdk/client-resource-groups-tagging-api";
import * as quotas from "@aws-sdk/client-service-quotas";
import * as sts from "@aws-sdk/client-sts";
import { ownedActions } from "../../services/gateway/dispatch.ts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startGatewayProcess } from "../kit/gateway_process.ts";

const instance = "i-0123456789abcdef0";
const volume = "vol-0123456789abcdef0";
const snapshot = { SnapshotId: "snap-0123456789abcdef0" };

/** Input for actions that need some; what they name does not exist, which must be said in AWS's way. */
const inputs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  AttachVolume: { VolumeId: volume, InstanceId: instance, Device: "/dev/sdf" },
  CompleteSnapshot: { ...snapshot, ChangedBlocksCount: 0 },
  CreateAccessKey: { UserName: "nobody" },
  CreateKeyPair: { KeyName: "key" },
  CreateTags: { Resources: [volume], Tags: [{ Key: "a", Value: "b" }] },
  CreateVolume: { AvailabilityZone: "ap-southeast-2a", Size: 1 },
  DeleteTags: { Resources: [volume], Tags: [{ Key: "a" }] },
  DeleteKeyPair: { KeyName: "other" },
  DeleteVolume: { VolumeId: volume },
  DeregisterImage: { ImageId: "ami-0123456789abcdef0" },
  DetachVolume: { VolumeId: volume },
  GetAccessKeyInfo: { AccessKeyId: "AKIAIOSFODNN7EXAMPLE" },
  GetConsoleOutput: { InstanceId: instance },
  GetSnapshotBlock: { ...snapshot, BlockIndex: 0, BlockToken: "t" },
  ImportKeyPair: { KeyName: "key", PublicKeyMaterial: new TextEncoder().encode("no key") },
  ListChangedBlocks: { SecondSnapshotId: snapshot.SnapshotId },
  ListSnapshotBlocks: snapshot,
  PutSnapshotBlock: {
    ...snapshot,
    BlockIndex: 0,
    BlockData: new Uint8Array(1),
    DataLength: 1,
    Checksum: "c3Vt",
    ChecksumAlgorithm: "SHA256",
  },
  RebootInstances: { InstanceIds: [instance] },
  RegisterImage: { Name: "image" },
  RunInstances: { ImageId: "ami-0123456789abcdef0", MinCount: 1, MaxCount: 1 },
  StartInstances: { InstanceIds: [instance] },
  StartSnapshot: { VolumeSize: 1 },
  StopInstances: { InstanceIds: [instance] },
  TerminateInstances: { InstanceIds: [instance] },
};
/** Any IAM action takes these or ignores them: only members of its input are encoded. */
const common = {
  UserName: "nobody",
  AccessKeyId: "AKIAIOSFODNN7EXAMPLE",
  Status: "Inactive",
  PolicyName: "policy",
  PolicyArn: "arn:aws:iam::aws:policy/ReadOnlyAccess",
  PolicyDocument: "{}",
};
const withoutUser = new Set(["GetUser", "ListUsers", "ListAccessKeys", "CreateUser"]);
/** What means that nobody understood or answered. */
const faults = new Set([
  "InternalError",
  "ServiceUnavailable",
  "UnsupportedOperation",
  "UnknownParameter",
  "UnsupportedOperationException",
  "InvalidAction",
]);

// deno-lint-ignore no-explicit-any
type AnyModule = Record<string, any>;

Deno.test("every owned action is answered by its owner, in its shape or with an AWS error", async () => {
  await using gateway = await startGatewayProcess([
    "predastore",
    "viperblock",
    "identity",
    "vpcd",
    "compute",
  ]);
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const operator = await gateway.bus("operator");
  const admin = await operator.ask(adminCredentials, null);
  const agent = new Agent({ ca, keepAlive: true });
  const options = {
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    maxAttempts: 1,
    credentials: {
      accessKeyId: admin.access_key_id,
      secretAccessKey: admin.secret_access_key,
    },
    requestHandler: { httpsAgent: agent },
  };
  const clients: Record<string, [AnyModule, { send(command: unknown): Promise<unknown> }]> = {
    ebs: [ebs, new ebs.EBSClient(options)],
    ec2: [ec2, new ec2.EC2Client(options)],
    iam: [iam, new iam.IAMClient(options)],
    servicequotas: [quotas, new quotas.ServiceQuotasClient(options)],
    sts: [sts, new sts.STSClient(options)],
    tagging: [tagging, new tagging.ResourceGroupsTaggingAPIClient(options)],
  };
  const outcomes: Record<string, string> = {};
  for (const [service, actions] of Object.entries(ownedActions)) {
    const [module, client] = clients[service]!;
    for (const action of actions) {
      const input = inputs[action] ??
        (service === "iam" && !withoutUser.has(action) ? common : {});
      try {
        await client.send(new module[`${action}Command`](input));
        outcomes[`${service}:${action}`] = "answered";
      } catch (error) {
        outcomes[`${service}:${action}`] = (error as Error).name;
      }
    }
  }
  const bad = Object.entries(outcomes).filter(([, outcome]) => faults.has(outcome));
  assert.deepEqual(bad, []);
  assert.ok(Object.values(outcomes).filter((one) => one === "answered").length >= 15);
  agent.destroy();
});
