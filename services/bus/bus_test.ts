import assert from "node:assert/strict";
import { startNats } from "../../tests/kit/nats.ts";
import { AwsError } from "../aws/errors.ts";
import { subject, systemContext } from "./subject.ts";

const double = subject<{ n: number }, { n: number; request_id: string }>("test.double", 30_000);

Deno.test("an answer comes back typed, with the asker's request id at the other end", async () => {
  await using nats = await startNats();
  const [asker, answerer] = [await nats.bus("asker"), await nats.bus("answerer")];
  answerer.answer(double, ({ n }, context) => ({ n: n * 2, request_id: context.request_id }));
  await answerer.connection.flush();
  const context = systemContext(60_000, "req-1");
  assert.deepEqual(await asker.ask(double, { n: 21 }, context), { n: 42, request_id: "req-1" });
});

Deno.test("an AwsError crosses the bus whole; another error says nothing of its insides", async () => {
  await using nats = await startNats();
  const [asker, answerer] = [await nats.bus("asker"), await nats.bus("answerer")];
  answerer.answer(double, ({ n }) => {
    if (n === 1) throw new AwsError("InvalidVolume.NotFound", "no such volume", { status: 400 });
    throw new Error("the password is hunter2");
  });
  await answerer.connection.flush();
  await assert.rejects(asker.ask(double, { n: 1 }), {
    name: "AwsError",
    code: "InvalidVolume.NotFound",
    message: "no such volume",
    status: 400,
  });
  await assert.rejects(asker.ask(double, { n: 2 }), (error: AwsError) => {
    assert.equal(error.code, "InternalError");
    assert.equal(error.status, 500);
    assert.doesNotMatch(error.message, /hunter2/);
    return true;
  });
});

Deno.test("nobody there, or nobody in time, is ServiceUnavailable and never a hang", async () => {
  await using nats = await startNats();
  const [asker, answerer] = [await nats.bus("asker"), await nats.bus("answerer")];
  await assert.rejects(asker.ask(double, { n: 1 }), { code: "ServiceUnavailable", status: 503 });
  const never = Promise.withResolvers<never>();
  const patient = subject<null, null>("test.patient", 3_600_000);
  answerer.answer(patient, () => never.promise);
  await answerer.connection.flush();
  // The subject alone would have waited for an hour: it is the caller's deadline that ends this.
  await assert.rejects(asker.ask(patient, null, systemContext(200)), {
    code: "ServiceUnavailable",
  });
  never.reject(new AwsError("Cancelled", "the test is over"));
});

Deno.test("an ordinary question fails with its connection, not with its time-out", async () => {
  await using nats = await startNats();
  const [asker, answerer] = [await nats.bus("asker"), await nats.bus("answerer")];
  const timeout_ms = 30_000;
  const slow = subject<null, null>("test.slow", timeout_ms);
  const heard = Promise.withResolvers<void>();
  const held = Promise.withResolvers<null>();
  answerer.answer(slow, () => {
    heard.resolve();
    return held.promise;
  });
  await answerer.connection.flush();
  const asked = assert.rejects(asker.ask(slow, null), { code: "ServiceUnavailable", status: 503 });
  await heard.promise;
  const killed = performance.now();
  await nats.kill();
  await asked;
  assert.ok(performance.now() - killed < timeout_ms / 2, "it did not wait for its time-out");
  await nats.start();
  held.resolve(null);
});
