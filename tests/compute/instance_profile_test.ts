import assert from "node:assert/strict";
import { Bus } from "../../services/bus/bus.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { newMasterKey, signingKey } from "../../services/identity/contract.ts";
import { startIdentity } from "../../services/identity/identity.ts";
import { parseMasterKeys } from "../../services/identity/credentials/master_key.ts";
import { nameKey } from "../../services/identity/records.ts";
import { testLog } from "../kit/nats.ts";
import { blankDisk, launch, reach } from "./launches.ts";
import { account, startNode, type TestNode } from "./node.ts";

const disk = await blankDisk();
globalThis.addEventListener("unload", () => Deno.removeSync(disk));

const created = "2026-01-01T00:00:00Z";
const arn = (name: string) => `arn:aws:iam::${account}:instance-profile/${name}`;

/** identity on the node's bus, with a role for each profile; `empty` has none. */
async function identityOf(node: TestNode) {
  const stack = new AsyncDisposableStack();
  const bus = await Bus.connect({
    service: "identity",
    url: `nats://127.0.0.1:${node.config.ports.nats}`,
    log: testLog,
  });
  stack.defer(() => bus.drain());
  const identity = stack.use(
    await startIdentity({
      bus,
      log: testLog,
      masterKeys: parseMasterKeys(newMasterKey(), "/key"),
      masterKeyPath: "/key",
      clusterId: "c-test",
    }),
  );
  const { state } = identity;
  await state.accounts.create(account, {
    account_id: account,
    name: "test",
    status: "active",
    created,
  });
  const named = (name: string) => ({ account_id: account, name, path: "/", created, tags: {} });
  for (const name of ["app", "other"]) {
    await state.roles.create(nameKey(account, name), {
      ...named(name),
      role_id: `AROA${name.toUpperCase().padEnd(17, "A")}`,
      trust: JSON.stringify({
        Version: "2012-10-17",
        Statement: [{
          Effect: "Allow",
          Principal: { Service: "ec2.amazonaws.com" },
          Action: "sts:AssumeRole",
        }],
      }),
      max_session_s: 3_600,
      attached: [],
      inline: {},
    });
  }
  for (const name of ["app", "other", "empty"]) {
    await state.profiles.create(nameKey(account, name), {
      ...named(name),
      profile_id: `AIPA${name.toUpperCase().padEnd(17, "A")}`,
      ...(name === "empty" ? {} : { role: `AROA${name.toUpperCase().padEnd(17, "A")}` }),
    });
  }
  await bus.connection.flush();
  return { bus, state, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const code = (wanted: string) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, wanted, String(error));
  return true;
};

Deno.test("an instance has its profile's credentials in its metadata, which sign as the role", async () => {
  await using node = await startNode({ disk, bounds: { shutdown_ms: 300 } });
  await using identity = await identityOf(node);
  await assert.rejects(
    launch(node, { IamInstanceProfile: { Name: "nobody" } }),
    code("InvalidParameterValue"),
  );
  await assert.rejects(
    launch(node, { IamInstanceProfile: { Name: "app", Arn: arn("app") } }),
    code("InvalidParameterCombination"),
  );
  const id = await launch(node, { IamInstanceProfile: { Name: "app" } });
  await reach(node, id, "running");
  const { Reservations } = await node.call("DescribeInstances", {
    Filters: [{ Name: "iam-instance-profile.arn", Values: [arn("app")] }],
  });
  assert.equal(Reservations?.[0]?.Instances?.[0]?.IamInstanceProfile?.Arn, arn("app"));

  using client = Deno.createHttpClient({
    proxy: { transport: "unix", path: pathsOf(node.config.data_dir).imds(id) },
  });
  const ask = async (path: string) => {
    const response = await fetch(`http://169.254.169.254/latest/meta-data/${path}`, { client });
    return { status: response.status, body: await response.text() };
  };
  assert.equal((await ask("iam/")).body, "info\nsecurity-credentials/");
  assert.equal(JSON.parse((await ask("iam/info")).body).InstanceProfileArn, arn("app"));
  assert.equal((await ask("iam/security-credentials/")).body, "app");
  const shown = JSON.parse((await ask("iam/security-credentials/app")).body);
  assert.equal(shown.Code, "Success");
  assert.ok(Date.parse(shown.Expiration) > Date.now() + 3_600_000);
  const grant = await identity.bus.ask(signingKey, {
    access_key_id: shown.AccessKeyId,
    date: new Date().toISOString().slice(0, 10).replaceAll("-", ""),
    region: node.config.region,
    service: "ec2",
    session_token: shown.Token,
  });
  assert.equal(grant.principal_arn, `arn:aws:sts::${account}:assumed-role/app/${id}`);
  // Asked again it is the same session, not a new one.
  assert.equal(JSON.parse((await ask("iam/security-credentials/app")).body).Token, shown.Token);
  assert.equal(identity.state.sessions.size, 1);

  // Another profile gives another role's, and none gives nothing.
  const { IamInstanceProfileAssociations: [association] = [] } = await node.call(
    "DescribeIamInstanceProfileAssociations",
    { Filters: [{ Name: "instance-id", Values: [id] }] },
  );
  assert.equal(association?.State, "associated");
  const replaced = await node.call("ReplaceIamInstanceProfileAssociation", {
    AssociationId: association?.AssociationId ?? "",
    IamInstanceProfile: { Arn: arn("other") },
  });
  const other = replaced.IamInstanceProfileAssociation?.AssociationId ?? "";
  await node.until(
    "the other role",
    async () => (await ask("iam/security-credentials/")).body === "other",
  );
  await assert.rejects(
    node.call("AssociateIamInstanceProfile", {
      InstanceId: id,
      IamInstanceProfile: { Name: "app" },
    }),
    code("IncorrectState"),
  );
  await node.call("DisassociateIamInstanceProfile", { AssociationId: other });
  await node.until("no profile", async () => (await ask("iam/")).status === 404);
  await assert.rejects(
    node.call("DisassociateIamInstanceProfile", { AssociationId: other }),
    code("NoSuchAssociation"),
  );
  await node.call("AssociateIamInstanceProfile", {
    InstanceId: id,
    IamInstanceProfile: { Name: "empty" },
  });
  await node.until("a profile without a role", async () => (await ask("iam/")).body === "info");
  assert.equal((await ask("iam/security-credentials/")).status, 404);
});
