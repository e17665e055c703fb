import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { AwsError } from "../aws/errors.ts";
import { systemContext } from "../bus/subject.ts";
import { canonical, ClientTokens } from "./client_tokens.ts";
import { newId } from "./ids.ts";

const alice = { ...systemContext(600_000), account_id: "111111111111" };
const bob = { ...systemContext(600_000), account_id: "222222222222" };

Deno.test("the order of members does not make other parameters", () => {
  assert.equal(
    canonical({ a: 1, b: { d: 1, c: [2, 1] } }),
    canonical({ b: { c: [2, 1], d: 1 }, a: 1 }),
  );
  assert.notEqual(canonical({ a: [1, 2] }), canonical({ a: [2, 1] }));
});

Deno.test("client tokens in a real state store", async (t) => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using tokens = await ClientTokens.open(bus, "tokens", testLog);
  await using elsewhere = await ClientTokens.open(await nats.bus("other"), "tokens", testLog);
  const made: string[] = [];
  const request = (ClientToken: string | undefined, Size = 1, DryRun?: boolean) => ({
    action: "CreateVolume" as const,
    input: { ClientToken, Size, DryRun },
    choose: () => newId("vol-"),
    work: (id: string) => {
      made.push(id);
      return Promise.resolve(id);
    },
    again: (id: string) => Promise.resolve(id),
  });

  await t.step("equal requests at once, at two workers, use one id", async () => {
    const ids = await Promise.all(
      Array.from(
        { length: 20 },
        (_, at) => (at % 2 === 0 ? tokens : elsewhere).once(alice, request("at-once")),
      ),
    );
    assert.equal(new Set(ids).size, 1);
    assert.equal(new Set(made).size, 1);
  });

  await t.step("a finished request is not worked on again", async () => {
    const before = made.length;
    await tokens.once(alice, request("at-once"));
    assert.equal(made.length, before);
  });

  await t.step("other parameters, other accounts, no token", async () => {
    await assert.rejects(tokens.once(alice, request("at-once", 2)), {
      code: "IdempotentParameterMismatch",
    });
    const [first] = made;
    assert.notEqual(await tokens.once(bob, request("at-once")), first);
    assert.notEqual(
      await tokens.once(alice, request(undefined)),
      await tokens.once(alice, request(undefined)),
    );
  });

  await t.step("a refused request leaves its token free", async () => {
    const refuse = () => Promise.reject(new AwsError("InvalidZone.NotFound", "no"));
    await assert.rejects(tokens.once(alice, { ...request("refused"), work: refuse }), {
      code: "InvalidZone.NotFound",
    });
    assert.ok(await tokens.once(alice, request("refused", 2)));
  });

  await t.step("a request that was cut short goes on with the same id", async () => {
    const seen: string[] = [];
    const crash = (id: string) => {
      seen.push(id);
      return Promise.reject(new Error("power cut"));
    };
    await assert.rejects(tokens.once(alice, { ...request("cut"), work: crash }));
    assert.equal(await elsewhere.once(alice, request("cut")), seen[0]);
  });

  await t.step("a token has limits", async () => {
    for (const token of ["x".repeat(65), "a b", "é"]) {
      await assert.rejects(tokens.once(alice, request(token)), { code: "InvalidParameterValue" });
    }
  });

  await t.step("claims of yesterday are forgotten, today's are kept", async () => {
    const before = tokens.table.size;
    const [row] = tokens.table.list();
    assert.ok(row);
    await tokens.table.modify(
      row.key,
      (claim) => ({ ...claim!, claimed_ms: Date.now() - 25 * 3600_000 }),
    );
    await tokens.expire();
    assert.equal(tokens.table.size, before - 1);
  });
});
