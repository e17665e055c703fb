import assert from "node:assert/strict";
import { startNats } from "../../tests/kit/nats.ts";
import { systemContext } from "../bus/subject.ts";
import { authorize, type AuthorizeDecision, identityChanged } from "../identity/contract.ts";
import { ResourceAuthorizer } from "./authorizer.ts";

Deno.test("an answer serves its own resource, or all where identity says so, until something changes", async () => {
  await using nats = await startNats();
  const [owner, identity] = [await nats.bus("owner"), await nats.bus("identity")];
  const asked: string[] = [];
  let decide = (resource: string): AuthorizeDecision => ({ allowed: resource === "arn:a" });
  identity.answer(authorize, (request) => {
    asked.push(request.resource);
    return decide(request.resource);
  });
  await identity.connection.flush();
  await using authorizer = new ResourceAuthorizer(owner);
  await owner.connection.flush();
  const may = (resource: string, source_ip = "192.0.2.1") =>
    authorizer.may({ action: "s3:GetObject", resource }, { ...systemContext(600_000), source_ip });

  assert.deepEqual([await may("arn:a"), await may("arn:b"), await may("arn:a")], [
    true,
    false,
    true,
  ]);
  assert.deepEqual(asked.splice(0), ["arn:a", "arn:b"]);
  await may("arn:a", "192.0.2.2");
  assert.deepEqual(asked.splice(0), ["arn:a"], "another address is another question");

  decide = () => ({ allowed: true, every_resource: true });
  identity.say(identityChanged, {});
  await identity.connection.flush();
  await owner.connection.flush();
  assert.deepEqual([await may("arn:b"), await may("arn:c"), await may("arn:d")], [
    true,
    true,
    true,
  ]);
  assert.deepEqual(asked.splice(0), ["arn:b"]);

  // What somebody may do everywhere ends at the border of the account.
  const ours = { ...systemContext(600_000), account_id: "111111111111" };
  decide = (resource) =>
    resource.includes(":222222222222:")
      ? { allowed: false }
      : { allowed: true, every_resource: true };
  const pass = (account: string) =>
    authorizer.may({ action: "iam:PassRole", resource: `arn:aws:iam::${account}:role/r` }, ours);
  assert.deepEqual([await pass("111111111111"), await pass("222222222222")], [true, false]);

  decide = () => ({ allowed: false });
  identity.say(identityChanged, { access_key_id: "AKIATEST" });
  await identity.connection.flush();
  await owner.connection.flush();
  assert.equal(await may("arn:c"), false);
});

Deno.test("without an answer there is no permission", async () => {
  await using nats = await startNats();
  await using authorizer = new ResourceAuthorizer(await nats.bus("owner"));
  await assert.rejects(
    authorizer.may({ action: "s3:GetObject", resource: "*" }, systemContext(500)),
    { code: "ServiceUnavailable", status: 503 },
  );
});
