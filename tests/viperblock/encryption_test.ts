/**
 * Encrypted volumes against the real engine: nothing of what a guest wrote lies readable below the data
 * directory, whatever is made of it and however the engine ends; and who discards the key discards the data.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  checkVolume,
  copySnapshot,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeSnapshot,
  directBlockBytes,
  mountVolume,
  openSnapshot,
  readSnapshotBlock,
  rewrapKeys,
  sealSnapshot,
  unmountVolume,
  writeSnapshotBlock,
} from "../../services/viperblock/contract.ts";
import { hive, qemuIo, refusal, startEngine, type TestEngine } from "./engine.ts";

const mebibyte = 1 << 20;

async function* filesBelow(path: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(path)) {
    const inside = `${path}/${entry.name}`;
    if (entry.isDirectory) yield* filesBelow(inside);
    else if (entry.isFile) yield inside;
  }
}

/**
 * Files in which a run of that byte lies: longer than any table or padding makes one. The engine makes and renames files
 * meanwhile: where one is gone, all are searched again, so that none is missed under its new name.
 */
async function filesWith(engine: TestEngine, pattern: number): Promise<string[]> {
  const run = Buffer.alloc(256, pattern);
  const search = async () => {
    const found: string[] = [];
    for await (const path of filesBelow(engine.node.paths.root)) {
      if (path.startsWith(engine.node.paths.bin)) continue;
      if (Buffer.from(await Deno.readFile(path)).includes(run)) found.push(path);
    }
    return found;
  };
  for (let tries = 1;; tries++) {
    try {
      return await search();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound) || tries === 20) throw error;
    }
  }
}

const sound = async (engine: TestEngine, id: string) => {
  const report = await engine.ask(checkVolume, { id });
  assert.ok(report.is_sound, JSON.stringify(report));
};

Deno.test("what is written to an encrypted volume is nowhere to be read but through it", async (t) => {
  await using engine = await startEngine();
  const uri = (id: string) => engine.uri(id);
  const make = async (volume_id: string, rest: { snapshot_id?: string; encrypted?: boolean }) => {
    const made = await engine.ask(createVolume, { volume_id, size_bytes: 64 * mebibyte, ...rest });
    await engine.ask(mountVolume, { volume_id });
    return made;
  };

  await t.step("a plain volume's blocks do lie there: the search finds what there is", async () => {
    assert.equal((await make("vol-plain", {})).encrypted, undefined);
    await qemuIo(uri("vol-plain"), "write -P 51 1M 64k", "flush");
    assert.ok((await filesWith(engine, 51)).length > 0);
    await engine.ask(unmountVolume, { volume_id: "vol-plain" });
    await engine.ask(createSnapshot, { volume_id: "vol-plain", snapshot_id: "snap-plain" });
  });

  await t.step("through the log, kill -9, checkpoint and chunks", async () => {
    assert.equal((await make("vol-a", { encrypted: true })).encrypted, true);
    await qemuIo(uri("vol-a"), "write -P 171 1M 3M", "write -P 172 20M 70000", "flush");
    assert.deepEqual(await filesWith(engine, 171), []);
    await engine.kill();
    await engine.start();
    await qemuIo(uri("vol-a"), "read -P 171 1M 3M", "read -P 172 20M 70000", "read -P 0 0 1M");
    await engine.ask(unmountVolume, { volume_id: "vol-a" });
    await sound(engine, "vol-a");
    await engine.ask(mountVolume, { volume_id: "vol-a" });
    await qemuIo(uri("vol-a"), "read -P 171 1M 3M", "write -P 173 2M 4k", "flush");
    assert.deepEqual([...await filesWith(engine, 171), ...await filesWith(engine, 173)], []);
  });

  await t.step("snapshots, copies and clones are encrypted and read what they share", async () => {
    await engine.ask(createSnapshot, { volume_id: "vol-a", snapshot_id: "snap-a" });
    await engine.ask(unmountVolume, { volume_id: "vol-a" });
    const copy = await engine.ask(copySnapshot, { source_id: "snap-a", snapshot_id: "snap-b" });
    assert.equal(copy.encrypted, true);
    assert.equal(
      await refusal(engine.ask(copySnapshot, {
        source_id: "snap-a",
        snapshot_id: "snap-c",
        encrypted: false,
      })),
      "InvalidParameterCombination",
    );
    assert.equal((await make("vol-b", { snapshot_id: "snap-b" })).encrypted, true);
    await qemuIo(uri("vol-b"), "read -P 171 1M 1M", "read -P 173 2M 4k", "write -P 174 0 1M");
    await engine.ask(unmountVolume, { volume_id: "vol-b" });
    await sound(engine, "vol-b");
    await sound(engine, "snap-b");
    assert.deepEqual(await filesWith(engine, 174), []);
  });

  await t.step("the EBS direct APIs read and write them", async () => {
    const opened = await engine.ask(openSnapshot, {
      snapshot_id: "snap-d",
      size_bytes: 64 * mebibyte,
      parent_id: "snap-a",
    });
    assert.equal(opened.encrypted, true);
    const data = new Uint8Array(directBlockBytes).fill(175).toBase64();
    await engine.ask(writeSnapshotBlock, { snapshot_id: "snap-d", block_index: 0, data });
    await engine.ask(sealSnapshot, { snapshot_id: "snap-d", changed_blocks: 1 });
    assert.equal((await engine.ask(describeSnapshot, { snapshot_id: "snap-d" })).encrypted, true);
    const read = async (block_index: number) =>
      Uint8Array.fromBase64(
        (await engine.ask(readSnapshotBlock, { snapshot_id: "snap-d", block_index })).data,
      );
    assert.ok((await read(0)).every((byte) => byte === 175));
    assert.ok((await read(2)).every((byte) => byte === 171));
    assert.deepEqual(await filesWith(engine, 175), []);
  });

  await t.step(
    "an encrypted volume or copy of a plain snapshot shares nothing with it",
    async () => {
      const copy = await engine.ask(copySnapshot, {
        source_id: "snap-plain",
        snapshot_id: "snap-e",
        encrypted: true,
      });
      assert.equal(copy.encrypted, true);
      const volume = { snapshot_id: "snap-plain", encrypted: true };
      assert.equal((await make("vol-e", volume)).encrypted, true);
      const opened = await engine.ask(openSnapshot, {
        snapshot_id: "snap-f",
        size_bytes: 64 * mebibyte,
        parent_id: "snap-plain",
        encrypted: true,
      });
      assert.equal(opened.encrypted, true);
      await engine.ask(sealSnapshot, { snapshot_id: "snap-f", changed_blocks: 0 });
      for (const [id, snapshot_id] of [["vol-e2", "snap-e"], ["vol-e3", "snap-f"]] as const) {
        await make(id, { snapshot_id });
      }
      await engine.ask(deleteSnapshot, { snapshot_id: "snap-plain" });
      await engine.ask(deleteVolume, { volume_id: "vol-plain" });
      for (const id of ["vol-e", "vol-e2", "vol-e3"]) {
        await qemuIo(uri(id), "read -P 51 1M 64k", "read -P 0 0 1M", "write -P 176 1M 4k");
        await engine.ask(unmountVolume, { volume_id: id });
        await sound(engine, id);
      }
      await sound(engine, "snap-e");
      const keys = await engine.keys("chunks/vol-plain/");
      assert.deepEqual(keys, []);
    },
  );

  await t.step("the master key rotates, and the old one is not needed any more", async () => {
    const path = engine.node.paths.volumeKeys;
    const older = await Deno.readTextFile(path);
    const first = JSON.parse(await hive(engine, "volume", "rotate-key", "--json"));
    assert.deepEqual(first.unreadable, []);
    assert.ok(first.keys > 0 && first.rewrapped === first.keys, JSON.stringify(first));
    const newer = await Deno.readTextFile(path);
    assert.match(newer, /^[^\n]{44}\n$/);
    assert.notEqual(newer, older);
    assert.equal((await engine.ask(rewrapKeys, null)).rewrapped, 0);
    await engine.stop();
    await engine.start();
    await engine.ask(mountVolume, { volume_id: "vol-b" });
    await qemuIo(uri("vol-b"), "read -P 174 0 1M", "read -P 171 4000k 4k");
    await engine.ask(unmountVolume, { volume_id: "vol-b" });
    await Deno.writeTextFile(path, older);
    await engine.stop();
    await engine.start();
    assert.equal(
      await refusal(engine.ask(mountVolume, { volume_id: "vol-b" })),
      "IncorrectState",
    );
    assert.deepEqual((await engine.ask(rewrapKeys, null)).unreadable.length, first.keys);
    await Deno.writeTextFile(path, newer);
    await engine.ask(rewrapKeys, null);
    await engine.ask(mountVolume, { volume_id: "vol-b" });
  });

  await t.step("a key goes with the last that needs it, and not before", async () => {
    const keys = async () => (await engine.ask(rewrapKeys, null)).keys;
    const before = await keys();
    await engine.ask(deleteVolume, { volume_id: "vol-a" });
    await engine.ask(deleteSnapshot, { snapshot_id: "snap-a" });
    await engine.ask(deleteSnapshot, { snapshot_id: "snap-b" });
    assert.equal(await keys(), before);
    await qemuIo(uri("vol-b"), "read -P 171 1M 1M");
    await engine.ask(unmountVolume, { volume_id: "vol-b" });
    await engine.ask(deleteVolume, { volume_id: "vol-b" });
    await engine.ask(deleteSnapshot, { snapshot_id: "snap-d" });
    for (const volume_id of ["vol-e", "vol-e2", "vol-e3"]) {
      await engine.ask(deleteVolume, { volume_id });
    }
    for (const snapshot_id of ["snap-e", "snap-f"]) {
      await engine.ask(deleteSnapshot, { snapshot_id });
    }
    assert.equal(await keys(), 0);
    assert.deepEqual(await engine.keys("chunks/"), []);
  });
});
