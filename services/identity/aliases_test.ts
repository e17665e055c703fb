import assert from "node:assert/strict";
import { identityOn } from "../../tests/kit/identity.ts";
import { startNats, testLog, type TestNats } from "../../tests/kit/nats.ts";
import { systemContext } from "../bus/subject.ts";
import { accountCall, createAccount } from "./contract.ts";
import { State } from "./state.ts";

/** What accounts say of their aliases, asked by name as the operator asks. */
async function accounts(nats: TestNats, names: readonly string[]) {
  const asker = await nats.bus("asker");
  const ids: Record<string, string> = {};
  for (const name of names) ids[name] = (await asker.ask(createAccount, { name })).account_id;
  type Action = `${"Create" | "Delete"}AccountAlias` | "ListAccountAliases";
  const call = (account: string, action: Action, input: Readonly<Record<string, unknown>>) =>
    asker.ask(accountCall, { account, action, input }, systemContext(600_000));
  return {
    ids,
    take: (account: string, alias: string) =>
      call(account, "CreateAccountAlias", { AccountAlias: alias }),
    drop: (account: string, alias: string) =>
      call(account, "DeleteAccountAlias", { AccountAlias: alias }),
    of: async (account: string) =>
      (await call(account, "ListAccountAliases", {}) as { AccountAliases: string[] })
        .AccountAliases,
  };
}

const isTaken = { code: "EntityAlreadyExists" };

Deno.test("of accounts that take one alias at once, one gets it", async () => {
  await using nats = await startNats();
  await identityOn(nats);
  const names = ["blue", "green", "red", "gold"];
  const { take, of } = await accounts(nats, names);
  for (const alias of ["cloud-a", "cloud-b", "cloud-c"]) {
    const outcomes = await Promise.allSettled(names.map((name) => take(name, alias)));
    assert.deepEqual(
      outcomes.flatMap((outcome) => outcome.status === "fulfilled" ? [] : [outcome.reason.code]),
      Array(3).fill(isTaken.code),
    );
    const owners = await Promise.all(names.map(of));
    assert.equal(owners.flat().filter((one) => one === alias).length, 1);
  }
});

Deno.test("of aliases that one account takes at once, one stays and the others are free", async () => {
  await using nats = await startNats();
  await identityOn(nats);
  const { take, of, ids } = await accounts(nats, ["blue", "green"]);
  const wanted = ["one-cloud", "two-cloud", "three-cloud"];
  await Promise.all(wanted.map((alias) => take("blue", alias)));
  const [stays] = await of("blue");
  for (const alias of wanted) {
    if (alias === stays) await assert.rejects(take("green", alias), isTaken);
    else await take("green", alias);
  }
  assert.deepEqual(await of("blue"), [stays]);
  const state = await State.open(await nats.bus("reader"), testLog);
  assert.deepEqual(
    state.aliases.list().map(({ value }) => value.account_id).sort(),
    Object.values(ids).sort(),
  );
  await state[Symbol.asyncDispose]();
});

Deno.test("what a change that was cut off left behind is nobody's alias, and free", async () => {
  await using nats = await startNats();
  const { identity } = await identityOn(nats);
  const { take, drop, of, ids } = await accounts(nats, ["blue", "green"]);
  const { aliases } = identity.state;
  // As it is when the row of the next alias was made, and the older one not deleted yet.
  const cut = async () => {
    await take("blue", "old-cloud");
    await aliases.create("new-cloud", { account_id: String(ids.blue) });
  };
  await cut();
  assert.deepEqual(await of("blue"), ["new-cloud"]);
  await assert.rejects(drop("blue", "old-cloud"), { code: "NoSuchEntity" });
  await take("green", "old-cloud");
  assert.deepEqual([await of("blue"), await of("green")], [["new-cloud"], ["old-cloud"]]);
  await drop("blue", "new-cloud");
  await drop("green", "old-cloud");

  // Deleted, it does not come back as what it was before.
  await cut();
  await drop("blue", "new-cloud");
  assert.deepEqual(await of("blue"), []);

  // Repeated, the change is whole.
  await cut();
  await take("blue", "new-cloud");
  assert.deepEqual(aliases.list().map(({ key }) => key), ["new-cloud"]);

  // The older one may be taken back.
  await aliases.create("old-cloud", { account_id: String(ids.blue) });
  await take("blue", "new-cloud");
  assert.deepEqual(await of("blue"), ["new-cloud"]);
  assert.deepEqual(aliases.list().map(({ key }) => key), ["new-cloud"]);
});

Deno.test("aliases of an earlier release are taken over, one that two accounts have by the older", async () => {
  await using nats = await startNats();
  const { identity, masterKeys } = await identityOn(nats);
  const { take, drop, of, ids } = await accounts(nats, ["blue", "green", "red"]);
  const put = (name: string, alias: string, created: string) =>
    identity.state.accounts.modify(String(ids[name]), (account) => {
      assert.ok(account);
      return { ...account, alias, created };
    });
  await put("blue", "same-cloud", "2026-02-02T00:00:00Z");
  await put("green", "same-cloud", "2026-01-01T00:00:00Z");
  await put("red", "red-cloud", "2026-03-03T00:00:00Z");
  const { identity: next } = await identityOn(nats, masterKeys);
  assert.deepEqual(await Promise.all(["blue", "green", "red"].map(of)), [
    [],
    ["same-cloud"],
    ["red-cloud"],
  ]);
  assert.ok(next.state.accounts.list().every(({ value }) => value.alias === undefined));
  await assert.rejects(take("blue", "same-cloud"), isTaken);
  await drop("green", "same-cloud");
  await take("blue", "same-cloud");
  assert.deepEqual(await of("blue"), ["same-cloud"]);
});
