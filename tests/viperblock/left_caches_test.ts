/** What a node kept of a volume's chunks is found when the volume is mounted there again, whatever became of it meanwhile. */
import assert from "node:assert/strict";
import { alignedBuffer, DirectFile } from "../../ffi/direct_io.ts";
import {
  createVolume,
  deleteVolume,
  mountVolume,
  unmountVolume,
  volumeMetrics,
} from "../../services/viperblock/contract.ts";
import { blockBytes, cacheFilePattern } from "../../services/viperblock/format.ts";
import { qemuIo, startEngine } from "./engine.ts";

const mebibyte = 1 << 20;
const size_bytes = 32 * mebibyte;

/** Each MiB has a byte of its own. */
const commands = (kind: "read" | "write") =>
  Array.from({ length: 32 }, (_, i) => `${kind} -P ${i + 1} ${i}M 1M`);

/** Turns a bit of every block that is kept. */
async function spoil(path: string): Promise<void> {
  const bytes = alignedBuffer(mebibyte);
  using file = await DirectFile.open(path, { write: true });
  // The first block is the file's own.
  for (let at = blockBytes;; at += mebibyte) {
    const whole = Math.floor(await file.read(bytes, at) / blockBytes) * blockBytes;
    if (whole === 0) return;
    for (let i = 100; i < whole; i += blockBytes) bytes[i] = (bytes[i] as number) ^ 1;
    await file.write(bytes.subarray(0, whole), at);
  }
}

for (const encrypted of [false, true]) {
  Deno.test(`${encrypted ? "an encrypted" : "a"} volume finds the chunks that its node kept when it is attached again`, async (t) => {
    await using engine = await startEngine();
    const volume_id = "vol-left";
    const directory = `${engine.node.paths.service("viperblock")}/volumes/${volume_id}`;
    const names = () => Array.from(Deno.readDirSync(directory), ({ name }) => name);
    const mount = () => engine.ask(mountVolume, { volume_id });
    const unmount = () => engine.ask(unmountVolume, { volume_id });
    const metrics = () => engine.ask(volumeMetrics, { volume_id });
    await engine.ask(createVolume, { volume_id, size_bytes, encrypted });
    await mount();
    await qemuIo(engine.uri(volume_id), ...commands("write"), "flush");
    // What the disk has no time for is kept the next time.
    for (let round = 0;; round++) {
      await unmount();
      await mount();
      await qemuIo(engine.uri(volume_id), ...commands("read"));
      if (((await metrics()).chunk_cache_bytes ?? 0) >= size_bytes) break;
      assert.ok(round < 10, "the chunks are not kept");
    }
    await unmount();

    await t.step("without the store, after a restart", async () => {
      assert.deepEqual(names().filter((name) => !cacheFilePattern.test(name)), []);
      await engine.kill();
      // As an end amid the unmount leaves it.
      await Deno.writeTextFile(`${directory}/log-7.seg`, "what is in the store by now");
      await engine.start();
      assert.deepEqual(names().filter((name) => !cacheFilePattern.test(name)), []);
      await mount();
      await engine.predastore().stop("SIGKILL");
      await qemuIo(engine.uri(volume_id), ...commands("read"));
      const { chunk_cache_hits = 0, chunk_cache_misses, chunk_cache_wrong } = await metrics();
      assert.deepEqual([chunk_cache_misses, chunk_cache_wrong], [0, 0]);
      assert.ok(chunk_cache_hits > 0);
      await engine.startPredastore();
      await unmount();
    });

    await t.step("and what is wrong in them is read from the store", async () => {
      for (const name of names()) await spoil(`${directory}/${name}`);
      await mount();
      await qemuIo(engine.uri(volume_id), ...commands("read"));
      assert.ok(((await metrics()).chunk_cache_wrong ?? 0) > 0);
    });

    await t.step("and what was written over since is what is read", async () => {
      await qemuIo(engine.uri(volume_id), "write -P 0x77 4M 8M", "flush");
      await unmount();
      await mount();
      await qemuIo(
        engine.uri(volume_id),
        "read -P 0x77 4M 8M",
        "read -P 1 0 1M",
        "read -P 13 12M 1M",
      );
    });

    await t.step("they go with the volume", async () => {
      await unmount();
      assert.ok(names().length > 0);
      await engine.ask(deleteVolume, { volume_id });
      assert.throws(() => Deno.statSync(directory), Deno.errors.NotFound);
    });
  });
}
