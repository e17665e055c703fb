/** The log is written here byte by byte as FORMAT.md says, torn, cut and flipped, and read again. */
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { type Random, seeded } from "../../../tests/kit/random.ts";
import {
  batchEntryBytes,
  batchFixedBytes,
  batchMagic,
  batchVersion,
  blockBytes,
  DamagedData,
  segmentBlocks,
} from "../format.ts";
import { writtenIn } from "../machine/found_disk.ts";
import type { LogFile } from "./log_file.ts";
import { replay, type Replayed } from "./replay.ts";

const volumeId = "vol-1";
const sizeBlocks = 1000;

type Entry =
  | { readonly block: number; readonly fill: number }
  | { readonly block: number; readonly holes: number };

interface Batch {
  readonly segment: number;
  readonly epoch: number;
  readonly position: number;
  readonly sequence: number;
  /** The last sequence that was durable when the batch was written. */
  readonly synced?: number;
  /** The first sequence of the epoch. */
  readonly began?: number;
  readonly entries: readonly Entry[];
}

function encode(batch: Batch, id = volumeId): Uint8Array<ArrayBuffer> {
  const data = batch.entries.filter((entry) => "fill" in entry);
  const bytes = new Uint8Array((1 + data.length) * blockBytes);
  const view = new DataView(bytes.buffer);
  const put = (word: number, value: number) => view.setUint32(word * 4, value, true);
  put(0, batchMagic);
  put(1, batchVersion);
  put(3, batch.segment);
  put(4, batch.epoch);
  put(5, batch.position);
  put(6, batch.sequence);
  put(8, data.length);
  put(9, batch.entries.length);
  put(10, batch.synced ?? 0);
  put(12, batch.began ?? 0);
  bytes.set(new TextEncoder().encode(id), 64);
  let written = 0;
  for (const [i, entry] of batch.entries.entries()) {
    const at = batchFixedBytes + i * batchEntryBytes;
    view.setUint32(at, entry.block, true);
    if ("fill" in entry) {
      const from = ++written * blockBytes;
      bytes.fill(entry.fill, from, from + blockBytes);
      view.setUint32(at + 4, crc32c(bytes.subarray(from, from + blockBytes)), true);
    } else {
      view.setUint32(at + 4, entry.holes, true);
      view.setUint32(at + 8, 1, true);
    }
  }
  put(2, crc32c(bytes.subarray(0, blockBytes)));
  return bytes;
}

class MemoryFile implements LogFile {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  constructor(readonly path: string) {}
  write(at: number, bytes: Uint8Array): void {
    if (this.bytes.length < at + bytes.length) {
      const longer = new Uint8Array(at + bytes.length);
      longer.set(this.bytes);
      this.bytes = longer;
    }
    this.bytes.set(bytes, at);
  }
  read(first: number, count: number): Uint8Array<ArrayBuffer> {
    const all = this.bytes.subarray(0, this.bytes.length - this.bytes.length % blockBytes);
    return all.slice(first * blockBytes, (first + count) * blockBytes);
  }
  written(first: number): number {
    const from = writtenIn(this.bytes, first * blockBytes)?.from;
    return from === undefined ? Infinity : from / blockBytes;
  }
}

/** A log of `segments` files with `batches` batches each, and the state after each sequence. */
function write(
  random: Random,
  segments: number,
  batches: number,
  epoch = 1,
  firstSequence = 1,
  synced: (sequence: number) => number = () => 0,
) {
  const files: MemoryFile[] = [];
  const states: Map<number, number>[] = [new Map()];
  const ends: { file: MemoryFile; at: number; length: number }[] = [];
  let sequence = firstSequence;
  for (let number = 1; number <= segments; number++) {
    const file = new MemoryFile(`log-${number}`);
    files.push(file);
    let position = 0;
    for (let i = 0; i < batches; i++) {
      const entries: Entry[] = Array.from({ length: 1 + random.below(6) }, () => {
        const block = random.below(sizeBlocks - 10);
        return random.below(5) === 0
          ? { block, holes: 1 + random.below(10) }
          : { block, fill: 1 + random.below(255) };
      });
      const bytes = encode({
        segment: number,
        epoch,
        position,
        sequence,
        synced: synced(sequence),
        entries,
      });
      file.write(position * blockBytes, bytes);
      ends.push({ file, at: position * blockBytes, length: bytes.length });
      position += bytes.length / blockBytes;
      const state = new Map(states.at(-1));
      for (const entry of entries) {
        if ("fill" in entry) state.set(entry.block, entry.fill);
        else for (let b = entry.block; b < entry.block + entry.holes; b++) state.delete(b);
      }
      states.push(state);
      sequence++;
    }
  }
  return { files, states, ends };
}

function replayed(
  files: readonly MemoryFile[],
  options: Partial<Parameters<typeof replay>[1]> = {},
): { state: Map<number, number>; result: Replayed } {
  const state = new Map<number, number>();
  const bySegment = new Map<number, LogFile>();
  const result = replay(files, {
    volumeId,
    sizeBlocks,
    epoch: 0,
    sequence: 0,
    nextSegment: 1,
    needed: new Set(),
    ...options,
  }, {
    segment: (found) => void bySegment.set(found.number, found.file),
    data: (segment, block, index) =>
      void state.set(block, bySegment.get(segment)?.read(index, 1)[0] ?? 0),
    hole(block, count) {
      for (let b = block; b < block + count; b++) state.delete(b);
    },
  });
  return { state, result };
}

Deno.test("a whole log is replayed in the order in which it was written", () => {
  seeded((random) => {
    const { files, states } = write(random, 3, 20);
    const { state, result } = replayed(files.toReversed());
    assert.deepEqual(state, states.at(-1));
    assert.equal(result.nextSequence, 61);
    assert.equal(result.nextSegment, 4);
  });
});

Deno.test("wherever the log is cut off, what is found is a prefix that has every batch before the cut", () => {
  seeded((random) => {
    for (let i = 0; i < 40; i++) {
      const { files, states, ends } = write(random, 2, 8);
      const cut = random.below(ends.length);
      const { file, at, length } = ends[cut]!;
      // Power went away within batch `cut`: later segments were never begun.
      const kept = files.slice(0, files.indexOf(file) + 1);
      file.bytes = file.bytes.slice(0, at + random.below(length));
      const { state, result } = replayed(kept);
      assert.deepEqual(state, states[cut]);
      assert.equal(result.nextSequence, cut + 1);
    }
  });
});

Deno.test("a flipped bit ends the log before its batch, and is never served", () => {
  seeded((random) => {
    for (let i = 0; i < 40; i++) {
      const { files, states, ends } = write(random, 1, 12);
      const hit = random.below(ends.length);
      const { file, at, length } = ends[hit]!;
      const byte = at + random.below(length);
      file.bytes[byte] = file.bytes[byte]! ^ (1 << random.below(8));
      assert.deepEqual(replayed(files).state, states[hit]);
    }
  });
});

function flip(
  random: Random,
  { file, at, length }: { file: MemoryFile; at: number; length: number },
) {
  const byte = at + random.below(length);
  file.bytes[byte] = file.bytes[byte]! ^ (1 << random.below(8));
}

Deno.test("a flipped bit in what was durable before a later batch is damage, wherever it is", () => {
  seeded((random) => {
    for (let i = 0; i < 60; i++) {
      // A flush after every fourth batch; the batch after it names it.
      const { files, states, ends } = write(
        random,
        3,
        8,
        1,
        1,
        (sequence) => Math.floor((sequence - 1) / 4) * 4,
      );
      const durable = 20;
      const hit = random.below(ends.length);
      flip(random, ends[hit]!);
      if (hit < durable) assert.throws(() => replayed(files), DamagedData);
      else assert.deepEqual(replayed(files).state, states[hit], "the end may be torn");
    }
  });
});

Deno.test("durable batches that are missing altogether are damage: a cut file, a lost one, zeros", () => {
  seeded((random) => {
    const synced = (sequence: number) => sequence - 1;
    for (const damage of ["cut", "lost", "zeros", "many zeros"] as const) {
      const { files, ends } = write(random, 3, 8, 1, 1, synced);
      const middle = files[1]!;
      if (damage === "cut") middle.bytes = middle.bytes.slice(0, ends[10]!.at);
      else if (damage === "lost") files.splice(1, 1);
      else if (damage === "zeros") middle.bytes.fill(0, 0, blockBytes);
      else middle.bytes.fill(0, 0, ends[12]!.at);
      assert.throws(() => replayed(files), DamagedData, damage);
    }
  });
});

Deno.test("a batch that an older life of its place still stands in is damage once it was durable", () => {
  const file = new MemoryFile("log-2");
  const entries = (fill: number) => [{ block: fill, fill }];
  // The place was segment 1 before; the second batch of segment 2 never reached it.
  const at = (position: number, batch: Omit<Batch, "position" | "epoch">) =>
    file.write(position * blockBytes, encode({ ...batch, position, epoch: 1 }));
  at(0, { segment: 2, sequence: 11, synced: 10, entries: entries(11) });
  at(2, { segment: 1, sequence: 2, synced: 1, entries: entries(2) });
  const base = { sequence: 10, epoch: 1, nextSegment: 3 };
  assert.equal(replayed([file], base).result.nextSequence, 12, "an end like any other");
  at(4, { segment: 2, sequence: 13, synced: 11, entries: entries(13) });
  assert.equal(replayed([file], base).result.nextSequence, 12, "it was not durable yet");
  at(6, { segment: 2, sequence: 14, synced: 12, entries: entries(14) });
  assert.throws(() => replayed([file], base), DamagedData);
});

Deno.test("what a void segment says was durable concerns the log that it was part of", () => {
  const entries = (fill: number) => [{ block: fill, fill }];
  const first = new MemoryFile("log-1");
  first.write(
    0,
    encode({ segment: 1, epoch: 1, position: 0, sequence: 1, entries: entries(1) }),
  );
  const late = new MemoryFile("log-2");
  late.write(
    0,
    encode({ segment: 2, epoch: 1, position: 0, sequence: 9, synced: 8, entries: entries(9) }),
  );
  const second = new MemoryFile("log-3");
  second.write(
    0,
    encode({ segment: 3, epoch: 2, position: 0, sequence: 2, synced: 1, entries: [] }),
  );
  assert.equal(replayed([first, late, second]).result.nextSequence, 3);
  assert.throws(() => replayed([first, late]), DamagedData);
});

Deno.test("a log of a release that is not known is refused, not taken for an empty one", () => {
  const file = new MemoryFile("log-1");
  const bytes = encode({ segment: 1, epoch: 1, position: 0, sequence: 1, entries: [] });
  const view = new DataView(bytes.buffer);
  view.setUint32(4, 99, true);
  view.setUint32(8, 0, true);
  view.setUint32(8, crc32c(bytes), true);
  file.write(0, bytes);
  assert.throws(() => replayed([file]), /version 99/);
});

Deno.test("batches after a torn one are not taken, even in a later segment of the same epoch", () => {
  seeded((random) => {
    const { files, states, ends } = write(random, 2, 8);
    const torn = ends[5]!;
    torn.file.bytes.fill(0, torn.at, torn.at + 200);
    const { state, result } = replayed(files);
    assert.deepEqual(state, states[5]);
    assert.deepEqual(result.unused.map((file) => file.path), ["log-2"]);
    assert.equal(result.nextSegment, 3, "the number of the void segment is not used again");
  });
});

Deno.test("what a dead writer wrote late is void once a later epoch has begun", () => {
  const first = new MemoryFile("log-1");
  const data = (fill: number) => [{ block: 1, fill }];
  first.write(0, encode({ segment: 1, epoch: 1, position: 0, sequence: 1, entries: data(1) }));
  // Batch 2 of epoch 1 lands after epoch 2 has begun at sequence 2 without it.
  first.write(
    2 * blockBytes,
    encode({ segment: 1, epoch: 1, position: 2, sequence: 2, entries: data(2) }),
  );
  const late = new MemoryFile("log-2");
  late.write(0, encode({ segment: 2, epoch: 1, position: 0, sequence: 3, entries: data(3) }));
  const second = new MemoryFile("log-3");
  second.write(0, encode({ segment: 3, epoch: 2, position: 0, sequence: 2, entries: [] }));
  second.write(
    blockBytes,
    encode({ segment: 3, epoch: 2, position: 1, sequence: 3, entries: [{ block: 2, fill: 9 }] }),
  );
  const { state, result } = replayed([first, late, second]);
  assert.deepEqual([...state], [[1, 1], [2, 9]]);
  assert.deepEqual(result.unused.map((file) => file.path), ["log-2"]);
});

Deno.test("where a later epoch began is known when its first batch is lost: late batches do not take its place", () => {
  /** Batches `from` to `to`; the first of the epoch has no entries, and was durable before any other was written. */
  const log = (segment: number, epoch: number, began: number, from: number, to: number) => {
    const file = new MemoryFile(`log-${segment}`);
    for (let sequence = from, position = 0; sequence <= to; sequence++) {
      const entries = sequence === began ? [] : [{ block: sequence, fill: sequence }];
      const synced = Math.min(began, sequence - 1);
      const bytes = encode({ segment, epoch, position, sequence, synced, began, entries });
      file.write(position * blockBytes, bytes);
      position += bytes.length / blockBytes;
    }
    return file;
  };
  // Epoch 2 began with batch 2, when batches 2 to 4 of epoch 1 had not landed yet.
  const dead = log(1, 1, 1, 1, 4);
  const first = log(2, 2, 2, 2, 4);
  const second = log(3, 2, 2, 5, 7);
  assert.deepEqual([...replayed([dead, first, second]).state.keys()], [3, 4, 5, 6, 7]);
  assert.throws(() => replayed([dead, second]), /batch 2/, "its whole segment is lost");
  first.bytes.fill(0, 0, blockBytes);
  assert.throws(() => replayed([dead, first, second]), /batch 2/, "only its header");
  assert.throws(() => replayed([dead, first]), /batch 2/, "and nothing else was written");
  const checkpoint = { sequence: 2, epoch: 2, nextSegment: 3 };
  const { state, result } = replayed([dead, first], checkpoint);
  assert.deepEqual([...state], [], "what is newer than a checkpoint is of its epoch");
  assert.equal(result.nextSequence, 3);
});

Deno.test("a batch that is missing although a later epoch had seen it is damage, not an end", () => {
  seeded((random) => {
    const { files, ends } = write(random, 1, 8);
    const next = new MemoryFile("log-2");
    next.write(0, encode({ segment: 2, epoch: 2, position: 0, sequence: 9, entries: [] }));
    assert.equal(replayed([...files, next]).result.nextSequence, 10);
    const torn = ends[4]!;
    torn.file.bytes.fill(0, torn.at, torn.at + 64);
    assert.throws(() => replayed([...files, next]), DamagedData);
  });
});

Deno.test("after a checkpoint only newer batches are replayed, and missing files are damage", () => {
  seeded((random) => {
    const { files, states } = write(random, 3, 10);
    const { result, state } = replayed(files, { sequence: 25, epoch: 1, nextSegment: 4 });
    assert.equal(result.batches, 5);
    assert.deepEqual(result.unused.map((file) => file.path), ["log-1", "log-2"]);
    for (const [block, fill] of state) assert.equal(states.at(-1)?.get(block), fill);
    const needs = { sequence: 25, epoch: 1, nextSegment: 4, needed: new Set([2]) };
    assert.deepEqual(replayed(files, needs).result.unused.map((file) => file.path), ["log-1"]);
    assert.throws(() => replayed([files[0]!, files[2]!], needs), DamagedData);
  });
});

Deno.test("another volume's log, an old life of the file and garbage are not taken", () => {
  seeded((random) => {
    const { files, states } = write(random, 1, 3);
    const other = new MemoryFile("other");
    other.write(
      0,
      encode({ segment: 2, epoch: 1, position: 0, sequence: 4, entries: [] }, "vol-2"),
    );
    const garbage = new MemoryFile("garbage");
    garbage.write(0, crypto.getRandomValues(new Uint8Array(8 * blockBytes)));
    // The file was segment 0 before it became segment 1: its old batches lie behind the new ones.
    const file = files[0]!;
    const end = file.bytes.length / blockBytes;
    file.write(
      end * blockBytes,
      encode({
        segment: 0,
        epoch: 1,
        position: end,
        sequence: 4,
        entries: [{ block: 7, fill: 7 }],
      }),
    );
    const { state, result } = replayed([file, other, garbage]);
    assert.deepEqual(state, states.at(-1));
    assert.equal(result.nextSequence, 4);
    assert.equal(result.unused.length, 2);
  });
});

Deno.test("a sealed header that lies about its sizes is not followed out of its segment", () => {
  const file = new MemoryFile("log-1");
  const bytes = encode({
    segment: 1,
    epoch: 1,
    position: 0,
    sequence: 1,
    entries: [{ block: sizeBlocks, fill: 1 }],
  });
  file.write(0, bytes);
  assert.equal(replayed([file]).result.batches, 0, "a block outside the volume");
  const view = new DataView(bytes.buffer);
  view.setUint32(5 * 4, segmentBlocks - 1, true);
  view.setUint32(2 * 4, 0, true);
  view.setUint32(2 * 4, crc32c(bytes.subarray(0, blockBytes)), true);
  file.write(0, bytes);
  assert.equal(replayed([file]).result.batches, 0, "data beyond the segment's end");
});
