import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { deriveSigningKey } from "../aws/signatures/sigv4.ts";
import { adminCredentials, givenKeyText, newMasterKey, signingKey } from "./contract.ts";
import { firstStart, type FirstStartStep, firstStartSteps } from "./credentials/first_start.ts";
import { parseMasterKeys } from "./credentials/master_key.ts";
import { State } from "./state.ts";
import { as, clusterId, identityOn, masterKeyPath, scopeOf } from "../../tests/kit/identity.ts";

Deno.test("the first start makes one account, one administrator, one key, and the key signs", async () => {
  await using nats = await startNats();
  const { identity } = await identityOn(nats);
  const asker = await nats.bus("asker");
  const admin = await asker.ask(adminCredentials, null);
  assert.match(admin.account_id, /^[1-9]\d{11}$/);
  assert.match(admin.access_key_id, /^AKIA[A-Z2-7]{16}$/);
  assert.match(admin.secret_access_key, /^[A-Za-z0-9+/]{40}$/);
  const grant = await asker.ask(signingKey, scopeOf(admin.access_key_id));
  assert.equal(
    grant.key,
    deriveSigningKey(admin.secret_access_key, scopeOf("")).toBase64(),
  );
  assert.equal(grant.principal_arn, `arn:aws:iam::${admin.account_id}:user/admin`);
  assert.match(grant.user_id, /^AIDA[A-Z2-7]{17}$/);
  assert.ok(grant.valid_until_ms > Date.now());
  const { state } = identity;
  assert.deepEqual([state.accounts.size, state.users.size, state.keys.size], [1, 1, 1]);
});

Deno.test("a first start that dies before any step is finished by the next, as if it had not", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const masterKeys = parseMasterKeys(newMasterKey(), masterKeyPath);
  for (const deadly of firstStartSteps) {
    const id = `cluster-that-dies-before-${deadly}`;
    // One server serves all rounds: each starts with empty tables.
    {
      await using emptied = await State.open(bus, testLog);
      for (const table of [emptied.keys, emptied.users, emptied.accounts]) {
        for (const row of table.list()) await table.delete(row.key);
      }
    }
    {
      await using state = await State.open(bus, testLog);
      const die = (step: FirstStartStep) => {
        if (step === deadly) throw new Error("killed");
      };
      await assert.rejects(firstStart(state, masterKeys, id, testLog, die), { message: "killed" });
    }
    await using state = await State.open(bus, testLog);
    const planned = state.accounts.list()[0]?.value.first_start?.access_key_id;
    await firstStart(state, masterKeys, id, testLog);
    assert.deepEqual([state.accounts.size, state.users.size, state.keys.size], [1, 1, 1], deadly);
    const account = state.accounts.list()[0]!.value;
    assert.equal(account.first_start?.done, true);
    assert.equal(account.first_start?.secret, undefined, "the secret is kept in one place only");
    const key = state.keys.list()[0]!.value;
    if (planned !== undefined) assert.equal(key.access_key_id, planned);
    assert.equal(state.userById(key.owner)?.value.name, "admin");
  }
});

Deno.test("first starts at the same time make one account and one key", async () => {
  await using nats = await startNats();
  const masterKeys = parseMasterKeys(newMasterKey(), masterKeyPath);
  const states = await Promise.all([1, 2, 3, 4].map(async () => {
    const state = await State.open(await nats.bus(), testLog);
    return state;
  }));
  await Promise.all(states.map((state) => firstStart(state, masterKeys, clusterId, testLog)));
  await using state = await State.open(await nats.bus(), testLog);
  assert.deepEqual([state.accounts.size, state.users.size, state.keys.size], [1, 1, 1]);
  for (const opened of states) await opened[Symbol.asyncDispose]();
});

Deno.test("what an administrator deleted stays deleted at the next start", async () => {
  await using nats = await startNats();
  const { bus, masterKeys } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(bus, admin.access_key_id);
  const second = (await call("iam.CreateAccessKey")).AccessKey;
  await call("iam.DeleteAccessKey", { AccessKeyId: admin.access_key_id });
  await bus.drain();
  const again = await identityOn(nats, masterKeys);
  assert.equal(again.identity.state.keys.size, 1);
  assert.equal((await again.bus.ask(adminCredentials, null)).access_key_id, second.AccessKeyId);
});

Deno.test("a key that was made before the node is its administrator's, once, and its file goes", async () => {
  await using nats = await startNats();
  const file = `${nats.directory}/admin-key.json`;
  const key = {
    access_key_id: "AKIAGIVENGIVENGIVEN2",
    secret_access_key: "0123456789/0123456789+0123456789/0123456",
  };
  const masterKeys = parseMasterKeys(newMasterKey(), masterKeyPath);
  const start = async () => {
    const { bus, identity } = await identityOn(nats, masterKeys, { givenKeyPath: file });
    const { account_id: _, ...said } = await bus.ask(adminCredentials, null);
    await identity[Symbol.asyncDispose]();
    await bus.drain();
    return said;
  };
  Deno.writeTextFileSync(file, "{}");
  await assert.rejects(start(), { name: "GivenKeyError" });
  Deno.writeTextFileSync(file, givenKeyText(key));
  assert.deepEqual(await start(), key);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
  // A second file comes too late: the account stands.
  Deno.writeTextFileSync(file, givenKeyText({ ...key, access_key_id: "AKIALATELATELATELATE" }));
  assert.deepEqual(await start(), key);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
});
