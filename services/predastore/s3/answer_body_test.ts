import assert from "node:assert/strict";
import { bodyOf, bytesOf, type TestStore, testStore } from "../test_store.ts";
import { answerBody } from "./answer_body.ts";

const content = bytesOf(5, 6 << 20);

async function answerOf(test: TestStore, slowest_ms: number) {
  const bucket = await test.bucket();
  await test.store.objects.put(bucket, "k", bodyOf(content));
  const object = test.store.objects.find(bucket, "k");
  assert.ok(object !== undefined);
  const pieces = test.store.objects.read(object, 0, object.size);
  const first = (await pieces.next()).value;
  const told = Promise.withResolvers<unknown>();
  await test.store.objects.delete(bucket, "k");
  return { body: answerBody({ first, pieces, failed: told.resolve, slowest_ms }), told };
}

Deno.test("a client that has stopped reading does not keep deleted data from being given back", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 4 << 20 });
  const { body, told } = await answerOf(test, 50);
  const reader = body.getReader();
  const { value } = await reader.read();
  assert.ok(value !== undefined && value.length < content.length);
  await test.store.compactor.run();
  assert.ok(test.store.compactor.segments_removed > 0);
  assert.match(String(await told.promise), /taken nothing/);
  await assert.rejects(reader.read(), /taken nothing/);
});

Deno.test("a client that reads gets every byte, and none is waited for after that", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 4 << 20 });
  const { body } = await answerOf(test, 600_000);
  const bytes = await new Response(body).bytes();
  assert.ok(Buffer.compare(bytes, content) === 0);
});

Deno.test("a client that goes away is not waited for", async () => {
  await using test = await testStore(1, 0, { segment_bytes: 4 << 20 });
  const { body } = await answerOf(test, 600_000);
  const reader = body.getReader();
  await reader.read();
  await reader.cancel();
  await test.store.compactor.run();
  assert.ok(test.store.compactor.segments_removed > 0);
});
