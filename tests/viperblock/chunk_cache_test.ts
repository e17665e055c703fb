/**
 * A volume that is larger than its log is read from its node's own disk: all of it while the store has nothing, also
 * after kill -9; and what is wrong there is read from the store.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { alignedBuffer, DirectFile } from "../../ffi/direct_io.ts";
import { plaintextIn } from "../sim/plaintext.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";

const block = 4096;
const mebibyte = 1 << 20;
/** The log has four files of 32 MiB. */
const sizeBytes = 160 * mebibyte;

/** Each block is one word over and over, its number and more. */
function content(at: number): Uint8Array {
  const words = new Uint32Array(mebibyte / 4);
  for (let i = 0; i < words.length; i++) {
    words[i] = 0x5000_0000 + Math.floor((at + i * 4) / block);
  }
  return new Uint8Array(words.buffer);
}

async function readsRight(client: NbdClient): Promise<void> {
  for (let at = 0; at < sizeBytes; at += mebibyte) {
    const bytes = await client.read(at, mebibyte);
    assert.ok(Buffer.from(bytes).equals(content(at)), `what lies at ${at} is not what was written`);
  }
}

/** The store has nothing until it is back. */
async function withoutStore(directory: string, work: () => Promise<void>): Promise<void> {
  // What is drained meanwhile is drained later.
  await Deno.writeTextFile(`${directory}/objects.down`, "");
  await Deno.rename(`${directory}/objects`, `${directory}/away`);
  try {
    await work();
  } finally {
    await Deno.rename(`${directory}/away`, `${directory}/objects`);
    await Deno.remove(`${directory}/objects.down`);
  }
}

/** Reads until all of it is on the disk: what the disk had no time for is kept the next time. */
async function untilKept(client: NbdClient, directory: string): Promise<void> {
  for (let tries = 1;; tries++) {
    await readsRight(client);
    try {
      await withoutStore(directory, () => readsRight(client));
      return;
    } catch (error) {
      if (!(error instanceof NbdFailure) || tries === 10) throw error;
    }
  }
}

const cacheFiles = (directory: string) =>
  Array.from(Deno.readDirSync(`${directory}/log`), ({ name }) => `${directory}/log/${name}`)
    .filter((path) => path.endsWith(".chk"));

/**
 * Turns a bit of every block that is kept: past the page cache, as the engine writes there meanwhile. The kernel
 * answers EIO to the sync of a file that one writes so and another through the cache.
 */
async function spoil(directory: string): Promise<void> {
  const bytes = alignedBuffer(mebibyte);
  for (const path of cacheFiles(directory)) {
    using file = await DirectFile.open(path, { write: true });
    // The first block is the file's own.
    for (let at = block;; at += mebibyte) {
      const whole = Math.floor(await file.read(bytes, at) / block) * block;
      if (whole === 0) break;
      for (let i = 100; i < whole; i += block) bytes[i] = (bytes[i] as number) ^ 1;
      await file.write(bytes.subarray(0, whole), at);
    }
    await file.sync();
  }
}

for (const key of [undefined, "5a".repeat(32)]) {
  const kind = key === undefined ? "a" : "an encrypted";
  Deno.test(`${kind} volume larger than its log is read from the node's disk, and what is wrong there from the store`, async () => {
    const directory = await Deno.makeTempDir({ prefix: "mulga-cache-", dir: "/var/tmp" });
    const socket = `${directory}/nbd`;
    let engine: BareEngine | undefined;
    const start = (epoch: number) =>
      startBare({
        directory,
        socket,
        sizeBytes,
        epoch,
        segmentBudget: 4,
        cacheBytes: 4 * mebibyte,
        cacheFiles: 2,
        ...(key === undefined ? {} : { key }),
      });
    try {
      engine = await start(1);
      {
        await using client = await NbdClient.connect(socket, "vol-bare");
        for (let at = 0; at < sizeBytes; at += mebibyte) await client.write(at, content(at));
        await client.flush();
        await untilKept(client, directory);
        await spoil(directory);
        // The disk alone has nothing right now, so that what is read next is from the store.
        await assert.rejects(withoutStore(directory, () => readsRight(client)), NbdFailure);
        await readsRight(client);
        await untilKept(client, directory);
      }
      await engine.kill();
      if (key !== undefined) {
        for (const path of cacheFiles(directory)) {
          assert.equal(plaintextIn(await Deno.readFile(path)), undefined);
        }
      }
      await withoutStore(directory, async () => {
        engine = await start(2);
        await using client = await NbdClient.connect(socket, "vol-bare");
        await readsRight(client);
      });
      await spoil(directory);
      await engine.kill();
      engine = await start(3);
      await using client = await NbdClient.connect(socket, "vol-bare");
      await readsRight(client);
    } finally {
      await engine?.kill();
      await Deno.remove(directory, { recursive: true });
    }
  });
}
