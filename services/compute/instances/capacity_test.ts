import assert from "node:assert/strict";
import { startNats, testLog } from "../../../tests/kit/nats.ts";
import { AwsError } from "../../aws/errors.ts";
import { Table } from "../../state/table.ts";
import { Capacity, capacityBucket, type NodeClaims, nodeTotal } from "./capacity.ts";

const micro = { vcpus: 2, memory_mib: 1024 };

async function open(
  nats: Awaited<ReturnType<typeof startNats>>,
  total = { vcpus: 8, memory_mib: 8000 },
) {
  const table = await Table.open<NodeClaims>(await nats.bus(), capacityBucket, testLog);
  return {
    table,
    capacity: new Capacity({ table, node_id: "n1", total, overhead_mib: 100 }),
    [Symbol.asyncDispose]: () => table[Symbol.asyncDispose](),
  };
}

const refusedWith = (code: string) => (error: unknown) =>
  error instanceof AwsError && error.code === code;

Deno.test("claims made at the same moment never exceed the node", async () => {
  await using nats = await startNats();
  await using one = await open(nats);
  await using two = await open(nats);
  const results = await Promise.allSettled(
    Array.from(
      { length: 12 },
      (_, n) => (n % 2 ? one : two).capacity.claim([`i-${n}`], micro, 1, "t3.micro"),
    ),
  );
  assert.equal(results.filter((result) => result.status === "fulfilled").length, 4);
  for (const result of results) {
    if (result.status === "rejected") {
      assert.ok(refusedWith("InsufficientInstanceCapacity")(result.reason));
    }
  }
  await one.table.waitFor((await one.table.read("n1"))?.revision ?? 0);
  assert.deepEqual(one.capacity.used, { vcpus: 8, memory_mib: 4 * 1124, guests: 4 });
});

Deno.test("as many as fit are granted, fewer than the minimum claim nothing", async () => {
  await using nats = await startNats();
  await using opened = await open(nats);
  const { capacity } = opened;
  const ids = ["i-1", "i-2", "i-3", "i-4", "i-5", "i-6"];
  await assert.rejects(
    capacity.claim(ids, micro, 5, "t3.micro"),
    refusedWith("InsufficientInstanceCapacity"),
  );
  assert.equal(capacity.used.guests, 0);
  assert.deepEqual(await capacity.claim(ids, micro, 2, "t3.micro"), ids.slice(0, 4));
  // Again, as after a crash: the same claims, not more.
  assert.deepEqual(await capacity.claim(ids, micro, 2, "t3.micro"), ids.slice(0, 4));
  assert.equal(capacity.used.guests, 4);
  await capacity.release(["i-1", "i-2", "i-never"]);
  assert.equal(capacity.used.vcpus, 4);
  assert.deepEqual(await capacity.claim(["i-7"], micro, 1, "t3.micro"), ["i-7"]);
});

Deno.test("a type larger than the node is unsupported, however empty it is", async () => {
  await using nats = await startNats();
  await using opened = await open(nats, { vcpus: 2, memory_mib: 1000 });
  await assert.rejects(
    opened.capacity.claim(["i-1"], micro, 1, "t3.micro"),
    refusedWith("Unsupported"),
  );
});

Deno.test("claims of launches that came to nothing are swept, others stay", async () => {
  await using nats = await startNats();
  await using opened = await open(nats);
  const claim = (claimed_ms: number) => ({ ...micro, claimed_ms });
  await opened.table.create("n1", {
    claims: { "i-lost": claim(1), "i-live": claim(1), "i-new": claim(Date.now()) },
  });
  await opened.capacity.sweep((id) => id === "i-live");
  assert.deepEqual(Object.keys(opened.table.get("n1")?.value.claims ?? {}), ["i-live", "i-new"]);
});

Deno.test("the reserve is kept from guests", () => {
  assert.deepEqual(
    nodeTotal({ cpu_overcommit: 1.5, reserve_memory_mib: 512 }, { vcpus: 3, memory_mib: 2048 }),
    { vcpus: 4, memory_mib: 1536 },
  );
});
