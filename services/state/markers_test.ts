import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { removeMarkers } from "./markers.ts";
import { Table } from "./table.ts";

Deno.test("markers of deleted rows go after their time, and nothing else does", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<number>(bus, "marked", testLog);
  const js = jetstream(bus.connection);
  const kv = await new Kvm(js).open("marked");
  const messages = async () => (await kv.status()).streamInfo.state.messages;

  for (let n = 0; n < 20; n++) await table.create(`key.${n}`, n);
  for (let n = 0; n < 15; n++) await table.delete(`key.${n}`);
  await table.create("key.3", 33);
  assert.equal(await messages(), 20, "a deleted row leaves its marker");

  assert.equal(await removeMarkers(kv, js, Date.now() - 3_600_000), 0, "young ones stay");
  assert.equal(await removeMarkers(kv, js, Date.now() + 3_600_000), 14);
  assert.equal(await messages(), 6);

  // Who opens it now, and who had it open, know the same rows, and a key can be used again.
  await using later = await Table.open<number>(bus, "marked", testLog);
  for (const one of [table, later]) {
    assert.deepEqual(one.list().map((row) => row.value), [15, 16, 17, 18, 19, 33]);
  }
  await table.create("key.0", 100);
  assert.equal((await later.modify("key.0", (value) => (value ?? 0) + 1)).value, 101);
});

Deno.test("a bucket whose newest change is a deletion is opened without waiting for ever", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<number>(bus, "emptied", testLog);
  const js = jetstream(bus.connection);
  const kv = await new Kvm(js).open("emptied");
  await table.create("first", 1);
  await table.create("last", 2);
  await table.delete("first");
  await table.delete("last");
  assert.equal(await removeMarkers(kv, js, Date.now() + 3_600_000), 1);
  await using later = await Table.open<number>(bus, "emptied", testLog);
  assert.equal(later.size, 0);
  await later.create("last", 3);
  assert.equal(await removeMarkers(kv, js, Date.now() + 3_600_000), 0);
  assert.equal(later.get("last")?.value, 3);
});
