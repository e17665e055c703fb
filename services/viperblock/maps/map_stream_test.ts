import { joined } from "../../aws/bytes.ts";
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { type Random, seeded } from "../../../tests/kit/random.ts";
import { type StoredBytes, storedBytes } from "../machine/stored_bytes.ts";
import { loadMap, readMapFrom } from "./map_reader.ts";
import { BlockMap, maximumIndex } from "./block_map.ts";
import { chunkContainer, DamagedData, mapHeaderBytes } from "../format.ts";
import {
  mapTailBytes,
  MapWriter,
  readChunkTable,
  readMapHead,
  smallestPiece,
  type StoredChunk,
} from "./map_stream.ts";

const head = {
  volumeId: "vol-1",
  epoch: 3,
  sizeBlocks: 50_000,
  sequence: 2 ** 33 + 1,
  nextSegment: 9,
};

function made(random: Random) {
  const map = new BlockMap(head.sizeBlocks);
  const model = new Map<number, readonly number[]>();
  const chunks: (StoredChunk | undefined)[] = Array.from(
    { length: 1500 },
    (_, i) =>
      i % 3 === 0 ? undefined : {
        name: { owner: `vol-${i % 7}`, epoch: i, sequence: i * 2 },
        blocks: 1024,
        live: i % 5,
      },
  );
  for (let i = 0; i < 4000; i++) {
    const first = random.below(head.sizeBlocks - 64);
    const container = random.below(2) === 0 ? chunkContainer(random.below(1500)) : 1 + i;
    for (let k = 0; k < 1 + random.below(64); k++) {
      const triple = [container, k + 1, random.below(2 ** 32)] as const;
      map.set(first + k, ...triple);
      model.set(first + k, triple);
    }
  }
  const writer = new MapWriter(head, map.capture(), chunks);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(smallestPiece);
    parts.push(piece.slice(0, writer.fill(piece)));
  }
  const bytes = joined(parts);
  return { bytes, model, chunks };
}

/** Through a window much smaller than the map, which comes in pieces of any length. */
function readInWindows(bytes: Uint8Array<ArrayBuffer>, random: Random) {
  const read = new Map<number, readonly number[]>();
  const table: (StoredChunk | undefined)[] = [];
  const stored = storedBytes(bytes);
  const some: StoredBytes = {
    ...stored,
    read: (into) => stored.read(into.subarray(0, 1 + random.below(9000))),
  };
  const found = readMapFrom(some, {
    head() {},
    chunk: (number, chunk) => table[number] = chunk,
    run(first, count, container, index, checksums, at) {
      for (let i = 0; i < count; i++) {
        read.set(first + i, [container, index + i, checksums[at + i] ?? NaN]);
      }
    },
  }, 16384);
  return { found, read, table };
}

const nothing = { chunk() {}, block() {} };

Deno.test("a map that was written in pieces is read back equal", () => {
  seeded((random) => {
    const { bytes, model, chunks } = made(random);
    const read = new Map<number, readonly number[]>();
    const table: (StoredChunk | undefined)[] = [];
    const found = loadMap(bytes, {
      chunk: (number, chunk) => table[number] = chunk,
      block: (block, ...triple) => read.set(block, triple),
    });
    const { tableChecksum, ...rest } = found;
    assert.deepEqual(rest, { ...head, chunkCount: 1500 });
    assert.notEqual(tableChecksum, 0);
    assert.deepEqual(read, model);
    assert.deepEqual(table, chunks.map((chunk) => chunk?.live === 0 ? undefined : chunk));
    assert.deepEqual(readChunkTable(bytes, readMapHead(bytes)), table);
    assert.deepEqual(readInWindows(bytes, random), { found, read, table });
  });
});

Deno.test("a map with any bit flipped or any end cut off is refused before anything is visited", () => {
  seeded((random) => {
    const { bytes } = made(random);
    const visitor = {
      chunk: () => assert.fail("a damaged map was visited"),
      block: () => assert.fail("a damaged map was visited"),
    };
    for (let i = 0; i < 60; i++) {
      const damaged = bytes.slice();
      // The last four bytes are padding and carry nothing.
      const at = random.below(bytes.length - 4);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << random.below(8));
      assert.throws(() => loadMap(damaged, visitor), DamagedData);
      assert.throws(() => readInWindows(damaged, random), DamagedData);
      assert.throws(
        () => loadMap(bytes.slice(0, random.below(bytes.length)), visitor),
        DamagedData,
      );
      const cut = bytes.slice(0, random.below(bytes.length - 4));
      assert.throws(() => readInWindows(cut, random), DamagedData);
    }
    loadMap(bytes, nothing);
  });
});

Deno.test("a map that names a place which no chunk or segment has is refused", () => {
  const map = new BlockMap(head.sizeBlocks);
  map.set(7, chunkContainer(0), maximumIndex, 1);
  const writer = new MapWriter(head, map.capture(), []);
  const piece = new Uint8Array(smallestPiece);
  const bytes = piece.slice(0, writer.fill(piece));
  loadMap(bytes, nothing);
  const words = new Uint32Array(bytes.buffer);
  words[(mapHeaderBytes >> 2) + 3] = maximumIndex + 1;
  const end = bytes.length - mapTailBytes;
  words[end >> 2] = crc32c(bytes.subarray(0, end));
  assert.throws(() => loadMap(bytes, nothing), DamagedData);
  seeded((random) => {
    assert.throws(() => readInWindows(bytes, random), DamagedData);
  });
});
