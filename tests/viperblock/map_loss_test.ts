/** Volumes whose saved map in the object store is damaged or gone: opened for reading only, by what their chunks say. */
import assert from "node:assert/strict";
import {
  checkVolume,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeVolume,
  mountVolume,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { hive, qemuIo, refusal, run, startEngine, type TestEngine } from "./engine.ts";

const size_bytes = 64 << 20;

const read = (engine: TestEngine, volumeId: string, ...commands: readonly string[]) =>
  run("qemu-io", [
    "-r",
    "-f",
    "raw",
    ...commands.flatMap((command) => ["-c", command]),
    engine.uri(volumeId),
  ]);

/** Changes what is stored under the only key of a prefix; answers how to undo it. */
async function damage(
  engine: TestEngine,
  prefix: string,
  change: (bytes: Uint8Array<ArrayBuffer>) => void | "gone",
): Promise<() => Promise<void>> {
  const [key, ...more] = await engine.keys(prefix);
  assert.ok(key !== undefined && more.length === 0, `${key} ${more}`);
  const whole = await engine.store.get(key);
  assert.ok(whole !== undefined);
  const bytes = whole.slice();
  if (change(bytes) === "gone") await engine.store.delete(key);
  else await engine.store.put(key, bytes);
  return () => engine.store.put(key, whole);
}

const middle = (bytes: Uint8Array) => {
  const at = bytes.length - 200;
  bytes[at] = (bytes[at] as number) ^ 4;
};

for (const encrypted of [false, true]) {
  const kind = encrypted ? "an encrypted volume" : "a volume";
  // A short map is sealed in one piece, of which damage leaves nothing.
  const how = encrypted
    ? /as many blocks as it had/
    : /made anew from its chunks, exactly: 512 blocks/;
  Deno.test(`${kind} whose saved map is damaged is read from its chunks until the map is mended`, async () => {
    await using engine = await startEngine();
    const volume_id = "vol-lost";
    await engine.ask(createVolume, { volume_id, size_bytes, encrypted });
    await engine.ask(mountVolume, { volume_id });
    await qemuIo(engine.uri(volume_id), "write -P 7 0 1M", "write -P 8 8M 1M", "flush");
    await engine.ask(unmountVolume, { volume_id });
    // What is written again must not be found as it was before.
    await engine.ask(mountVolume, { volume_id });
    await qemuIo(engine.uri(volume_id), "write -P 9 512k 64k", "flush");
    await engine.ask(unmountVolume, { volume_id });
    const mend = await damage(engine, `maps/${volume_id}/`, middle);

    const unmounted = await engine.ask(checkVolume, { id: volume_id });
    assert.equal(unmounted.is_sound, false);
    assert.equal(unmounted.damaged_blocks, 0, JSON.stringify(unmounted));
    assert.match(unmounted.damage.map(({ why }) => why).join("; "), how);

    const asWritten = [
      "read -P 7 0 512k",
      "read -P 9 512k 64k",
      "read -P 7 576k 448k",
      "read -P 0 1M 7M",
      "read -P 8 8M 1M",
    ];
    await engine.ask(mountVolume, { volume_id });
    for (const time of ["mounted", "after a kill -9"]) {
      if (time !== "mounted") {
        await engine.kill();
        await engine.start();
      }
      const { damage: said } = await engine.ask(describeVolume, { volume_id });
      assert.match(said ?? "", /its map maps\/vol-lost\/\S+ in the object store is damaged/, time);
      assert.match(await run("nbdinfo", [engine.uri(volume_id)]), /is_read_only: true/);
      await read(engine, volume_id, ...asWritten);
      await assert.rejects(qemuIo(engine.uri(volume_id), "write -P 1 0 4k"));
      const told = await hive(engine, "volume", "fsck", volume_id).catch(String);
      assert.match(told, /it can only be read/);
      assert.match(told, how);
    }
    const snapshot = { volume_id, snapshot_id: "snap-lost" };
    assert.equal(await refusal(engine.ask(createSnapshot, snapshot)), "IncorrectState");
    await engine.ask(unmountVolume, { volume_id });
    assert.equal(await refusal(engine.ask(createSnapshot, snapshot)), "IncorrectState");

    await mend();
    await engine.ask(mountVolume, { volume_id });
    assert.equal((await engine.ask(describeVolume, { volume_id })).damage, undefined);
    await qemuIo(engine.uri(volume_id), ...asWritten, "write -P 5 0 4k", "flush");
    const live = await engine.ask(checkVolume, { id: volume_id });
    assert.deepEqual([live.is_sound, live.as_of, live.log_bytes], [true, "now", 4096]);
    await engine.ask(unmountVolume, { volume_id });
    await engine.ask(deleteVolume, { volume_id });
    assert.deepEqual(await engine.keys(""), []);
  });
}

Deno.test("of a clone whose map is gone what it inherited is known as long as its snapshot is, and else fails", async () => {
  await using engine = await startEngine();
  await engine.ask(createVolume, { volume_id: "vol-parent", size_bytes });
  await engine.ask(mountVolume, { volume_id: "vol-parent" });
  await qemuIo(engine.uri("vol-parent"), "write -P 7 0 1M", "flush");
  await engine.ask(unmountVolume, { volume_id: "vol-parent" });
  await engine.ask(createSnapshot, { volume_id: "vol-parent", snapshot_id: "snap-p" });
  // What the parent wrote afterwards is not the clone's.
  await engine.ask(mountVolume, { volume_id: "vol-parent" });
  await qemuIo(engine.uri("vol-parent"), "write -P 6 0 1M", "flush");
  await engine.ask(unmountVolume, { volume_id: "vol-parent" });
  const volume_id = "vol-clone";
  await engine.ask(createVolume, { volume_id, size_bytes, snapshot_id: "snap-p" });
  await engine.ask(mountVolume, { volume_id });
  await qemuIo(engine.uri(volume_id), "write -P 9 64k 64k", "discard 512k 64k", "flush");
  await engine.ask(unmountVolume, { volume_id });
  await damage(engine, `maps/${volume_id}/`, () => "gone");

  await engine.ask(mountVolume, { volume_id });
  await read(engine, volume_id, "read -P 7 0 64k", "read -P 9 64k 64k", "read -P 0 1M 4M");
  const report = await engine.ask(checkVolume, { id: volume_id });
  const said = report.damage.map(({ why }) => why).join("; ");
  assert.match(said, /hold 16 blocks more than it had/);
  assert.ok(
    report.damage.some(({ block, blocks = 1, why }) =>
      /may have been trimmed/.test(why) && block !== undefined && block <= 128 &&
      block + blocks >= 144
    ),
  );
  await engine.ask(unmountVolume, { volume_id });

  await engine.ask(deleteSnapshot, { snapshot_id: "snap-p" });
  await engine.ask(mountVolume, { volume_id });
  await read(engine, volume_id, "read -P 9 64k 64k");
  await assert.rejects(read(engine, volume_id, "read 0 4k"), /Input\/output error/);
  const alone = await engine.ask(checkVolume, { id: volume_id });
  assert.equal(alone.damaged_blocks, size_bytes / 4096 - 16);
  const told = await hive(engine, "volume", "fsck", volume_id).catch(String);
  assert.match(told, /the map that it began with is gone/);
  assert.match(told, /blocks 0 to 15: what it held is not known without the map/);
  await engine.ask(unmountVolume, { volume_id });
  await engine.ask(deleteVolume, { volume_id });
  await engine.ask(deleteVolume, { volume_id: "vol-parent" });
  assert.deepEqual(await engine.keys(""), []);
});
