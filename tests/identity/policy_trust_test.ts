/** Whom policies of buckets and roles mean when a name is given to somebody else, with the real services. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as Iam from "@aws-sdk/client-iam";
import * as S3 from "@aws-sdk/client-s3";
import * as Sts from "@aws-sdk/client-sts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startNode } from "../kit/node.ts";

interface Key {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

Deno.test("policies of buckets and roles mean who had the name when they were written, and nobody made later", async (t) => {
  await using node = await startNode();
  for (const name of ["identity", "predastore", "gateway"] as const) {
    await (await node.start(name)).healthy();
  }
  const admin = await (await node.bus("operator")).ask(adminCredentials, null);
  const httpsAgent = new Agent({ ca: await Deno.readTextFile(node.paths.tls.ca) });
  using clients = new DisposableStack();
  clients.defer(() => httpsAgent.destroy());
  const settings = (credentials: Key) => ({
    region: node.config.region,
    endpoint: node.endpoint,
    credentials,
    maxAttempts: 1,
    requestHandler: { httpsAgent },
  });
  const own = {
    accessKeyId: admin.access_key_id,
    secretAccessKey: admin.secret_access_key,
  };
  const s3Of = (key: Key) =>
    clients.adopt(
      new S3.S3Client({ ...settings(key), forcePathStyle: true }),
      (client) => client.destroy(),
    );
  const stsOf = (key: Key) =>
    clients.adopt(new Sts.STSClient(settings(key)), (client) => client.destroy());
  const iam = clients.adopt(new Iam.IAMClient(settings(own)), (client) => client.destroy());
  const boss = s3Of(own);
  const arn = (rest: string) => `arn:aws:iam::${admin.account_id}:${rest}`;
  const session = (rest: string) => `arn:aws:sts::${admin.account_id}:${rest}`;

  /** A user, and what it signs with. */
  const newUser = async (UserName: string): Promise<{ readonly id: string; readonly key: Key }> => {
    const { User } = await iam.send(new Iam.CreateUserCommand({ UserName }));
    const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName }));
    const key = {
      accessKeyId: AccessKey?.AccessKeyId ?? "",
      secretAccessKey: AccessKey?.SecretAccessKey ?? "",
    };
    return { id: User?.UserId ?? "", key };
  };
  const removeUser = async (UserName: string, { accessKeyId: AccessKeyId }: Key) => {
    await iam.send(new Iam.DeleteAccessKeyCommand({ UserName, AccessKeyId }));
    await iam.send(new Iam.DeleteUserCommand({ UserName }));
  };
  const trusting = (AWS: string) =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Principal: { AWS }, Action: "sts:AssumeRole" }],
    });
  const newRole = async (RoleName: string, AWS: string) => {
    const { Role } = await iam.send(
      new Iam.CreateRoleCommand({ RoleName, AssumeRolePolicyDocument: trusting(AWS) }),
    );
    return Role?.RoleId ?? "";
  };
  const take = async (key: Key, role: string): Promise<Key> => {
    const { Credentials } = await stsOf(key).send(
      new Sts.AssumeRoleCommand({ RoleArn: arn(`role/${role}`), RoleSessionName: "now" }),
    );
    return {
      accessKeyId: Credentials?.AccessKeyId ?? "",
      secretAccessKey: Credentials?.SecretAccessKey ?? "",
      sessionToken: Credentials?.SessionToken ?? "",
    };
  };

  const Bucket = "trusted";
  await boss.send(new S3.CreateBucketCommand({ Bucket }));
  await boss.send(new S3.PutObjectCommand({ Bucket, Key: "a", Body: "a" }));
  const setPolicy = (AWS: string | readonly string[]) =>
    boss.send(
      new S3.PutBucketPolicyCommand({
        Bucket,
        Policy: JSON.stringify({
          Version: "2012-10-17",
          Statement: [{
            Effect: "Allow",
            Principal: { AWS },
            Action: "s3:GetObject",
            Resource: `arn:aws:s3:::${Bucket}/*`,
          }],
        }),
      }),
    );
  const named = async () => {
    const { Policy = "{}" } = await boss.send(new S3.GetBucketPolicyCommand({ Bucket }));
    return JSON.parse(Policy).Statement[0].Principal.AWS;
  };
  const read = async (key: Key) => {
    const { Body } = await s3Of(key).send(new S3.GetObjectCommand({ Bucket, Key: "a" }));
    return await Body?.transformToString();
  };

  await t.step("a bucket's policy names only who is there", async () => {
    for (
      const nobody of [
        arn("user/nobody"),
        arn("role/nobody"),
        session("assumed-role/nobody/now"),
        "999999999999",
        "arn:aws:sts::999999999999:federated-user/x1",
      ]
    ) {
      await assert.rejects(setPolicy(nobody), { name: "MalformedPolicy" }, nobody);
    }
  });

  await t.step(
    "a statement of a bucket's policy may be named in words, and who writes one is told what is wrong with it",
    async () => {
      const reader = await newUser("reader");
      const Statement = {
        Sid: "Allow get requests, as in AWS's examples.",
        Effect: "Allow",
        Principal: { AWS: arn("user/reader") },
        Action: "s3:GetObject",
        Resource: `arn:aws:s3:::${Bucket}/*`,
      };
      const put = (...statements: readonly object[]) =>
        boss.send(
          new S3.PutBucketPolicyCommand({
            Bucket,
            Policy: JSON.stringify({ Version: "2012-10-17", Statement: statements }),
          }),
        );
      await put(Statement);
      assert.equal(await read(reader.key), "a");
      await put(Statement, Statement);
      await assert.rejects(put({ ...Statement, Note: "none" }), {
        name: "MalformedPolicy",
        message: /unknown element "Note"/,
      });
      await removeUser("reader", reader.key);
    },
  );

  await t.step("a user made anew under the name has nothing of the bucket's policy", async () => {
    const first = await newUser("ada");
    await setPolicy([arn("user/ada"), arn("root")]);
    assert.deepEqual(await named(), [arn("user/ada"), arn("root")]);
    assert.equal(await read(first.key), "a");
    await removeUser("ada", first.key);
    assert.deepEqual(await named(), [first.id, arn("root")]);
    const second = await newUser("ada");
    await assert.rejects(read(second.key), { name: "AccessDenied" });
    await setPolicy([arn("user/ada"), arn("root")]);
    assert.equal(await read(second.key), "a");
  });

  await t.step(
    "nor has a session of a role made anew, in a bucket's policy or a role's",
    async () => {
      const bob = await newUser("bob");
      await assert.rejects(newRole("target", session("assumed-role/reader/now")), {
        name: "MalformedPolicyDocumentException",
      });
      const first = await newRole("reader", arn("user/bob"));
      await newRole("target", session("assumed-role/reader/now"));
      await newRole("federation", session("federated-user/whoever"));
      await setPolicy(session("assumed-role/reader/now"));
      const taken = await take(bob.key, "reader");
      assert.equal(await read(taken), "a");
      await take(taken, "target");
      await iam.send(new Iam.DeleteRoleCommand({ RoleName: "reader" }));
      assert.deepEqual(await named(), `${first}:now`);
      const { Role } = await iam.send(new Iam.GetRoleCommand({ RoleName: "target" }));
      const shown = JSON.parse(decodeURIComponent(Role?.AssumeRolePolicyDocument ?? ""));
      assert.equal(shown.Statement[0].Principal.AWS, `${first}:now`);
      await newRole("reader", arn("user/bob"));
      const again = await take(bob.key, "reader");
      await assert.rejects(read(again), { name: "AccessDenied" });
      await assert.rejects(take(again, "target"), { name: "AccessDenied" });
    },
  );
});
