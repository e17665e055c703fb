import assert from "node:assert/strict";
import { startNats } from "../../../tests/kit/nats.ts";
import { identityChanged, signingKey } from "../../identity/contract.ts";
import { AwsError } from "../errors.ts";
import { scopesOfKey, SigningGrants } from "./signing_grants.ts";
import { until } from "../../../tests/kit/until.ts";

const granted = {
  key: "AAAA",
  account_id: "1",
  principal_arn: "arn",
  user_id: "u",
  valid_until_ms: 60_000,
};

const scope = (access_key_id: string) => ({
  access_key_id,
  date: "20261121",
  region: "ap-southeast-2",
  service: "ec2",
});

Deno.test("keys that are none push out no grant, however many they are", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const asked: string[] = [];
  bus.answer(signingKey, ({ access_key_id }) => {
    asked.push(access_key_id);
    if (access_key_id !== "GOOD") {
      throw new AwsError("InvalidClientTokenId", "unknown", { status: 403 });
    }
    return granted;
  });
  await using grants = new SigningGrants(bus, { capacity: 3, now: () => 1_000 });
  await bus.connection.flush();
  await grants.lookup(scope("GOOD"));
  const bad = Array.from({ length: 20 }, (_, n) => grants.lookup(scope(`BAD${n}`)));
  assert.equal(
    (await Promise.allSettled(bad)).filter((one) => one.status === "rejected").length,
    20,
  );
  await grants.lookup(scope("GOOD"));
  assert.equal(asked.filter((one) => one === "GOOD").length, 1);
  assert.equal(grants.size, 1);
});

Deno.test("whoever knows a key's id pushes out no other's grant, whatever regions are made up", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const asked: string[] = [];
  bus.answer(signingKey, ({ access_key_id }) => {
    asked.push(access_key_id);
    return granted;
  });
  await using grants = new SigningGrants(bus, { capacity: 3, now: () => 1_000 });
  await bus.connection.flush();
  await grants.lookup(scope("GOOD"));
  for (let n = 0; n < 100; n++) await grants.lookup({ ...scope("KNOWN"), region: `r-${n}` });
  await grants.lookup(scope("GOOD"));
  assert.equal(asked.filter((one) => one === "GOOD").length, 1);
  assert.equal(grants.size, 1 + scopesOfKey);
});

Deno.test("grants are asked for once, bounded, forgotten in time and when identity changes", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  let asked = 0;
  bus.answer(signingKey, (of) => {
    asked++;
    if (of.access_key_id === "UNKNOWN") {
      throw new AwsError("InvalidClientTokenId", "unknown", { status: 403 });
    }
    return granted;
  });
  let now = 1_000;
  await using grants = new SigningGrants(bus, { capacity: 3, now: () => now });
  await bus.connection.flush();

  await Promise.all([grants.lookup(scope("A")), grants.lookup(scope("A"))]);
  await grants.lookup(scope("A"));
  assert.equal(asked, 1, "one question for three requests");
  now = 61_000;
  await grants.lookup(scope("A"));
  assert.equal(asked, 2, "asked again when it expired");

  now = 1_000;
  await grants.lookup(scope("B"));
  bus.say(identityChanged, { access_key_id: "A" });
  await until("one grant", () => grants.size === 1);
  assert.equal(asked, 3);
  await grants.lookup(scope("A"));
  assert.equal(asked, 4, "asked again after a change");

  await assert.rejects(grants.lookup(scope("UNKNOWN")), { code: "InvalidClientTokenId" });
  await assert.rejects(grants.lookup(scope("UNKNOWN")), { code: "InvalidClientTokenId" });
  assert.equal(asked, 5, "a refusal is remembered");
  now += 1_001;
  await assert.rejects(grants.lookup(scope("UNKNOWN")), { code: "InvalidClientTokenId" });
  assert.equal(asked, 6, "and forgotten after a second");

  for (const key of ["C", "D", "E", "F"]) await grants.lookup(scope(key));
  assert.equal(grants.size, 3);
});

Deno.test("without identity every unknown scope is ServiceUnavailable, and asked again next time", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using grants = new SigningGrants(bus);
  await assert.rejects(grants.lookup(scope("A")), { code: "ServiceUnavailable" });
  await until("no grant", () => grants.size === 0);
});

Deno.test("grants are forgotten when the bus was away: a change may have gone unheard", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  bus.answer(signingKey, () => ({
    key: "AAAA",
    account_id: "1",
    principal_arn: "arn",
    user_id: "u",
    valid_until_ms: Date.now() + 60_000,
  }));
  await using grants = new SigningGrants(bus);
  await bus.connection.flush();
  await grants.lookup(scope("A"));
  assert.equal(grants.size, 1);
  await nats.kill();
  await nats.start();
  await until("no grant", () => grants.size === 0);
});
