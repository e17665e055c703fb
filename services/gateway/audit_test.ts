import assert from "node:assert/strict";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { startNats, testLog, type TestNats } from "../../tests/kit/nats.ts";
import { until } from "../../tests/kit/until.ts";
import { Audit } from "./audit.ts";
import { type AuditEntry, auditTrail } from "./contract.ts";

/** Every entry is synced by itself: a busy disk takes its time. */
const stored_ms = 60_000;

const entry = (n: number): AuditEntry => ({
  ts: "2026-11-21T10:00:00.000Z",
  request_id: `request-${n}`,
  service: "ec2",
  action: n % 2 === 0 ? "RunInstances" : "bad > name.*",
  account_id: "1",
  principal_arn: "arn",
  source_ip: "127.0.0.1",
  user_agent: "",
  status: 200,
  duration_ms: 1,
});

/** What is ready to record, and its stream has gone since. */
async function withoutStream(nats: TestNats) {
  const bus = await nats.bus();
  const audit = new Audit(bus, testLog, auditTrail);
  await audit.prepare();
  const manager = await jetstreamManager(bus.connection);
  await manager.streams.delete(auditTrail.stream);
  return { audit, manager };
}

Deno.test("every entry is stored once, in bounds, also when the server dies in between", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using audit = new Audit(bus, testLog, auditTrail);
  await audit.prepare();
  for (let n = 0; n < 500; n++) audit.record(entry(n));
  assert.equal(await audit.flush(stored_ms), true);

  for (let n = 500; n < 600; n++) audit.record(entry(n));
  await nats.kill();
  for (let n = 600; n < 700; n++) audit.record(entry(n));
  await nats.start();
  await bus.ready(stored_ms);
  assert.equal(await audit.flush(stored_ms), true);

  const manager = await jetstreamManager(bus.connection);
  const { state, config } = await manager.streams.info(auditTrail.stream, { subjects_filter: ">" });
  assert.equal(state.messages, 700);
  assert.equal(config.max_bytes, 256 * 1024 * 1024);
  assert.deepEqual(Object.keys(state.subjects ?? {}).sort(), [
    "audit.ec2.RunInstances",
    "audit.ec2.bad___name__",
  ]);
  assert.equal(audit.dropped, 0);
});

Deno.test("an entry whose acknowledgement nobody heard is stored once, also when the stream has forgotten its id", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const manager = await jetstreamManager(bus.connection);
  const { stream, prefix } = auditTrail;
  const duplicate_window = 1e9;
  await manager.streams.add({ name: stream, subjects: [`${prefix}.>`], duplicate_window });
  const { connection } = bus;
  // An earlier run's, of which there may be more than anybody looks through.
  const earlier = 10;
  for (let n = 0; n < earlier; n++) {
    await jetstream(connection).publish(`${prefix}.ec2.RunInstances`, "{}");
  }
  const request = connection.request.bind(connection);
  const looked: number[] = [];
  connection.request = (subject, payload, options) => {
    if (subject.includes(".MSG.GET.")) looked.push(JSON.parse(String(payload)).seq);
    return request(subject, payload, options);
  };
  const stored = async () => (await manager.streams.info(stream)).state.messages - earlier;
  const subscribe = connection.subscribe.bind(connection);
  let isDeaf = true;
  connection.subscribe = (subject, options) =>
    subscribe(subject, {
      ...options,
      callback: (error, message) => {
        if (!isDeaf) options?.callback?.(error, message);
      },
    });
  await using audit = new Audit(bus, testLog, auditTrail);
  connection.subscribe = subscribe;
  await audit.prepare();
  for (let n = 0; n < 20; n++) audit.record(entry(n));
  await until("all are stored", async () => await stored() === 20);
  // One of another sender's, that came after them.
  const publish = () =>
    jetstream(connection).publish(`${prefix}.other.One`, "{}", { msgID: "probe" });
  await publish();
  await until("the ids are forgotten", async () => !(await publish()).duplicate);
  isDeaf = false;
  looked.length = 0;
  for (let n = 20; n < 30; n++) audit.record(entry(n));
  assert.equal(await audit.flush(stored_ms), true);
  connection.request = request;
  assert.notEqual(looked.length, 0);
  assert.deepEqual(looked.filter((seq) => seq <= earlier), []);
  const ids: string[] = [];
  const { state } = await manager.streams.info(stream);
  for (let seq = earlier + 1; seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage(stream, { seq });
    ids.push(message?.json<AuditEntry>().request_id ?? "");
  }
  const named = ids.filter((id) => id?.startsWith("request-")).sort();
  assert.deepEqual(named, Array.from({ length: 30 }, (_, n) => `request-${n}`).sort());
});

Deno.test("a stream that goes away is made again and loses no entry that came later", async () => {
  await using nats = await startNats();
  const { audit: made, manager } = await withoutStream(nats);
  await using audit = made;
  audit.record(entry(1));
  assert.equal(await audit.flush(stored_ms), true);
  assert.equal((await manager.streams.info(auditTrail.stream)).state.messages, 1);
});

Deno.test("what is refused and sent again is not put behind what came later", async () => {
  await using nats = await startNats();
  const { audit: made, manager } = await withoutStream(nats);
  await using audit = made;
  // More than go out at once: some wait while the first ones are refused.
  const count = 600;
  for (let n = 0; n < count; n++) audit.record(entry(n));
  assert.equal(await audit.flush(stored_ms), true);
  const { state } = await manager.streams.info(auditTrail.stream);
  const stored: string[] = [];
  for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage(auditTrail.stream, { seq });
    stored.push(message?.json<AuditEntry>().request_id ?? "");
  }
  assert.deepEqual(stored, Array.from({ length: count }, (_, n) => `request-${n}`));
});

Deno.test("what cannot be kept is counted, and nobody waits for it", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const audit = new Audit(bus, testLog, auditTrail, 100);
  await nats.kill();
  for (let n = 0; n < 110; n++) audit.record(entry(n));
  assert.equal(audit.dropped, 10);
  assert.equal(audit.losing, true);
  assert.equal(await audit.flush(10), false);
  await nats.start();
  await bus.ready(stored_ms);
  assert.equal(await audit.flush(stored_ms), true);
  await audit[Symbol.asyncDispose]();
});
