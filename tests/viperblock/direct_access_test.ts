/** Snapshots read and written from outside, against the real engine: byte for byte, and through its death. */
import assert from "node:assert/strict";
import { AwsError } from "../../services/aws/errors.ts";
import {
  abandonSnapshot,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeSnapshot,
  directBlockBytes,
  listSnapshotBlocks,
  mountVolume,
  openSnapshot,
  readSnapshotBlock,
  sealSnapshot,
  unmountVolume,
  writeSnapshotBlock,
} from "../../services/viperblock/contract.ts";
import { qemuIo, startEngine } from "./engine.ts";

const mebibyte = 1 << 20;
const block = (fill: number) => new Uint8Array(directBlockBytes).fill(fill).toBase64();
const code = (wanted: string) => (error: unknown) => {
  assert.ok(error instanceof AwsError);
  assert.equal(error.code, wanted);
  return true;
};

Deno.test("a snapshot is listed, read, compared and written block by block, also over a kill -9", async (t) => {
  await using engine = await startEngine();
  const write = (snapshot_id: string, block_index: number, fill: number) =>
    engine.ask(writeSnapshotBlock, { snapshot_id, block_index, data: block(fill) });
  const read = async (snapshot_id: string, block_index: number) =>
    Uint8Array.fromBase64(
      (await engine.ask(readSnapshotBlock, { snapshot_id, block_index })).data,
    );
  const list = (snapshot_id: string, first_id?: string, from = 0, most = 100) =>
    engine.ask(listSnapshotBlocks, {
      snapshot_id,
      from,
      most,
      ...(first_id === undefined ? {} : { first_id }),
    });
  const indexes = async (snapshot_id: string, first_id?: string) =>
    (await list(snapshot_id, first_id)).blocks.map((one) => one.index);

  await engine.ask(createVolume, { volume_id: "vol-a", size_bytes: 16 * mebibyte });
  await engine.ask(mountVolume, { volume_id: "vol-a" });
  const uri = engine.uri("vol-a");
  await qemuIo(uri, "write -P 17 0 4k", "write -P 34 5M 64k", "flush");
  await engine.ask(unmountVolume, { volume_id: "vol-a" });
  await engine.ask(createSnapshot, { volume_id: "vol-a", snapshot_id: "snap-1" });

  await t.step("what a guest wrote is found where it wrote it, and nothing else", async () => {
    assert.deepEqual(await indexes("snap-1"), [0, 10]);
    const first = await read("snap-1", 0);
    assert.ok(first.subarray(0, 4096).every((byte) => byte === 17));
    assert.ok(first.subarray(4096).every((byte) => byte === 0));
    const tenth = await read("snap-1", 10);
    assert.ok(tenth.subarray(0, 65_536).every((byte) => byte === 34));
    assert.ok((await read("snap-1", 3)).every((byte) => byte === 0));
    const page = await list("snap-1", undefined, 0, 1);
    assert.deepEqual(page.blocks.map((one) => one.index), [0]);
    assert.deepEqual((await list("snap-1", undefined, page.next, 1)).blocks[0]?.index, 10);
    await assert.rejects(read("snap-1", 32), code("InvalidParameterValue"));
    await assert.rejects(read("snap-none", 0), code("InvalidSnapshot.NotFound"));
  });

  await t.step("two snapshots differ where something was written or trimmed since", async () => {
    await engine.ask(mountVolume, { volume_id: "vol-a" });
    await qemuIo(uri, "write -P 18 0 4k", "write -P 51 8M 4k", "discard 5M 64k", "flush");
    await engine.ask(unmountVolume, { volume_id: "vol-a" });
    await engine.ask(createSnapshot, { volume_id: "vol-a", snapshot_id: "snap-2" });
    assert.deepEqual((await list("snap-2", "snap-1")).blocks, [
      { index: 0, first: true, second: true },
      { index: 10, first: true, second: false },
      { index: 16, first: false, second: true },
    ]);
    assert.deepEqual(await indexes("snap-2", "snap-2"), []);
  });

  await t.step(
    "a snapshot is written on top of another; what was acknowledged survives",
    async () => {
      const opened = await engine.ask(openSnapshot, {
        snapshot_id: "snap-3",
        size_bytes: 16 * mebibyte,
        parent_id: "snap-1",
      });
      assert.equal(opened.state, "pending");
      await write("snap-3", 2, 1);
      await write("snap-3", 31, 2);
      await write("snap-3", 0, 3);
      await engine.kill();
      await engine.start();
      assert.equal(
        (await engine.ask(describeSnapshot, { snapshot_id: "snap-3" })).state,
        "pending",
      );
      await write("snap-3", 2, 4);
      await assert.rejects(read("snap-3", 2), code("InvalidSnapshot.NotFound"));
      await assert.rejects(write("snap-3", 32, 1), code("InvalidParameterValue"));
      await assert.rejects(write("snap-1", 0, 1), code("IncorrectState"));
      await assert.rejects(
        engine.ask(mountVolume, { volume_id: "vol-direct-3" }),
        (error) => error instanceof AwsError,
      );
      const sealed = await engine.ask(sealSnapshot, { snapshot_id: "snap-3" });
      assert.equal(sealed.state, "completed");
      assert.deepEqual(await engine.ask(sealSnapshot, { snapshot_id: "snap-3" }), sealed);
      await assert.rejects(write("snap-3", 1, 1), code("IncorrectState"));
      assert.deepEqual(await indexes("snap-3"), [0, 2, 10, 31]);
      assert.deepEqual(await indexes("snap-3", "snap-1"), [0, 2, 31]);
      for (const [index, fill] of [[0, 3], [2, 4], [31, 2]] as const) {
        assert.ok((await read("snap-3", index)).every((byte) => byte === fill), `block ${index}`);
      }
    },
  );

  await t.step(
    "a volume made of it has the same bytes, whatever is deleted around it",
    async () => {
      await engine.ask(createVolume, {
        volume_id: "vol-b",
        size_bytes: 16 * mebibyte,
        snapshot_id: "snap-3",
      });
      for (const snapshot_id of ["snap-1", "snap-2", "snap-3"]) {
        await engine.ask(deleteSnapshot, { snapshot_id });
      }
      await engine.ask(deleteVolume, { volume_id: "vol-a" });
      await engine.ask(mountVolume, { volume_id: "vol-b" });
      await qemuIo(
        engine.uri("vol-b"),
        "read -P 3 0 512k",
        "read -P 0 512k 512k",
        "read -P 4 1M 512k",
        "read -P 34 5M 64k",
        "read -P 2 15872k 512k",
      );
      await engine.ask(unmountVolume, { volume_id: "vol-b" });
      await engine.ask(deleteVolume, { volume_id: "vol-b" });
    },
  );

  await t.step("one that was given up leaves nothing", async () => {
    await engine.ask(openSnapshot, { snapshot_id: "snap-4", size_bytes: mebibyte });
    await write("snap-4", 0, 9);
    await engine.ask(abandonSnapshot, { snapshot_id: "snap-4" });
    await engine.ask(abandonSnapshot, { snapshot_id: "snap-4" });
    await assert.rejects(write("snap-4", 0, 9), code("IncorrectState"));
    assert.deepEqual(await engine.keys("chunks/"), []);
    assert.deepEqual(await engine.keys("maps/"), []);
  });
});

Deno.test("a block whose write was answered is in the snapshot, although it is sealed at that moment", async () => {
  await using engine = await startEngine();
  let both = 0;
  for (let round = 0; round < 12; round++) {
    const snapshot_id = `snap-${round}`;
    await engine.ask(openSnapshot, { snapshot_id, size_bytes: 64 * mebibyte });
    const blocks = 40;
    const write = (block_index: number) =>
      engine.ask(writeSnapshotBlock, { snapshot_id, block_index, data: block(7) });
    for (let at = 0; at < 8; at++) await write(at);
    const written: number[] = [];
    const writing = (async () => {
      for (let at = 8; at < blocks; at++) {
        await write(at);
        written.push(at);
      }
    })().catch(() => {});
    for (let i = 0; i < round; i++) await new Promise((resolve) => setTimeout(resolve, 1));
    await engine.ask(sealSnapshot, { snapshot_id });
    await writing;
    const { blocks: found } = await engine.ask(listSnapshotBlocks, {
      snapshot_id,
      from: 0,
      most: 100,
    });
    const there = new Set(found.map(({ index }) => index));
    assert.deepEqual(written.filter((at) => !there.has(at)), [], `round ${round}`);
    if (written.length > 0 && written.length < blocks - 8) both++;
  }
  assert.ok(both > 0, "no write was answered before a seal and refused after it");
});
