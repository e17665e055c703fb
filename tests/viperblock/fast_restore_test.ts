/** Volumes of snapshots that are restored fast read everything from the node's disk, from their first read on. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import {
  copySnapshot,
  createSnapshot,
  createVolume,
  deleteSnapshot,
  deleteVolume,
  describeFastRestore,
  mountVolume,
  setFastRestore,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { until } from "../kit/until.ts";
import { refusal, run, startEngine } from "./engine.ts";

const mebibyte = 1 << 20;

Deno.test("a volume of a snapshot that is restored fast needs no object store", async (t) => {
  await using engine = await startEngine();
  const scratch = await Deno.makeTempDir({ prefix: "mulga-restore-" });
  const directory = join(engine.node.paths.service("viperblock"), "restores");
  const files = async () =>
    (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
  const image = `${scratch}/image.raw`;
  const bytes = new Uint8Array(24 * mebibyte);
  for (let at = 0; at < bytes.length; at += 65536) {
    if ((at / 65536) % 5 !== 3) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  const readsAs = async (volume_id: string) => {
    const back = `${scratch}/back.raw`;
    await run("nbdcopy", [engine.uri(volume_id), back]);
    const read = await Deno.readFile(back);
    assert.ok(Buffer.from(read.subarray(0, bytes.length)).equals(Buffer.from(bytes)), volume_id);
    assert.ok(read.subarray(bytes.length).every((byte) => byte === 0));
  };
  const isReady = (snapshot_id: string) =>
    until(
      `${snapshot_id} is ready`,
      async () => (await engine.ask(describeFastRestore, { snapshot_id })).state === "ready",
    );
  try {
    await Deno.writeFile(image, bytes);
    for (const name of ["plain", "sealed", "slow"]) {
      const volume_id = `vol-${name}`;
      await engine.ask(createVolume, {
        volume_id,
        size_bytes: 64 * mebibyte,
        encrypted: name === "sealed",
      });
      await engine.ask(mountVolume, { volume_id });
      await run("nbdcopy", ["--flush", image, engine.uri(volume_id)]);
      await engine.ask(unmountVolume, { volume_id });
      await engine.ask(createSnapshot, { volume_id, snapshot_id: `snap-${name}` });
    }

    await t.step("what is not there and what is malformed is refused by name", async () => {
      for (
        const [snapshot_id, code] of [
          ["snap-none", "InvalidSnapshot.NotFound"],
          ["../../etc", "InvalidSnapshotID.Malformed"],
        ] as const
      ) {
        assert.equal(
          await refusal(engine.ask(setFastRestore, { snapshot_id, wanted: true })),
          code,
        );
        assert.equal(await refusal(engine.ask(describeFastRestore, { snapshot_id })), code);
      }
      const off = await engine.ask(describeFastRestore, { snapshot_id: "snap-plain" });
      assert.equal(off.state, "off");
      assert.equal(off.kept_bytes, 0);
    });

    await t.step(
      "a snapshot's content comes to the node's disk, once and for all lives",
      async () => {
        for (const snapshot_id of ["snap-plain", "snap-sealed"]) {
          await engine.ask(setFastRestore, { snapshot_id, wanted: true });
          await engine.ask(setFastRestore, { snapshot_id, wanted: true });
          await isReady(snapshot_id);
          const { objects, kept_objects, kept_bytes } = await engine.ask(describeFastRestore, {
            snapshot_id,
          });
          assert.equal(kept_objects, objects);
          assert.ok(kept_bytes > 15 * mebibyte, `${kept_bytes}`);
        }
        // A copy of the snapshot is another one, for which nobody asked.
        await engine.ask(copySnapshot, { source_id: "snap-plain", snapshot_id: "snap-copy" });
        const copy = await engine.ask(describeFastRestore, { snapshot_id: "snap-copy" });
        assert.equal(copy.state, "off");
        const before = await files();
        await engine.kill();
        await engine.start();
        await isReady("snap-plain");
        assert.deepEqual((await files()).sort(), before.sort());
      },
    );

    for (const name of ["plain", "sealed", "slow"]) {
      const made = await engine.ask(createVolume, {
        volume_id: `vol-of-${name}`,
        size_bytes: 64 * mebibyte,
        snapshot_id: `snap-${name}`,
      });
      assert.equal(made.fast_restored === true, name !== "slow", name);
    }

    await t.step("its volumes are mounted and read while the object store is away", async () => {
      await engine.predastore().stop("SIGKILL");
      // Any other snapshot's are not.
      await assert.rejects(engine.ask(mountVolume, { volume_id: "vol-of-slow" }));
      for (const volume_id of ["vol-of-plain", "vol-of-sealed"]) {
        await engine.ask(mountVolume, { volume_id });
        await readsAs(volume_id);
      }
    });

    await t.step("a copy that is spoilt is found, read from the store and made anew", async () => {
      await engine.startPredastore();
      for (const volume_id of ["vol-of-plain", "vol-of-sealed"]) {
        await engine.ask(unmountVolume, { volume_id });
        await engine.ask(deleteVolume, { volume_id });
      }
      for (const name of await files()) {
        using file = await Deno.open(join(directory, name), { write: true });
        await file.seek(100, Deno.SeekMode.Start);
        await file.write(new Uint8Array([0xde, 0xad]));
      }
      for (const name of ["plain", "sealed"]) {
        const volume_id = `vol-again-${name}`;
        const snapshot_id = `snap-${name}`;
        await engine.ask(createVolume, { volume_id, size_bytes: 64 * mebibyte, snapshot_id });
        await engine.ask(mountVolume, { volume_id });
        await readsAs(volume_id);
        await isReady(snapshot_id);
      }
      await until("its log says so", () => engine.log().includes(`"event":"kept_object_wrong"`));
    });

    await t.step("copies go when nobody wants them, and with their snapshot", async () => {
      await engine.ask(setFastRestore, { snapshot_id: "snap-plain", wanted: false });
      await until(
        "the plain copies are gone",
        async () => !(await files()).some((name) => name.includes("vol-plain")),
      );
      assert.ok((await files()).some((name) => name.includes("vol-sealed")));
      await engine.ask(deleteSnapshot, { snapshot_id: "snap-sealed" });
      await until("all copies are gone", async () => (await files()).length === 0);
      await readsAs("vol-again-plain");
      await readsAs("vol-again-sealed");
    });
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
});
