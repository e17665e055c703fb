/** A volume's life from the outside: made, written, unmounted, cloned, frozen and deleted. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  blockCapacity,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeVolume,
  listSnapshots,
  mountVolume,
  unmountVolume,
  volumeMetrics,
} from "../../services/viperblock/contract.ts";
import { qemuIo, refusal, run, startEngine, type TestEngine } from "./engine.ts";

const mebibyte = 1 << 20;

async function make(engine: TestEngine, volume_id: string, size_bytes: number, from?: string) {
  await engine.ask(createVolume, {
    volume_id,
    size_bytes,
    ...(from === undefined ? {} : { snapshot_id: from }),
  });
  return await engine.ask(mountVolume, { volume_id });
}

Deno.test("volumes, snapshots and clones keep their data whatever is deleted around them", async (t) => {
  await using engine = await startEngine();
  const scratch = await Deno.makeTempDir({ prefix: "mulga-volume-" });
  try {
    await t.step("a new volume reads as zeros and tells its size", async () => {
      const reply = await make(engine, "vol-a", 64 * mebibyte);
      assert.equal(reply.socket, engine.socket("vol-a"));
      assert.equal(reply.size_bytes, 64 * mebibyte);
      const info = await run("nbdinfo", ["--json", engine.uri("vol-a")]);
      const [described] = JSON.parse(info).exports;
      assert.equal(described["export-size"], 64 * mebibyte);
      assert.equal(described.can_multi_conn, true);
      assert.equal(described.can_fua, true);
      await qemuIo(engine.uri("vol-a"), "read -P 0 0 64M");
    });

    await t.step("calls may be repeated, and wrong ones are refused by name", async () => {
      const again = { volume_id: "vol-a", size_bytes: 64 * mebibyte };
      assert.equal((await engine.ask(createVolume, again)).size_bytes, 64 * mebibyte);
      assert.equal(
        (await engine.ask(mountVolume, { volume_id: "vol-a" })).socket,
        engine.socket("vol-a"),
      );
      assert.equal(
        await refusal(engine.ask(createVolume, { ...again, size_bytes: mebibyte })),
        "IdempotentParameterMismatch",
      );
      assert.equal(
        await refusal(engine.ask(deleteVolume, { volume_id: "vol-a" })),
        "VolumeInUse",
      );
      assert.equal(
        await refusal(engine.ask(mountVolume, { volume_id: "vol-none" })),
        "InvalidVolume.NotFound",
      );
      assert.equal(
        await refusal(engine.ask(describeVolume, { volume_id: "../etc" })),
        "InvalidVolumeID.Malformed",
      );
      assert.equal(
        await refusal(
          engine.ask(createVolume, { ...again, volume_id: "vol-b", snapshot_id: "snap-none" }),
        ),
        "InvalidSnapshot.NotFound",
      );
    });

    const image = `${scratch}/image.raw`;
    await t.step("an image that nbdcopy wrote comes back, cold, byte for byte", async () => {
      const bytes = new Uint8Array(48 * mebibyte);
      for (let at = 0; at < bytes.length; at += 65536) {
        // Every fourth 64 KiB stays zero.
        if ((at / 65536) % 4 !== 3) crypto.getRandomValues(bytes.subarray(at, at + 65536));
      }
      await Deno.writeFile(image, bytes);
      await run("nbdcopy", ["--flush", image, engine.uri("vol-a")]);
      await engine.ask(unmountVolume, { volume_id: "vol-a" });
      const directory = `${engine.node.paths.service("viperblock")}/volumes/vol-a`;
      await assert.rejects(Deno.stat(directory), Deno.errors.NotFound);
      await engine.ask(mountVolume, { volume_id: "vol-a" });
      await run("nbdcopy", [engine.uri("vol-a"), `${scratch}/back.raw`]);
      const back = await Deno.readFile(`${scratch}/back.raw`);
      assert.ok(Buffer.from(back.subarray(0, bytes.length)).equals(Buffer.from(bytes)));
      assert.ok(back.subarray(bytes.length).every((byte) => byte === 0));
      // What came from the store is kept on this node's disk, and read from there by the next engine.
      const first = await engine.ask(volumeMetrics, { volume_id: "vol-a" });
      await engine.kill();
      await engine.start();
      await run("nbdcopy", [engine.uri("vol-a"), `${scratch}/again.raw`]);
      assert.ok(Buffer.from(await Deno.readFile(`${scratch}/again.raw`)).equals(back));
      const second = await engine.ask(volumeMetrics, { volume_id: "vol-a" });
      const fetched = [first, second].map((each) => each.windows_fetched ?? 0);
      assert.ok((second.chunk_cache_hits ?? 0) > 0, JSON.stringify(second));
      assert.ok((fetched[1] as number) < (fetched[0] as number), `${fetched} windows were fetched`);
      await engine.ask(unmountVolume, { volume_id: "vol-a" });
      // 36 MiB are not zero: nine chunks of 4 MiB.
      assert.equal((await engine.keys("chunks/vol-a/")).length, 9);
    });

    await t.step("a clone starts with the snapshot's content and writes alone", async () => {
      const snapshot = await engine.ask(createSnapshot, {
        volume_id: "vol-a",
        snapshot_id: "snap-a",
      });
      assert.equal(snapshot.stored_bytes, 36 * mebibyte);
      await make(engine, "vol-clone", 128 * mebibyte, "snap-a");
      await run("qemu-img", [
        "compare",
        "-f",
        "raw",
        "-F",
        "raw",
        image,
        engine.uri("vol-clone"),
      ]);
      await qemuIo(engine.uri("vol-clone"), "write -P 0x5a 1M 8M", "flush");
      await engine.ask(mountVolume, { volume_id: "vol-a" });
      await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", image, engine.uri("vol-a")]);
      await engine.ask(unmountVolume, { volume_id: "vol-a" });
    });

    await t.step("a clone of a clone outlives both parents and the snapshots", async () => {
      await engine.ask(unmountVolume, { volume_id: "vol-clone" });
      await engine.ask(createSnapshot, { volume_id: "vol-clone", snapshot_id: "snap-b" });
      await engine.ask(createVolume, {
        volume_id: "vol-grandchild",
        size_bytes: 128 * mebibyte,
        snapshot_id: "snap-b",
      });
      await engine.ask(deleteSnapshot, { snapshot_id: "snap-a" });
      await engine.ask(deleteVolume, { volume_id: "vol-a" });
      await engine.ask(deleteVolume, { volume_id: "vol-clone" });
      await engine.ask(deleteSnapshot, { snapshot_id: "snap-b" });
      assert.deepEqual(await engine.ask(listSnapshots, null), []);
      assert.equal(
        await refusal(engine.ask(describeVolume, { volume_id: "vol-a" })),
        "InvalidVolume.NotFound",
      );
      await engine.ask(mountVolume, { volume_id: "vol-grandchild" });
      await qemuIo(
        engine.uri("vol-grandchild"),
        "read -P 0x5a 1M 8M",
        "read -P 0 48M 80M",
        "write -P 0x11 0 1M",
      );
      await run("qemu-img", [
        "convert",
        "-f",
        "raw",
        "-O",
        "raw",
        engine.uri("vol-grandchild"),
        `${scratch}/g.raw`,
      ]);
      const original = await Deno.readFile(image);
      const grandchild = await Deno.readFile(`${scratch}/g.raw`);
      assert.ok(
        Buffer.from(grandchild.subarray(9 * mebibyte, 48 * mebibyte))
          .equals(Buffer.from(original.subarray(9 * mebibyte))),
      );
      await engine.ask(unmountVolume, { volume_id: "vol-grandchild" });
    });

    await t.step("the last reference takes the objects with it", async () => {
      assert.ok((await engine.keys("chunks/vol-a/")).length > 0);
      await engine.ask(deleteVolume, { volume_id: "vol-grandchild" });
      assert.deepEqual(await engine.keys(""), []);
      assert.equal((await engine.ask(blockCapacity, null)).provisioned_bytes, 0);
    });
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
});
