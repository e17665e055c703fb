import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { adminCredentials, newMasterKey, signingKey } from "./contract.ts";
import { parseMasterKeys } from "./credentials/master_key.ts";
import { State } from "./state.ts";
import { as, identityOn, masterKeyPath, scopeOf } from "../../tests/kit/identity.ts";

Deno.test("a wrong master key is a clear error, and nothing is written over", async () => {
  await using nats = await startNats();
  const { bus, identity } = await identityOn(nats);
  const before = JSON.stringify(identity.state.keys.list());
  await bus.drain();
  await assert.rejects(identityOn(nats), (error: Error) => {
    assert.equal(error.name, "MasterKeyError");
    assert.match(error.message, /\/node\/secrets\/master\.key is not the one that sealed/);
    assert.match(error.message, /nothing was changed/);
    return true;
  });
  await using state = await State.open(await nats.bus(), testLog);
  assert.equal(JSON.stringify(state.keys.list()), before);
});

Deno.test("after a rotation of the master key every secret is sealed by the new one, and still signs", async () => {
  await using nats = await startNats();
  const older = newMasterKey();
  const first = await identityOn(nats, parseMasterKeys(older, masterKeyPath));
  const admin = await first.bus.ask(adminCredentials, null);
  await first.bus.drain();
  const newer = newMasterKey();
  const rotated = await identityOn(nats, parseMasterKeys(newer + older, masterKeyPath));
  assert.deepEqual(await rotated.bus.ask(adminCredentials, null), admin);
  await rotated.bus.drain();
  const afterwards = await identityOn(nats, parseMasterKeys(newer, masterKeyPath));
  assert.deepEqual(await afterwards.bus.ask(adminCredentials, null), admin);
});

Deno.test("an altered secret is refused and reported; other keys go on", async () => {
  await using nats = await startNats();
  const { bus, identity, masterKeys } = await identityOn(nats);
  const admin = await bus.ask(adminCredentials, null);
  const { call } = await as(bus, admin.access_key_id);
  const other = (await call("iam.CreateAccessKey")).AccessKey.AccessKeyId;
  const row = identity.state.accessKey(other)!;
  const { secret } = identity.state.accessKey(admin.access_key_id)!.value;
  await identity.state.keys.update(row.key, { ...row.value, secret }, row.revision);
  await assert.rejects(bus.ask(signingKey, scopeOf(other)), { code: "InternalError", status: 500 });
  await bus.ask(signingKey, scopeOf(admin.access_key_id));
  await bus.drain();
  assert.equal((await identityOn(nats, masterKeys)).identity.unreadableSecrets, 1);
});
