/**
 * What a process that died, or a try that failed, left on its way to the object store lands late: what was acknowledged
 * since is in the snapshot all the same. Tables are real; the store keeps objects in memory, and puts back until told.
 */
import assert from "node:assert/strict";
import { startNats, testLog } from "../../../tests/kit/nats.ts";
import { until } from "../../../tests/kit/until.ts";
import { directBlockBytes } from "../contract.ts";
import { EncryptedCopies } from "../encrypted_copies.ts";
import { KeyRing } from "../encryption/key_ring.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { Mounts } from "../mounts/mounts.ts";
import { openTables } from "../records.ts";
import { References } from "../references.ts";
import { Snapshots } from "../snapshots.ts";
import { Volumes } from "../volumes.ts";
import { DirectAccess } from "./direct_access.ts";

const size_bytes = 8 << 20;
const block = (fill: number) => new Uint8Array(directBlockBytes).fill(fill);

/** Puts of keys that begin so do not land, and whoever asked hears nothing, until they are let go. */
class LateStore implements BlockStore {
  readonly objects = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly held: { readonly land: () => void; readonly fail: () => void }[] = [];
  holds: string | undefined;

  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const copy = body.slice();
    const land = () => void this.objects.set(key, copy);
    if (this.holds === undefined || !key.startsWith(this.holds)) return land();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.held.push({
      land: () => resolve(land()),
      fail: () => reject(new Error("the store does not answer")),
    });
    await promise;
  }

  get(key: string, range?: { readonly offset: number; readonly length: number }) {
    const { offset, length } = range ?? { offset: 0, length: Infinity };
    return Promise.resolve(this.objects.get(key)?.slice(offset, offset + length));
  }

  delete(key: string): Promise<void> {
    return Promise.resolve(void this.objects.delete(key));
  }

  async *list(prefix: string) {
    yield* [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }
}

async function startWorld() {
  const nats = await startNats();
  const tables = await openTables(await nats.bus("viperblock"), testLog);
  const store = new LateStore();
  const log = testLog;
  const directory = await Deno.makeTempDir({ prefix: "mulga-late-" });
  const keys = new KeyRing(tables.keys, `${directory}/none.key`, log);
  const mounts = new Mounts({
    nodeId: "node-1",
    directory,
    socket: (id) => `${directory}/${id}`,
    tables,
    store,
    keyOf: (id) => keys.require(id),
    log,
    reserveBytes: 0,
    cacheBytes: () => 0,
  });
  const references = new References({ tables, store, mounts, keys, log });
  const copies = new EncryptedCopies({ store, keys, log, references });
  const snapshots = new Snapshots({ tables, mounts, log, references, copies });
  const volumes = new Volumes({
    tables,
    mounts,
    log,
    references,
    copies,
    isFast: () => false,
    availableBytes: () => 1 << 30,
  });
  return {
    store,
    /** As the next process of the engine has it: nothing in memory. */
    process: () => new DirectAccess({ tables, store, volumes, snapshots }),
    async [Symbol.asyncDispose]() {
      await mounts.stop();
      await tables[Symbol.asyncDispose]();
      await nats[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

async function filledWith(direct: DirectAccess, id: string, index: number): Promise<number> {
  const bytes = await direct.read(id, index);
  assert.ok(bytes.every((byte) => byte === bytes[0]));
  return bytes[0] as number;
}

Deno.test("a block that a dead process had under way replaces none that was acknowledged since", async () => {
  await using world = await startWorld();
  const { store, process } = world;
  const first = process();
  await first.open({ snapshot_id: "snap-1", size_bytes });
  await first.write("snap-1", 0, block(1));
  store.holds = "chunks/";
  const lost = [first.write("snap-1", 5, block(2)), first.write("snap-1", 6, block(2))];
  await until("they are under way", () => store.held.length === 2);
  // One that ends before anything of it has landed.
  const second = process();
  lost.push(second.write("snap-1", 6, block(3)));
  await until("that is too", () => store.held.length === 3);
  store.holds = undefined;
  const third = process();
  await third.write("snap-1", 9, block(4));
  await third.write("snap-1", 5, block(5));
  await third.write("snap-1", 6, block(6));
  for (const { land } of store.held) land();
  await Promise.all(lost);
  await third.seal({ snapshot_id: "snap-1" });
  const found: number[] = [];
  for (const index of [0, 5, 6, 9]) found.push(await filledWith(third, "snap-1", index));
  assert.deepEqual(found, [1, 5, 6, 4]);
});

for (const who of ["the same process", "the next process"] as const) {
  Deno.test(`a map that a sealing had under way when it failed does not replace that of ${who}`, async () => {
    await using world = await startWorld();
    const { store, process } = world;
    const first = process();
    await first.open({ snapshot_id: "snap-1", size_bytes });
    await first.write("snap-1", 0, block(1));
    store.holds = "maps/";
    const failed = first.seal({ snapshot_id: "snap-1" });
    await until("its map is under way", () => store.held.length === 1);
    store.holds = undefined;
    const [late] = store.held;
    let now = first;
    if (who === "the same process") {
      late?.fail();
      await assert.rejects(failed);
    } else now = process();
    await now.write("snap-1", 1, block(2));
    await now.write("snap-1", 0, block(3));
    await now.seal({ snapshot_id: "snap-1" });
    late?.land();
    await failed.catch(() => {});
    const reader = process();
    assert.equal(await filledWith(reader, "snap-1", 0), 3);
    assert.equal(await filledWith(reader, "snap-1", 1), 2);
  });
}

Deno.test("a snapshot is not given up before what is being written to it is there to be removed", async () => {
  await using world = await startWorld();
  const { store, process } = world;
  const direct = process();
  await direct.open({ snapshot_id: "snap-1", size_bytes });
  store.holds = "chunks/";
  const writing = direct.write("snap-1", 0, block(1));
  await until("it is under way", () => store.held.length === 1);
  let isOver = false;
  const abandoning = direct.abandon("snap-1").then(() => isOver = true);
  await until(
    "it is not being written any more",
    () => direct.describe("snap-1").then(() => false, () => true),
  );
  assert.equal(isOver, false);
  store.held[0]?.land();
  await Promise.all([writing, abandoning]);
  assert.deepEqual([...store.objects.keys()], []);
});
