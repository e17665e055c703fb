import assert from "node:assert/strict";
import { testLog } from "../../../tests/kit/nats.ts";
import { Conflict, type Row } from "../../state/table.ts";
import { KeyRing, type KeyTable } from "./key_ring.ts";
import { MasterKeyError } from "../../config/key_file.ts";
import { parseMasterKeys, type SealedVolumeKey } from "./master_keys.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { KeyGone, SealedObjects } from "./sealed_objects.ts";
import { VolumeKey } from "./volume_key.ts";

class MemoryTable implements KeyTable {
  readonly rows = new Map<string, Row<SealedVolumeKey>>();
  /** The local copy has heard of nothing yet. */
  isBehind = false;
  #revision = 0;
  #put(key: string, value: SealedVolumeKey) {
    const row = { key, value, revision: ++this.#revision, bytes: 0 };
    this.rows.set(key, row);
    return Promise.resolve(row);
  }
  get(key: string) {
    return this.isBehind ? undefined : this.rows.get(key);
  }
  list() {
    return [...this.rows.values()];
  }
  read(key: string) {
    return Promise.resolve(this.rows.get(key));
  }
  create(key: string, value: SealedVolumeKey) {
    return this.rows.has(key) ? Promise.reject(new Conflict(key)) : this.#put(key, value);
  }
  update(key: string, value: SealedVolumeKey, revision: number) {
    const same = this.rows.get(key)?.revision === revision;
    return same ? this.#put(key, value) : Promise.reject(new Conflict(key));
  }
  delete(key: string) {
    this.rows.delete(key);
    return Promise.resolve();
  }
}

const line = (fill: number) => new Uint8Array(32).fill(fill).toBase64();

async function ringWith(lines: readonly string[]) {
  const path = await Deno.makeTempFile({ prefix: "mulga-keys-" });
  const write = (...all: string[]) => Deno.writeTextFile(path, `${all.join("\n")}\n`);
  await write(...lines);
  const table = new MemoryTable();
  const ring = new KeyRing(table, path, testLog);
  await ring.load();
  return { path, table, ring, write, again: () => new KeyRing(table, path, testLog) };
}

Deno.test("a key is made once and is the same for whoever opens the ring", async () => {
  const { path, ring, again, table } = await ringWith([line(1)]);
  await ring.make("vol-1");
  const { data } = await ring.require("vol-1");
  await ring.make("vol-1");
  await ring.make("vol-2");
  const other = again();
  await other.load();
  assert.deepEqual(other.of("vol-1")?.data, data);
  assert.notDeepEqual(other.of("vol-2")?.data, data);
  assert.equal(other.of("vol-3"), undefined);
  await assert.rejects(other.require("vol-3"), KeyGone);
  // A row that was moved to another volume does not open there.
  await table.delete("vol-2");
  await table.create("vol-2", (table.get("vol-1") as Row<SealedVolumeKey>).value);
  assert.throws(() => other.of("vol-2"), KeyGone);
  await Deno.remove(path);
});

Deno.test("what is needed stays, and what is discarded is gone for good", async () => {
  const { path, ring, again } = await ringWith([line(1)]);
  for (const id of ["vol-1", "vol-2", "vol-3"]) await ring.make(id);
  await ring.discard(["vol-1", "vol-2", "vol-none"], new Set(["vol-2"]));
  const other = again();
  await other.load();
  for (const one of [ring, other]) {
    assert.equal(one.of("vol-1"), undefined);
    assert.ok(one.of("vol-2"));
    assert.ok(one.of("vol-3"));
  }
  await Deno.remove(path);
});

Deno.test("a key that is gone already is forgotten by whoever is to discard it", async () => {
  const { path, ring, again } = await ringWith([line(1)]);
  await ring.make("vol-1");
  const other = again();
  await other.load();
  await other.require("vol-1");
  await ring.discard(["vol-1"], new Set());
  await other.discard(["vol-1"], new Set());
  assert.equal(other.of("vol-1"), undefined);
  await Deno.remove(path);
});

Deno.test("after a rotation the new master key alone opens every key; what nothing opens is named", async () => {
  const { path, ring, again, write } = await ringWith([line(1)]);
  await ring.make("vol-1");
  await ring.make("vol-2");
  const { data } = await ring.require("vol-1");
  await write(line(2), line(1));
  assert.deepEqual(await ring.rewrap(), { keys: 2, rewrapped: 2, unreadable: [] });
  assert.deepEqual(await ring.rewrap(), { keys: 2, rewrapped: 0, unreadable: [] });
  await write(line(2));
  const other = again();
  await other.load();
  assert.deepEqual(other.of("vol-1")?.data, data);
  await write(line(3));
  assert.deepEqual(await other.rewrap(), {
    keys: 2,
    rewrapped: 0,
    unreadable: ["vol-1", "vol-2"],
  });
  await Deno.remove(path);
});

Deno.test("a master key file that is missing or malformed is named, and makes no keys", async () => {
  for (const text of ["", "\n", "c2hvcnQ=\n", `${line(1)}x\n`]) {
    assert.throws(
      () => parseMasterKeys(text, "/the/path"),
      (error) => error instanceof MasterKeyError && error.message.includes("/the/path"),
    );
  }
  const table = new MemoryTable();
  const ring = new KeyRing(table, "/nowhere/volume-keys.key", testLog);
  await ring.load();
  await assert.rejects(ring.make("vol-1"), KeyGone);
  assert.equal(table.rows.size, 0);
});

Deno.test("a volume's keys for its log and its objects have nothing in common", () => {
  const key = new VolumeKey(new Uint8Array(32).fill(9));
  const all = [key.forLog(), key.forName("a"), key.forName("b")].map((each) => each.toHex());
  assert.equal(new Set(all.map((each) => each.slice(0, 64))).size, 3);
});

Deno.test("what an encrypted volume stores is sealed, though the local copy of the table has no key of it yet", async () => {
  const { path, ring, again, table } = await ringWith([line(1)]);
  await ring.make("vol-1");
  const { data } = await ring.require("vol-1");
  table.isBehind = true;
  for (const asks of ["make", "require"] as const) {
    const other = again();
    await other.load();
    await other[asks]("vol-1");
    const stored = new Map<string, Uint8Array>();
    const store = new SealedObjects({
      put: (key: string, body: Uint8Array) => Promise.resolve(void stored.set(key, body)),
    } as unknown as BlockStore, other);
    await store.put("chunks/vol-1/1", new Uint8Array(4096).fill(0x55));
    const bytes = stored.get("chunks/vol-1/1") ?? new Uint8Array(0);
    assert.ok(!bytes.toHex().includes("55".repeat(64)), `it is sealed after ${asks}`);
    assert.deepEqual(other.of("vol-1")?.data, data);
  }
  await Deno.remove(path);
});
