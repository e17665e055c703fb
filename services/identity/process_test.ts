/** Identity as its own process with its own rights, on a bus with the node's permissions. */
import assert from "node:assert/strict";
import { startNode } from "../../tests/kit/node.ts";
import { testLog } from "../../tests/kit/nats.ts";
import { serviceNamed } from "../manifest.ts";
import { adminCredentials, newMasterKey, signingKey } from "./contract.ts";
import { State } from "./state.ts";

Deno.test("identity killed at any moment of its first start, twice at once, comes to one account and one key", async () => {
  await using node = await startNode();
  const seed = crypto.getRandomValues(new Uint8Array(1))[0] as number;
  console.log(`seed ${seed}`);
  for (let round = 0; round < 3; round++) {
    const both = [await node.start("identity"), await node.start("identity")];
    // The moment is drawn around the time when tables are made and filled.
    await new Promise((resolve) => setTimeout(resolve, 60 + ((seed + round * 37) % 120)));
    for (const process of both) await process.stop("SIGKILL");
  }
  const started = performance.now();
  const identity = await node.start("identity");
  const health = await identity.healthy();
  console.log(`ready after ${Math.round(performance.now() - started)} ms`);
  assert.equal(health.status, "ok");
  assert.deepEqual(
    [health.facts["accounts"], health.facts["users"], health.facts["access_keys"]],
    [1, 1, 1],
  );
  const admin = await (await node.bus("operator")).ask(adminCredentials, null);
  const scope = {
    access_key_id: admin.access_key_id,
    date: new Date().toISOString().slice(0, 10).replaceAll("-", ""),
    region: "eu-west-1",
    service: "sts",
  };
  const gateway = await node.bus("gateway");
  assert.equal((await gateway.ask(signingKey, scope)).account_id, admin.account_id);
  // The front door may have keys of one day and service, never the secret.
  await assert.rejects(gateway.ask({ ...adminCredentials, timeout_ms: 500 }, null));

  assert.equal(await identity.stop(), 0, identity.log());
  assert.match(identity.log(), /"event":"service_stopped"/);
  assert.doesNotMatch(identity.log(), /"level":"error"/);
  assert.equal(identity.log().includes(admin.secret_access_key), false, "no secret is logged");
  await using state = await State.open(await node.bus("identity"), testLog);
  assert.equal(state.accounts.list()[0]?.value.first_start?.done, true);
});

Deno.test("identity with a foreign master key says so in one line, exits with 1 and changes nothing", async () => {
  await using node = await startNode();
  const first = await node.start("identity");
  await first.healthy();
  await first.stop();
  await using state = await State.open(await node.bus("identity"), testLog);
  const before = JSON.stringify(state.keys.list());
  await Deno.writeTextFile(node.paths.masterKey, newMasterKey());
  const second = await node.start("identity");
  assert.equal(await second.ended, 1);
  assert.match(second.log(), /is not the one that sealed this cloud's secrets/);
  assert.equal(JSON.stringify(state.keys.list()), before);
});

Deno.test("identity may neither run programs nor reach past Deno's permissions", () => {
  const { permissions } = serviceNamed("identity");
  assert.equal(permissions.ffi, undefined);
  assert.equal(permissions.run, undefined);
  assert.equal(permissions.sys, undefined);
  assert.notEqual(permissions.net, "any");
});
