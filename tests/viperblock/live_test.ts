/** What happens to a volume while somebody uses it: snapshots under load, growth, deletion around them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  checkVolume,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeSnapshot,
  mountVolume,
  resizeVolume,
  unmountVolume,
  volumeMetrics,
} from "../../services/viperblock/contract.ts";
import { Table } from "../../services/state/table.ts";
import { PackedChunks } from "../../services/viperblock/chunks/packed_chunks.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import { testLog } from "../kit/nats.ts";
import { until, untilWorks } from "../kit/until.ts";
import { qemuIo, startEngine, type TestEngine } from "./engine.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";

const mebibyte = 1 << 20;

async function stored(engine: TestEngine, snapshot_id: string): Promise<void> {
  const limit = performance.now() + 120_000;
  for (;;) {
    const { state } = await engine.ask(describeSnapshot, { snapshot_id });
    if (state === "completed") return;
    assert.equal(state, "pending");
    assert.ok(performance.now() < limit, `${snapshot_id} is not stored`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function contentOf(engine: TestEngine, volumeId: string, length: number) {
  await using client = await NbdClient.connect(engine.socket(volumeId), volumeId);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < length; at += 4 * mebibyte) parts.push(await client.read(at, 4 * mebibyte));
  return Buffer.concat(parts);
}

Deno.test("a writer that lost its volume to another node stops, and changes nothing any more", async () => {
  await using engine = await startEngine();
  const volume_id = "vol-a";
  await engine.ask(createVolume, { volume_id, size_bytes: 8 * mebibyte });
  await engine.ask(mountVolume, { volume_id });
  await using client = await NbdClient.connect(engine.socket(volume_id), volume_id);
  await client.write(0, new Uint8Array(4096).fill(1), true);
  // Another node takes the volume over, as it may once this one counts as dead.
  const table = await Table.open<VolumeRow>(
    await engine.node.bus("viperblock"),
    "ebs_volumes",
    testLog,
  );
  try {
    const taken = await table.modify(volume_id, (row) => {
      assert.ok(row);
      return { ...row, mounted_on: "elsewhere", epoch: row.epoch + 1 };
    });
    await client.ended;
    await assert.rejects(client.write(0, new Uint8Array(4096).fill(2)), NbdFailure);
    await assert.rejects(engine.ask(unmountVolume, { volume_id }), { code: "VolumeInUse" });
    await assert.rejects(engine.ask(mountVolume, { volume_id }), { code: "VolumeInUse" });
    assert.deepEqual((await table.read(volume_id))?.value, taken.value);
    await until("its log says so", () => engine.log().includes("volume_fenced"));
  } finally {
    await table[Symbol.asyncDispose]();
  }
});

Deno.test("a volume that is being mounted or unmounted is frozen as soon as that is over", async () => {
  await using engine = await startEngine();
  const volume_id = "vol-a";
  await engine.ask(createVolume, { volume_id, size_bytes: 64 * mebibyte });
  const mounting = engine.ask(mountVolume, { volume_id });
  const first = await engine.ask(createSnapshot, { volume_id, snapshot_id: "snap-first" });
  assert.equal(first.volume_id, volume_id);
  await mounting;
  await stored(engine, "snap-first");
  await qemuIo(engine.uri(volume_id), "write -P 0x5a 0 32M", "read -P 0x5a 0 32M", "flush");
  const metrics = await engine.ask(volumeMetrics, { volume_id });
  assert.equal(metrics.guest_read_bytes, 32 * mebibyte);
  assert.ok((metrics.dirty_bytes ?? -1) >= 0 && (metrics.dirty_bytes ?? -1) <= 32 * mebibyte);
  for (const kind of ["read", "write"]) {
    const [half = 0, most = 0] = [metrics[`${kind}_p50_us`], metrics[`${kind}_p999_us`]];
    assert.ok(half > 0 && half <= most && most < 60e6, `${kind}: ${half} and ${most} µs`);
    const counted = Object.entries(metrics)
      .filter(([name]) => name.startsWith(`${kind}_us_at_most_`))
      .reduce((sum, [, count]) => sum + count, 0);
    assert.equal(counted, metrics[`${kind}s`], "each request is in one bucket");
  }
  const unmounting = engine.ask(unmountVolume, { volume_id });
  const last = await engine.ask(createSnapshot, { volume_id, snapshot_id: "snap-last" });
  assert.equal(last.stored_bytes, 32 * mebibyte);
  await unmounting;
});

Deno.test("a volume is frozen and grows while it is written to", async (t) => {
  await using engine = await startEngine();
  const size_bytes = 64 * mebibyte;
  await engine.ask(createVolume, { volume_id: "vol-a", size_bytes });
  await engine.ask(mountVolume, { volume_id: "vol-a" });
  const model = new Uint8Array(size_bytes);

  await t.step(
    "a snapshot under load holds what was written at one moment, byte for byte",
    async () => {
      await using client = await NbdClient.connect(engine.socket("vol-a"), "vol-a");
      const base = new Uint8Array(4 * mebibyte);
      crypto.getRandomValues(base.subarray(0, 65536));
      for (let at = 0; at < 32 * mebibyte; at += base.length) {
        await client.write(at, base);
        model.set(base, at);
      }
      // Everything from here on goes on while the snapshot is stored.
      let stop = false;
      let written = 0;
      const load = (async () => {
        const block = new Uint8Array(4096);
        for (let i = 1; !stop; i++) {
          new Uint32Array(block.buffer).fill(i);
          await client.write((i * 7919 % 8192) * 4096, block);
          written++;
        }
      })();
      // The first one has a known content: nobody writes between these two lines but the load, whose
      // blocks are numbered in the order of its writes.
      await engine.ask(createSnapshot, { volume_id: "vol-a", snapshot_id: "snap-a" });
      await stored(engine, "snap-a");
      stop = true;
      await load;
      assert.ok(written > 0);
      await engine.ask(createVolume, { volume_id: "vol-b", size_bytes, snapshot_id: "snap-a" });
      await engine.ask(mountVolume, { volume_id: "vol-b" });
      const frozen = await contentOf(engine, "vol-b", size_bytes);
      // The load wrote one block after the other: what is frozen is the state after some number of them.
      const expected = Buffer.from(model);
      let highest = 0;
      for (let at = 0; at < size_bytes; at += 4096) {
        const number = frozen.readUInt32LE(at);
        const block = (number * 7919 % 8192) * 4096;
        if (
          block === at && number <= written &&
          !frozen.subarray(at, at + 4096).equals(expected.subarray(at, at + 4096))
        ) {
          highest = Math.max(highest, number);
        }
      }
      for (let i = 1; i <= highest; i++) {
        const at = (i * 7919 % 8192) * 4096;
        new Uint32Array(expected.buffer, expected.byteOffset + at, 1024).fill(i);
      }
      assert.ok(frozen.equals(expected), `the snapshot is no state after ${highest} writes`);
      await engine.ask(unmountVolume, { volume_id: "vol-b" });
      await engine.ask(deleteVolume, { volume_id: "vol-b" });
    },
  );

  await t.step(
    "it grows at once; who connects again sees the new size, and nothing is lost",
    async () => {
      const before = await contentOf(engine, "vol-a", size_bytes);
      await using client = await NbdClient.connect(engine.socket("vol-a"), "vol-a");
      const grown = await engine.ask(resizeVolume, {
        volume_id: "vol-a",
        size_bytes: 2 * size_bytes,
      });
      assert.equal(grown.size_bytes, 2 * size_bytes);
      await client.ended;
      await assert.rejects(client.read(0, 4096), NbdFailure);
      await using again = await NbdClient.connect(engine.socket("vol-a"), "vol-a");
      assert.equal(again.size, 2 * size_bytes);
      const block = new Uint8Array(4096).fill(0x77);
      await again.write(2 * size_bytes - 4096, block, true);
      await engine.kill();
      await engine.start();
      const after = await contentOf(engine, "vol-a", 2 * size_bytes);
      assert.ok(after.subarray(0, size_bytes).equals(before));
      assert.ok(after.subarray(2 * size_bytes - 4096).equals(Buffer.from(block)));
      await assert.rejects(
        engine.ask(resizeVolume, { volume_id: "vol-a", size_bytes }),
        /cannot become smaller/,
      );
    },
  );

  await t.step("what a deleted snapshot kept is compacted while the volume is in use", async () => {
    const volume_id = "vol-sparse";
    await engine.ask(createVolume, { volume_id, size_bytes });
    await engine.ask(mountVolume, { volume_id });
    const uri = engine.uri(volume_id);
    await qemuIo(uri, "write -P 3 0 16M", "flush");
    await engine.ask(createSnapshot, { volume_id, snapshot_id: "snap-sparse" });
    await stored(engine, "snap-sparse");
    const chunks = (await engine.keys(`chunks/${volume_id}/`)).length;
    assert.ok(chunks >= 4);
    for (let at = 0; at < 16; at += 4) await qemuIo(uri, `write -P 4 ${at}M 3M`);
    await engine.ask(deleteSnapshot, { snapshot_id: "snap-sparse" });
    await untilWorks("the sparse chunks gone", async () => {
      const { chunks_compacted = 0 } = await engine.ask(volumeMetrics, { volume_id });
      return chunks_compacted >= chunks ? true : undefined;
    });
    const whole = Array.from(
      { length: 4 },
      (_, i) => [`read -P 4 ${i * 4}M 3M`, `read -P 3 ${i * 4 + 3}M 1M`],
    ).flat();
    await qemuIo(uri, ...whole);
    const report = await engine.ask(checkVolume, { id: volume_id });
    assert.deepEqual([report.is_sound, report.as_of], [true, "now"]);
    await engine.ask(unmountVolume, { volume_id });
    await engine.ask(mountVolume, { volume_id });
    await qemuIo(uri, ...whole);
    await engine.ask(unmountVolume, { volume_id });
    await engine.ask(deleteVolume, { volume_id });
    assert.deepEqual(await engine.keys(`chunks/${volume_id}/`), []);
  });

  await t.step("a check reads all that is stored and names what is damaged", async () => {
    const sound = await engine.ask(checkVolume, { id: "snap-a" });
    assert.deepEqual([sound.is_sound, sound.damaged_blocks, sound.damage], [true, 0, []]);
    assert.ok(sound.mapped_bytes >= 128 * 4096 && sound.chunks > 0);
    assert.ok((await engine.ask(checkVolume, { id: "vol-a" })).is_sound);
    const metrics = await engine.ask(volumeMetrics, { volume_id: "vol-a" });
    assert.ok((metrics["reads"] ?? 0) > 0 && (metrics["space_amplification"] ?? 0) >= 1);
    const [key = ""] = await engine.keys("chunks/vol-a/");
    const store = new PackedChunks(engine.store);
    const chunk = await store.get(key);
    assert.ok(chunk);
    const broken = chunk.slice();
    broken[12288 + 100] = (broken[12288 + 100] ?? 0) ^ 1;
    await store.put(key, broken);
    const damaged = await engine.ask(checkVolume, { id: "snap-a" });
    assert.equal(damaged.is_sound, false);
    assert.equal(damaged.damaged_blocks, 1);
    assert.match(damaged.damage[0]?.why ?? "", new RegExp(`${key}, block 0, does not match`));
    await store.put(key, chunk);
    await assert.rejects(engine.ask(checkVolume, { id: "snap-none" }), {
      code: "InvalidSnapshot.NotFound",
    });
  });

  await t.step("the volume goes, its snapshot lives on; with it the last object goes", async () => {
    await engine.ask(unmountVolume, { volume_id: "vol-a" });
    await engine.ask(deleteVolume, { volume_id: "vol-a" });
    await engine.ask(createVolume, { volume_id: "vol-c", size_bytes, snapshot_id: "snap-a" });
    await engine.ask(mountVolume, { volume_id: "vol-c" });
    assert.ok((await contentOf(engine, "vol-c", 4 * mebibyte)).some((byte) => byte !== 0));
    await engine.ask(deleteSnapshot, { snapshot_id: "snap-a" });
    await engine.ask(unmountVolume, { volume_id: "vol-c" });
    await engine.ask(deleteVolume, { volume_id: "vol-c" });
    assert.deepEqual(await engine.keys(""), []);
  });
});

Deno.test("what a clone needs outlives the snapshot and a restart of the engine that wrote it", async () => {
  await using engine = await startEngine();
  const size_bytes = 64 * mebibyte;
  const volume_id = "vol-parent";
  await engine.ask(createVolume, { volume_id, size_bytes });
  await engine.ask(mountVolume, { volume_id });
  const uri = engine.uri(volume_id);
  await qemuIo(uri, "write -P 3 0 16M", "flush");
  await engine.ask(createSnapshot, { volume_id, snapshot_id: "snap-parent" });
  await stored(engine, "snap-parent");
  const clone = { volume_id: "vol-clone", size_bytes };
  await engine.ask(createVolume, { ...clone, snapshot_id: "snap-parent" });
  await engine.ask(deleteSnapshot, { snapshot_id: "snap-parent" });
  // The parent is in use all the time: only its checkpoint says what it has stored, and a check takes one.
  assert.ok((await engine.ask(checkVolume, { id: volume_id })).is_sound);
  await engine.kill();
  await engine.start();
  await qemuIo(uri, "write -P 4 0 16M", "flush");
  // With the next checkpoint it gives up what lives nowhere in it any more.
  assert.ok((await engine.ask(checkVolume, { id: volume_id })).is_sound);
  await engine.stop();
  await engine.start();
  await engine.ask(mountVolume, clone);
  await qemuIo(engine.uri("vol-clone"), "read -P 3 0 16M");
  assert.ok((await engine.ask(checkVolume, { id: "vol-clone" })).is_sound);
});
