import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { until, untilWorks } from "../../tests/kit/until.ts";
import { createLog } from "../log/log.ts";
import { Conflict, decodeRow, encodeRow, Table } from "./table.ts";

interface Counter {
  readonly count: number;
}

Deno.test("a row whose bytes changed is refused", () => {
  const bytes = encodeRow({ count: 7 });
  assert.deepEqual(decodeRow("k", bytes), { count: 7 });
  bytes[bytes.indexOf(55, 20)] = 56;
  assert.throws(() => decodeRow("k", bytes), { name: "CorruptRow" });
});

Deno.test("a writer reads its own writes and a lost race is a Conflict", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<Counter>(bus, "counters", testLog);
  await using other = await Table.open<Counter>(await nats.bus("other"), "counters", testLog);

  const first = await table.create("a.b", { count: 1 });
  assert.deepEqual(table.get("a.b"), first);
  await assert.rejects(table.create("a.b", { count: 2 }), Conflict);
  await other.waitFor(first.revision);
  await other.update("a.b", { count: 2 }, first.revision);
  await assert.rejects(table.update("a.b", { count: 3 }, first.revision), Conflict);

  await Promise.all(
    Array.from(
      { length: 10 },
      (_, at) =>
        (at % 2 ? table : other).modify("a.b", (value) => ({ count: (value?.count ?? 0) + 1 })),
    ),
  );
  assert.equal((await table.read("a.b"))?.value.count, 12);

  await table.delete("a.b");
  assert.equal(table.get("a.b"), undefined);
  await table.create("a.b", { count: 1 });
});

Deno.test("that there is nothing to change is believed of the newest row only", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<Counter>(bus, "counters", testLog);
  await using other = await Table.open<Counter>(await nats.bus("other"), "counters", testLog);
  const old = await table.create("a", { count: 1 });
  await other.waitFor(old.revision);
  const newer = await other.update("a", { count: 2 }, old.revision);
  await table.waitFor(newer.revision);
  // As a copy is whose watch has not come so far yet.
  table.get = () => old;
  const done = await table.modify("a", (now) => now?.count === 2 ? { count: 3 } : now ?? old.value);
  assert.equal(done.value.count, 3);
  assert.equal((await table.read("a"))?.value.count, 3);
  const same = await table.modify("a", (now) => now ?? old.value);
  assert.deepEqual([same.value.count, same.revision], [3, done.revision]);
});

Deno.test("what is refused is refused of the newest row only", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<Counter>(bus, "counters", testLog);
  const old = await table.create("a", { count: 1 });
  const newer = await table.update("a", { count: 2 }, old.revision);
  // As a copy is whose watch has not come so far yet.
  table.get = () => old;
  const unlessOne = (row: Counter | undefined) => {
    if (row?.count === 1) throw new RangeError("it is one");
    return { count: 3 };
  };
  assert.equal((await table.modify("a", unlessOne)).value.count, 3);
  const refused = await table.update("a", { count: 1 }, newer.revision + 1);
  await assert.rejects(table.modify("a", unlessOne), RangeError);
  assert.equal((await table.read("a"))?.revision, refused.revision);
});

Deno.test("a table opened later holds what was written before, deletions too", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<Counter>(bus, "counters", testLog);
  for (let count = 0; count < 20; count++) await table.create(`k.${count}`, { count });
  await table.delete("k.19");
  await using later = await Table.open<Counter>(bus, "counters", testLog);
  assert.equal(later.size, 19);
  assert.deepEqual(later.list("k.1").map((row) => row.value.count), [
    1,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
  ]);
});

Deno.test("acknowledged writes survive kill -9 of the server and watching goes on", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  await using table = await Table.open<Counter>(bus, "counters", testLog);
  await table.create("a", { count: 1 });
  await nats.kill();
  await assert.rejects(table.create("b", { count: 1 }), { code: "ServiceUnavailable" });
  assert.equal(table.get("a")?.value.count, 1);
  await nats.start();
  await untilWorks("writes go on", () => table.modify("c", () => ({ count: 3 })));
  assert.equal(table.get("c")?.value.count, 3);
  assert.equal(table.get("a")?.value.count, 1);
});

Deno.test("a write that is under way when its table is closed comes to its end", async () => {
  await using nats = await startNats();
  const bus = await nats.bus();
  const table = await Table.open<{ n: number }>(bus, "closing", testLog);
  const writes = Array.from({ length: 50 }, (_, n) => table.create(`key-${n}`, { n }));
  await table[Symbol.asyncDispose]();
  const rows = await Promise.all(writes);
  assert.deepEqual(rows.map((row) => row.value.n), Array.from({ length: 50 }, (_, n) => n));
  await table.delete("key-0");
  await using again = await Table.open<{ n: number }>(bus, "closing", testLog);
  assert.equal(again.size, 49, "what was answered was written");
});

Deno.test("a watch that ends while the server is away is begun again, and nobody dies of it", async () => {
  await using nats = await startNats();
  let failures = 0;
  const log = createLog("test", {
    write: (line) => void (line.includes("table_watch_failed") && failures++),
  });
  const bus = await nats.bus("watching");
  await using table = await Table.open<Counter>(bus, "counters", log);
  await using other = await Table.open<Counter>(await nats.bus("other"), "counters", testLog);
  await table.create("a", { count: 1 });
  await nats.kill();
  const { subscriptions } = (bus.connection as unknown as {
    protocol: {
      subscriptions: { subs: Map<number, { getSubject(): string; unsubscribe(): void }> };
    };
  }).protocol;
  // All but the one that answers to questions come by.
  const watched = [...subscriptions.subs.values()].filter((each) =>
    !each.getSubject().endsWith("*")
  );
  assert.ok(watched.length > 0);
  for (const each of watched) each.unsubscribe();
  await until("it was tried in vain", () => failures > 0);
  assert.equal(table.get("a")?.value.count, 1);
  await nats.start();
  await untilWorks("writes go on", () => other.modify("a", () => ({ count: 2 })));
  await until("it is heard", () => table.get("a")?.value.count === 2);
});
