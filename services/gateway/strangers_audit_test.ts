import assert from "node:assert/strict";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { startTestGateway, testCredentials } from "../../tests/kit/gateway.ts";
import { clientOptions } from "../../tests/kit/sdk_calls.ts";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { subject } from "../bus/subject.ts";
import { type AuditEntry, auditTrail, strangersTrail } from "./contract.ts";
import { keptOfNetwork } from "./strangers.ts";
import { StrangersAudit } from "./strangers_audit.ts";

async function entriesOf(manager: JetStreamManager, stream: string): Promise<AuditEntry[]> {
  const { state: { first_seq, last_seq } } = await manager.streams.info(stream);
  const entries: AuditEntry[] = [];
  for (let seq = first_seq; seq <= last_seq; seq++) {
    const message = await manager.streams.getMessage(stream, { seq });
    if (message !== null) entries.push(message.json<AuditEntry>());
  }
  return entries;
}

Deno.test("whoever does not sign rightly pushes nothing out of the audit of those who do", async () => {
  await using stand = await startTestGateway();
  stand.bus.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => ({ Account: "1" }));
  await stand.bus.connection.flush();
  const signing = (secretAccessKey: string) =>
    new STSClient(clientOptions(stand, { ...testCredentials, secretAccessKey }));
  const wrong = signing("wrong");
  await assert.rejects(wrong.send(new GetCallerIdentityCommand({})), {
    name: "SignatureDoesNotMatch",
  });
  for (let n = 0; n < 2 * keptOfNetwork; n++) {
    const reply = await stand.fetch("/", { method: "POST", body: `Action=Flood&n=${n}` });
    assert.equal(reply.status, 403);
    await reply.body?.cancel();
  }
  const right = await signing(testCredentials.secretAccessKey).send(
    new GetCallerIdentityCommand({}),
  );
  const { audit, strangersAudit } = stand.gateway;
  assert.deepEqual([await audit.flush(60_000), await strangersAudit.flush(60_000)], [true, true]);
  const manager = await jetstreamManager(stand.bus.connection);
  const own = await entriesOf(manager, auditTrail.stream);
  assert.deepEqual(own.map(({ request_id }) => request_id), [right.$metadata.requestId]);
  const theirs = await entriesOf(manager, strangersTrail.stream);
  assert.equal(theirs.length, keptOfNetwork);
  const [failed] = theirs;
  assert.deepEqual(
    [failed?.service, failed?.error_code, failed?.source_ip, failed?.access_key_id],
    ["sts", "SignatureDoesNotMatch", "127.0.0.1", testCredentials.accessKeyId],
  );
  assert.equal(failed?.account_id, "");
});

Deno.test("a gateway that stops writes down how many strangers it only counted", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const strangers = new StrangersAudit(bus, testLog);
  await strangers.audit.prepare();
  for (let n = 0; n < keptOfNetwork + 7; n++) {
    strangers.record({
      ts: "2026-11-21T10:00:00.000Z",
      request_id: `request-${n}`,
      service: "ec2",
      action: "unknown",
      account_id: "",
      principal_arn: "",
      source_ip: "192.0.2.1",
      user_agent: "",
      status: 401,
      error_code: "AuthFailure",
      duration_ms: 1,
    });
  }
  await strangers[Symbol.asyncDispose]();
  const entries = await entriesOf(await jetstreamManager(bus.connection), strangersTrail.stream);
  assert.equal(entries.length, keptOfNetwork + 1);
  assert.equal(entries.at(-1)?.count, 7);
});
