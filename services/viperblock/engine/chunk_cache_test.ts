import assert from "node:assert/strict";
import { mapMemory } from "../../../ffi/libc.ts";
import { CacheSeal } from "../encryption/cache_seal.ts";
import { VolumeKey } from "../encryption/volume_key.ts";
import { blockBytes, cacheFileBytes, chunkBlocks, chunkContainer } from "../format.ts";
import { LocalFiles } from "../log/volume_files.ts";
import { simulatedMachine } from "../machine/simulated.ts";
import { SimulatedDisk } from "../machine/simulated_disk.ts";
import { World } from "../machine/simulated_world.ts";
import { BlockMap } from "../maps/block_map.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { KeptChunk } from "./cache_slots.ts";
import { ChunkCache } from "./chunk_cache.ts";
import { windowBlocks, windowBytes } from "./fetcher.ts";
import { Places } from "./places.ts";

const directory = "/volume";
const chunk = mapMemory(4 * windowBytes);

/** A cache on a simulated disk that does all it is asked for, and chunks of 600 blocks: two windows and a part of one. */
class Bench {
  readonly world = new World({ next: () => 0.99, below: (end) => end - 1 });
  readonly disk = new SimulatedDisk(this.world, directory, blockBytes);
  readonly places = new Places(new BlockMap(100_000));
  readonly messages: FromWorker[] = [];
  readonly #said: string[] = [];
  machine = simulatedMachine(this.world, this.disk);
  cache: ChunkCache;

  constructor(readonly files = 2, readonly key?: VolumeKey) {
    this.cache = this.open();
  }

  open(files = this.files, slots = 2): ChunkCache {
    this.machine = simulatedMachine(this.world, this.disk);
    return this.cache = new ChunkCache({
      machine: this.machine,
      volumeId: "vol-1",
      places: this.places,
      files,
      slots,
      ...(this.key === undefined ? {} : { seal: new CacheSeal(this.key) }),
      post: (message) => this.messages.push(message),
    });
  }

  /** The process ends, and another begins. */
  reopen(): ChunkCache {
    this.machine.ring.crash();
    this.disk.processEnd();
    this.machine.releaseAll();
    return this.open();
  }

  addChunk(blocks = 600): number {
    const number = this.places.addChunk(
      { owner: "vol-1", epoch: 1, sequence: this.places.chunks.length + 1 },
      blocks,
    );
    for (let i = 0; i < blocks; i++) {
      this.places.place(number * 1000 + i, chunkContainer(number), i, 1);
    }
    return number;
  }

  #taken() {
    return this.messages.splice(0).map(({ kind }) => kind);
  }

  /** Makes the files that are asked for. */
  async #serve(): Promise<void> {
    const kinds = this.#taken();
    for (const kind of kinds) {
      if (kind !== "cache_wanted") continue;
      const files = new LocalFiles({
        system: this.disk,
        directory,
        reserveBytes: 0,
        cacheFileBytes: (1 + 2 * chunkBlocks) * blockBytes,
      });
      let path: string | undefined;
      files.makeCache().then((made) => path = made);
      for (let i = 0; i < 1000 && path === undefined; i++) {
        for (let tick = 0; tick < 8; tick++) await null;
        this.world.step();
      }
      this.cache.fileCame(path as string);
    }
    this.#said.push(...kinds.filter((kind) => kind !== "cache_wanted"));
  }

  /** What was said since this was asked last, beside asking for files. */
  async said(): Promise<string[]> {
    await this.#serve();
    return this.#said.splice(0);
  }

  settle(): void {
    for (let i = 0; i < 1000 && !this.cache.idle; i++) {
      this.cache.advance();
      this.machine.ring.turn();
      this.world.step();
    }
    assert.ok(this.cache.idle);
  }

  async keep(number: number): Promise<void> {
    this.cache.prepare();
    await this.#serve();
    chunk.bytes.fill(number + 1);
    this.cache.keepAll(number, chunk, 0);
    this.settle();
  }

  /** Reads the chunk's last block as the reader does; returns its first byte, undefined when it is not here. */
  read(number: number): number | undefined {
    const container = chunkContainer(number);
    const kept = this.cache.take(container, 599, 1);
    if (kept === undefined) return undefined;
    const memory = mapMemory(blockBytes);
    const length = this.disk.read(kept.file.fd, memory, blockBytes, kept.at + 599 * blockBytes);
    assert.equal(length, blockBytes);
    this.cache.open(container, 599, memory, 0);
    this.cache.done(kept, container, 1, true);
    return memory.bytes[0];
  }
}

Deno.test("what was kept of a chunk is read, window by window, also after the process ended", async () => {
  const bench = new Bench();
  const [first, second] = [bench.addChunk(), bench.addChunk()];
  await bench.keep(first);
  chunk.bytes.fill(9);
  bench.cache.keep(second, 2, chunk, 0);
  bench.settle();
  for (let life = 0; life < 2; life++) {
    assert.equal(bench.read(first), 1);
    assert.equal(bench.read(second), 9);
    assert.deepEqual([0, 1, 2].map((window) => bench.cache.has(first, window)), [true, true, true]);
    assert.deepEqual([0, 1, 2].map((w) => bench.cache.has(second, w)), [false, false, true]);
    assert.equal(bench.cache.take(chunkContainer(second), 3, 1), undefined);
    bench.reopen();
  }
});

Deno.test("what an encrypted volume keeps lies sealed, and is read as it was", async () => {
  const bench = new Bench(1, VolumeKey.make());
  const number = bench.addChunk();
  await bench.keep(number);
  assert.equal(bench.read(number), 1);
  const [bytes] = bench.disk.contents();
  const plain = new Uint8Array(64).fill(1).toHex();
  assert.ok(!bytes?.subarray(blockBytes, 4 * blockBytes).toHex().includes(plain));
  bench.reopen();
  assert.equal(bench.read(number), 1);
});

Deno.test("a full cache gives up what is dead, then what was not read, and never what is being read", async () => {
  const bench = new Bench(1);
  const [a, b, c, d] = [bench.addChunk(), bench.addChunk(), bench.addChunk(), bench.addChunk()];
  await bench.keep(a);
  await bench.keep(b);
  assert.equal(bench.read(a), 1);
  await bench.keep(c);
  assert.deepEqual([a, b, c].map((each) => bench.read(each)), [1, undefined, 3]);
  bench.places.clear(a * 1000, 600);
  await bench.keep(d);
  assert.deepEqual([a, c, d].map((each) => bench.read(each)), [undefined, 3, 4]);
  const held = [c, d].map((each) => bench.cache.take(chunkContainer(each), 0, 1) as KeptChunk);
  await bench.keep(b);
  assert.equal(bench.read(b), undefined);
  assert.deepEqual([c, d].map((each) => bench.read(each)), [3, 4]);
  for (const [i, kept] of held.entries()) {
    bench.cache.done(kept, chunkContainer([c, d][i] as number), 1, true);
  }
  await bench.keep(b);
  assert.equal(bench.read(b), 2);
});

Deno.test("a wrong block takes its chunk out of the cache, and is told once", async () => {
  const bench = new Bench();
  const numbers = [bench.addChunk(), bench.addChunk()];
  for (const number of numbers) {
    await bench.keep(number);
    const kept = bench.cache.take(chunkContainer(number), 0, 1) as KeptChunk;
    bench.cache.done(kept, chunkContainer(number), 1, false);
    assert.equal(bench.read(number), undefined);
  }
  bench.settle();
  assert.deepEqual(await bench.said(), ["log"]);
  assert.equal(bench.cache.wrong, 2);
  bench.reopen();
  assert.equal(bench.read(numbers[0] as number), undefined);
});

Deno.test("a file is given back when the log needs room, as soon as nobody reads from it, and none is asked for at once", async () => {
  const bench = new Bench(1);
  const number = bench.addChunk();
  await bench.keep(number);
  const kept = bench.cache.take(chunkContainer(number), 0, 1) as KeptChunk;
  bench.cache.giveWay();
  assert.deepEqual(await bench.said(), []);
  assert.ok(bench.disk.isOpen(kept.file.fd));
  assert.ok(bench.cache.uses(number));
  bench.cache.done(kept, chunkContainer(number), 1, true);
  assert.ok(!bench.cache.uses(number));
  assert.deepEqual(await bench.said(), ["drop_file"]);
  assert.ok(!bench.disk.isOpen(kept.file.fd));
  bench.cache.prepare();
  assert.deepEqual(bench.messages, []);
  bench.cache.giveWay();
  assert.equal(bench.read(number), undefined);
});

Deno.test("files beyond what is allowed, and those that are no files of this cache, are dropped", async () => {
  const bench = new Bench(2);
  for (let i = 0; i < 4; i++) await bench.keep(bench.addChunk());
  assert.equal(bench.disk.cacheFiles().length, 2);
  bench.cache.allow(1);
  assert.deepEqual(await bench.said(), ["drop_file"]);
  bench.cache.allow(0);
  assert.deepEqual(await bench.said(), ["drop_file"]);
  assert.equal(bench.cache.statistics().chunk_cache_bytes, 0);
  bench.reopen();
  assert.equal(bench.cache.statistics().chunk_cache_files, 2);
  bench.machine.ring.crash();
  bench.disk.processEnd();
  bench.open(2, 3);
  assert.deepEqual(await bench.said(), ["drop_file", "drop_file"]);
});

Deno.test("windows that come while all buffers are on their way are not kept, and nobody waits", async () => {
  const bench = new Bench(2);
  bench.cache.prepare();
  await bench.said();
  const [first, second] = [bench.addChunk(1024), bench.addChunk(1024)];
  bench.cache.keepAll(first, chunk, 0);
  bench.cache.keepAll(second, chunk, 0);
  bench.settle();
  const windows = [0, 1, 2, 3];
  assert.ok(windows.every((window) => bench.cache.has(first, window)));
  assert.ok(windows.every((window) => !bench.cache.has(second, window)));
  assert.equal(bench.cache.skipped, 4);
  assert.equal(bench.cache.statistics().chunk_cache_bytes, 4 * windowBytes);
  assert.equal(windowBlocks * 4 * blockBytes * 32 + blockBytes, cacheFileBytes);
});
