/** The gateway with the real identity: users, keys and policies as an SDK sees them. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import { DescribeRegionsCommand, EC2Client } from "@aws-sdk/client-ec2";
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  IAMClient,
  ListAccessKeysCommand,
  ListUsersCommand,
  PutUserPolicyCommand,
} from "@aws-sdk/client-iam";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { subject } from "../../services/bus/subject.ts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startGatewayProcess } from "../kit/gateway_process.ts";
import { until } from "../kit/until.ts";

async function nameOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "none";
  } catch (error) {
    return (error as Error).name;
  }
}

async function becomes(expected: string, work: () => Promise<unknown>): Promise<void> {
  await until(expected, async () => await nameOf(work()) === expected);
}

Deno.test("a new user's key works at once, may what its policy says, and ends when it is deleted", async () => {
  await using gateway = await startGatewayProcess(["identity"]);
  const ca = await Deno.readTextFile(gateway.node.paths.tls.ca);
  const operator = await gateway.bus("operator");
  const admin = await operator.ask(adminCredentials, null);
  const compute = await gateway.bus("compute");
  compute.answer(subject<unknown, unknown>("ec2.DescribeRegions"), () => ({ Regions: [] }));
  await compute.connection.flush();
  const agent = new Agent({ ca, keepAlive: true });
  const options = (accessKeyId: string, secretAccessKey: string) => ({
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    maxAttempts: 1,
    credentials: { accessKeyId, secretAccessKey },
    requestHandler: { httpsAgent: agent },
  });
  const asAdmin = options(admin.access_key_id, admin.secret_access_key);
  const iam = new IAMClient(asAdmin);
  const root = await new STSClient(asAdmin).send(new GetCallerIdentityCommand({}));
  assert.equal(root.Account, admin.account_id);

  const { User } = await iam.send(new CreateUserCommand({ UserName: "ana", Path: "/team/" }));
  assert.equal(User?.Arn, `arn:aws:iam::${admin.account_id}:user/team/ana`);
  assert.ok(User.CreateDate instanceof Date);
  const listed = await iam.send(new ListUsersCommand({}));
  assert.ok(listed.Users?.some((user) => user.UserName === "ana"));
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: "ana" }));
  const id = AccessKey?.AccessKeyId ?? "";
  const asAna = options(id, AccessKey?.SecretAccessKey ?? "");
  const who = await new STSClient(asAna).send(new GetCallerIdentityCommand({}));
  assert.equal(who.Arn, User.Arn);

  const ec2 = new EC2Client(asAna);
  const describe = () => ec2.send(new DescribeRegionsCommand({}));
  assert.equal(await nameOf(describe()), "UnauthorizedOperation");
  const anasIam = new IAMClient(asAna);
  assert.equal(await nameOf(anasIam.send(new ListUsersCommand({}))), "AccessDenied");
  await iam.send(
    new PutUserPolicyCommand({
      UserName: "ana",
      PolicyName: "look",
      PolicyDocument: JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "ec2:Describe*", Resource: "*" }],
      }),
    }),
  );
  await becomes("none", describe);

  const keys = await iam.send(new ListAccessKeysCommand({ UserName: "ana" }));
  assert.deepEqual(keys.AccessKeyMetadata?.map((key) => key.AccessKeyId), [id]);
  await iam.send(new DeleteAccessKeyCommand({ UserName: "ana", AccessKeyId: id }));
  await becomes("AuthFailure", describe);
  assert.equal(
    await nameOf(iam.send(new CreateUserCommand({ UserName: "no spaces" }))),
    "ValidationError",
  );
  assert.equal(
    await nameOf(iam.send(new ListAccessKeysCommand({ UserName: "nobody" }))),
    "NoSuchEntityException",
  );
  agent.destroy();
});
