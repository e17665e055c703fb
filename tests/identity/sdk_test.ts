/** IAM and STS as the official SDK meets them: over HTTPS, signed, through gateway and identity. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as Iam from "@aws-sdk/client-iam";
import { GetAccessKeyInfoCommand, GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startNode } from "../kit/node.ts";

const code = (name: string, status: number) => (error: unknown) => {
  assert.ok(error instanceof Iam.IAMServiceException, String(error));
  assert.deepEqual([error.name, error.$metadata.httpStatusCode], [name, status]);
  return true;
};

Deno.test("users, keys and policies are made, used and removed by the SDK", async () => {
  await using node = await startNode();
  for (const name of ["identity", "gateway"] as const) await (await node.start(name)).healthy();
  const admin = await (await node.bus("operator")).ask(adminCredentials, null);
  const ca = await Deno.readTextFile(node.paths.tls.ca);
  const settings = (accessKeyId: string, secretAccessKey: string) => ({
    region: node.config.region,
    endpoint: node.endpoint,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
    requestHandler: { httpsAgent: new Agent({ ca }) },
  });
  const own = settings(admin.access_key_id, admin.secret_access_key);
  const iam = new Iam.IAMClient(own);
  const sts = new STSClient(own);

  const who = await sts.send(new GetCallerIdentityCommand({}));
  assert.equal(who.Account, admin.account_id);
  assert.equal(who.Arn, `arn:aws:iam::${admin.account_id}:user/admin`);
  const whose = await sts.send(new GetAccessKeyInfoCommand({ AccessKeyId: admin.access_key_id }));
  assert.equal(whose.Account, admin.account_id);

  const UserName = "ada+test@example.com";
  const { User } = await iam.send(
    new Iam.CreateUserCommand({ UserName, Path: "/team/", Tags: [{ Key: "team", Value: "blue" }] }),
  );
  assert.ok(User?.CreateDate instanceof Date);
  assert.equal(User.Arn, `arn:aws:iam::${admin.account_id}:user/team/${UserName}`);
  await assert.rejects(
    iam.send(new Iam.CreateUserCommand({ UserName })),
    code("EntityAlreadyExistsException", 409),
  );
  assert.deepEqual(
    (await iam.send(new Iam.ListUsersCommand({ PathPrefix: "/team/" }))).Users?.map((u) =>
      u.UserName
    ),
    [UserName],
  );

  const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName }));
  await iam.send(new Iam.CreateAccessKeyCommand({ UserName }));
  await assert.rejects(
    iam.send(new Iam.CreateAccessKeyCommand({ UserName })),
    code("LimitExceededException", 409),
  );
  const theirs = settings(AccessKey?.AccessKeyId ?? "", AccessKey?.SecretAccessKey ?? "");
  const ada = new Iam.IAMClient(theirs);
  assert.equal((await new STSClient(theirs).send(new GetCallerIdentityCommand({}))).Arn, User.Arn);
  await assert.rejects(ada.send(new Iam.ListAccessKeysCommand({})), code("AccessDenied", 403));

  const PolicyDocument = JSON.stringify({
    Version: "2012-10-17",
    Statement: {
      Effect: "Allow",
      Action: "iam:ListAccessKeys",
      Resource: "arn:aws:iam::*:user/team/${aws:username}",
    },
  });
  await iam.send(
    new Iam.PutUserPolicyCommand({ UserName, PolicyName: "own-keys", PolicyDocument }),
  );
  const read = await iam.send(new Iam.GetUserPolicyCommand({ UserName, PolicyName: "own-keys" }));
  assert.equal(decodeURIComponent(read.PolicyDocument ?? ""), PolicyDocument);
  const keys = (await ada.send(new Iam.ListAccessKeysCommand({}))).AccessKeyMetadata ?? [];
  assert.equal(keys.length, 2);
  await assert.rejects(
    iam.send(new Iam.PutUserPolicyCommand({ UserName, PolicyName: "bad", PolicyDocument: "{" })),
    code("MalformedPolicyDocumentException", 400),
  );

  await iam.send(
    new Iam.UpdateAccessKeyCommand({
      UserName,
      AccessKeyId: AccessKey?.AccessKeyId,
      Status: "Inactive",
    }),
  );
  // The gateway has used this key a moment ago: it must not go on from memory.
  await assert.rejects(
    ada.send(new Iam.ListAccessKeysCommand({})),
    code("InvalidClientTokenId", 403),
  );
  await assert.rejects(
    iam.send(new Iam.DeleteUserCommand({ UserName })),
    code("DeleteConflictException", 409),
  );
  for (const { AccessKeyId } of keys) {
    await iam.send(new Iam.DeleteAccessKeyCommand({ UserName, AccessKeyId }));
  }
  await iam.send(new Iam.DeleteUserPolicyCommand({ UserName, PolicyName: "own-keys" }));
  await iam.send(new Iam.DeleteUserCommand({ UserName }));
  await assert.rejects(
    iam.send(new Iam.GetUserCommand({ UserName })),
    code("NoSuchEntityException", 404),
  );
  for (const client of [iam, sts, ada]) client.destroy();
});
