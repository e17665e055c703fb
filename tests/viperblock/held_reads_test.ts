/**
 * Reads that are answered from the read cache's own place: whoever reads its replies late gets what was there when it
 * asked, whatever else has been brought into the cache since.
 */
import assert from "node:assert/strict";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { run } from "./engine.ts";
import { connectNbd, NbdClient, readExactly, writeAll } from "./nbd_client.ts";

const blockBytes = 4096;
const replyBytes = 16 + blockBytes;
const cachedBlocks = 64;

async function withVolume(work: (socket: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-held-", dir: "/var/tmp" });
  const socket = `${directory}/nbd`;
  const cacheBytes = cachedBlocks * blockBytes;
  let engine: BareEngine | undefined;
  try {
    engine = await startBare({ directory, socket, sizeBytes: 64 << 20, epoch: 1, cacheBytes });
    await work(socket);
  } finally {
    await engine?.kill();
    await Deno.remove(directory, { recursive: true });
  }
}

/** What block `block` holds: no two are the same. */
const content = (block: number) =>
  new Uint8Array(
    Uint32Array.from({ length: blockBytes / 4 }, (_, i) => block * 4096 + i + 1).buffer,
  );

/** Requests of as many reads, with their numbers for handles. */
function readRequests(count: number, length: number, offset: (i: number) => number) {
  const message = new Uint8Array(count * 28);
  const view = new DataView(message.buffer);
  for (let i = 0; i < count; i++) {
    view.setUint32(i * 28, 0x25609513);
    view.setBigUint64(i * 28 + 8, BigInt(i));
    view.setBigUint64(i * 28 + 16, BigInt(offset(i)));
    view.setUint32(i * 28 + 24, length);
  }
  return message;
}

Deno.test("replies that a client leaves unread are not changed by what others bring into the cache", async () => {
  await withVolume(async (socket) => {
    const asked = 32;
    const others = 8 * cachedBlocks;
    /** More than socket buffers take: most of the replies wait in the engine. */
    const requests = 3000;
    await using other = await NbdClient.connect(socket, "vol-bare");
    const blocks = Array.from({ length: asked + others }, (_, block) => content(block));
    for (const [block, bytes] of blocks.entries()) await other.write(block * blockBytes, bytes);
    await other.flush();
    for (let block = 0; block < asked; block++) await other.read(block * blockBytes, blockBytes);

    const { connection } = await connectNbd(socket, "vol-bare");
    using late = connection;
    await writeAll(late, readRequests(requests, blockBytes, (i) => i % asked * blockBytes));
    for (let block = asked; block < asked + others; block++) {
      const bytes = await other.read(block * blockBytes, blockBytes);
      assert.deepEqual(bytes, blocks[block]);
    }

    const answered = new Set<number>();
    for (let i = 0; i < requests; i++) {
      const reply = await readExactly(late, replyBytes);
      const head = new DataView(reply.buffer);
      assert.equal(head.getUint32(0), 0x67446698);
      assert.equal(head.getUint32(4), 0);
      const number = Number(head.getBigUint64(8));
      answered.add(number);
      assert.deepEqual(reply.subarray(16), blocks[number % asked], `read ${number}`);
    }
    assert.equal(answered.size, requests);
    // What was held is let go: the cache has room for others again.
    for (let round = 0; round < 2; round++) {
      for (let block = 0; block < asked + others; block++) {
        assert.deepEqual(await other.read(block * blockBytes, blockBytes), blocks[block]);
      }
    }
  });
});

Deno.test("a client with structured replies reads the same from the disk and from the cache", async () => {
  await withVolume(async (socket) => {
    await using client = await NbdClient.connect(socket, "vol-bare");
    await client.write(blockBytes, new Uint8Array(blockBytes).fill(0x5a));
    await client.flush();
    const uri = `nbd+unix:///vol-bare?socket=${socket}`;
    const read = "read -P 0x5a 4096 4096";
    const written = await run("qemu-io", ["-f", "raw", "-c", read, "-c", read, "-c", read, uri]);
    assert.equal(written.match(/read 4096\/4096 bytes/g)?.length, 3);
    assert.doesNotMatch(written, /verification failed/);
    await client.trim(blockBytes, blockBytes);
    await run("qemu-io", ["-f", "raw", "-c", "read -P 0 4096 4096", uri]);
  });
});

Deno.test("parts of blocks are zeroed when there is room again, though a client leaves its replies unread", async () => {
  await withVolume(async (socket) => {
    /** More than socket buffers take. */
    const requests = 3000;
    const length = 2 * blockBytes;
    await using other = await NbdClient.connect(socket, "vol-bare");
    await other.write(0, new Uint8Array(length).fill(7));
    const { connection } = await connectNbd(socket, "vol-bare");
    using late = connection;
    await writeAll(late, readRequests(requests, length, () => 0));
    const first = await readExactly(late, 16 + length);
    // It has seen them all by now, and has no memory left to read into.
    const zeroed = (async () => {
      for (let i = 0; i < 8; i++) await other.zero(512 + i * 1024, 512);
    })();
    const over = zeroed.catch(() => {});
    // What another client asks is answered meanwhile; by then the zeroing has been looked at.
    await using third = await NbdClient.connect(socket, "vol-bare");
    for (let i = 0; i < 20; i++) await third.flush();
    let last = first;
    for (let i = 1; i < requests; i++) last = await readExactly(late, 16 + length);
    await over;
    await zeroed;
    assert.ok(last.subarray(16).every((byte) => byte === 7 || byte === 0));
    const now = await other.read(0, length);
    assert.ok(now.every((byte, at) => byte === (at % 1024 >= 512 ? 0 : 7)));
  });
});
