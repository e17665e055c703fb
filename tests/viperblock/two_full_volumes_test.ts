/** Volumes that fill one disk together: what is asked for ends, nothing that was acknowledged is lost, and all go on when there is room. */
import assert from "node:assert/strict";
import { fileSystemSpace } from "../../ffi/libc.ts";
import { createLog } from "../../services/log/log.ts";
import { openVolume } from "../../services/viperblock/mounts/open_volume.ts";
import { directoryStore } from "./bare_engine.ts";
import { run } from "./engine.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";

const mebibyte = 1 << 20;
const enospc = 28;
const reserveBytes = 96 * mebibyte;
const names = ["vol-a", "vol-b", "vol-c"];

/** A disk of its own, of which nobody else takes anything. */
async function smallDisk(bytes: number) {
  const home = await Deno.makeTempDir({ prefix: "mulga-two-", dir: "/var/tmp" });
  const [image, at] = [`${home}/disk.img`, `${home}/disk`];
  await Deno.mkdir(at);
  await Deno.mkdir(`${home}/objects`);
  await Deno.writeTextFile(image, "");
  await Deno.truncate(image, bytes);
  await run("mkfs.ext4", ["-q", "-m", "0", image]);
  await run("mount", ["-o", "loop", image, at]);
  return {
    at,
    objects: `${home}/objects`,
    async [Symbol.asyncDispose]() {
      await run("umount", [at]);
      await Deno.remove(home, { recursive: true });
    },
  };
}

class Writer {
  written = 0;
  constructor(readonly client: NbdClient, readonly salt: number) {}

  #mib(index: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(mebibyte).fill(1 + (index * 7 + this.salt) % 255);
  }

  /** Writes and flushes until there is no room, or so many MiB are there. */
  async fill(to: number): Promise<void> {
    while (this.written < to) {
      try {
        await this.client.write(this.written * mebibyte, this.#mib(this.written));
      } catch (error) {
        assert.ok(error instanceof NbdFailure);
        assert.equal(error.code, enospc);
        return;
      } finally {
        await this.client.flush();
      }
      this.written++;
    }
  }

  async check(): Promise<void> {
    for (let i = 0; i < this.written; i++) {
      const found = Buffer.from(await this.client.read(i * mebibyte, mebibyte));
      assert.ok(found.equals(this.#mib(i)), `MiB ${i} is what was acknowledged`);
    }
  }
}

Deno.test(
  "volumes that fill one disk keep out of its reserve, flush, lose nothing, and go on when there is room again",
  { ignore: Deno.uid() !== 0 },
  async () => {
    await using disk = await smallDisk(640 * mebibyte);
    await Deno.writeTextFile(`${disk.objects}.down`, "");
    const volumes = await Promise.all(names.map(async (volumeId) => {
      const directory = `${disk.at}/${volumeId}`;
      await Deno.mkdir(directory);
      return await openVolume({
        volumeId,
        sizeBytes: 512 * mebibyte,
        epoch: 1,
        savedEpoch: 0,
        directory,
        socket: `${disk.at}/${volumeId}.nbd`,
        store: directoryStore(`${disk.objects}`),
        log: createLog("test", { write: () => {} }),
        cacheBytes: 8 * mebibyte,
        segmentBudget: 16,
        reserveBytes,
        spacePatienceMs: 300,
      }, () => Promise.resolve({ kind: "empty" }));
    }));
    try {
      const writers = await Promise.all(
        names.map(async (name, i) =>
          new Writer(await NbdClient.connect(`${disk.at}/${name}.nbd`, name), i)
        ),
      );
      const all = (work: (writer: Writer) => Promise<void>) => Promise.all(writers.map(work));
      await all((writer) => writer.fill(512));
      assert.ok(writers.every(({ written }) => written > 0 && written < 512));
      const { available_bytes } = fileSystemSpace(disk.at);
      // What the file system takes for names and journal is its own.
      assert.ok(available_bytes > reserveBytes - mebibyte, `${available_bytes} bytes are left`);
      // Somebody else takes even the reserve.
      const filler = await Deno.open(`${disk.at}/filler`, { write: true, createNew: true });
      try {
        for (;;) await filler.write(new Uint8Array(mebibyte));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "ENOSPC");
      } finally {
        filler.close();
      }
      await all((writer) => writer.client.flush());
      await all((writer) => writer.fill(writer.written + 1));
      await all((writer) => writer.check());
      await Deno.remove(`${disk.objects}.down`);
      await all((writer) => writer.check());
      await Deno.remove(`${disk.at}/filler`);
      const limit = performance.now() + 200_000;
      const goals = writers.map(({ written }) => Math.min(512, written + 100));
      while (
        writers.some(({ written }, i) => written < (goals[i] ?? 0)) && performance.now() < limit
      ) await Promise.all(writers.map((writer, i) => writer.fill(goals[i] ?? 0)));
      assert.deepEqual(writers.map(({ written }) => written), goals, "all go on");
      await all((writer) => writer.check());
      for (const { client } of writers) await client[Symbol.asyncDispose]();
    } finally {
      await Promise.all(volumes.map((volume) => volume.stop()));
    }
  },
);
