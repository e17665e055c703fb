/** What is told of a log in which durable batches are missing, and what its end hides. */
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { writtenIn } from "../machine/found_disk.ts";
import { DamagedLog, type LostBatches } from "./damaged_log.ts";
import { batchVersion, blockBytes } from "../format.ts";
import { firstEntryWord, headerWord, prepareHeader, sealHeader } from "./log_record.ts";

interface Made {
  readonly sequence: number;
  readonly synced: number;
  readonly segment?: number;
  readonly epoch?: number;
  /** The first sequence of the epoch. */
  readonly began?: number;
}

/** A batch of two blocks, all in the place that its sequence gives it in segment 1. */
function batch({ sequence, synced, segment = 1, epoch = 1, began }: Made): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(3 * blockBytes);
  const words = new Uint32Array(bytes.buffer);
  prepareHeader(bytes.subarray(0, blockBytes), "vol-1", epoch, batchVersion, began);
  words[headerWord.segment] = segment;
  words[headerWord.position] = (sequence - 1) * 3;
  words[headerWord.sequenceLow] = sequence;
  words[headerWord.dataCount] = words[headerWord.entryCount] = 2;
  words[headerWord.syncedLow] = synced;
  for (let i = 0; i < 2; i++) {
    const data = bytes.subarray((i + 1) * blockBytes, (i + 2) * blockBytes).fill(sequence + i);
    words[firstEntryWord + i * 3] = sequence * 10 + i;
    words[firstEntryWord + i * 3 + 1] = crc32c(data);
  }
  sealHeader(bytes.subarray(0, blockBytes));
  return bytes;
}

/** What is told of one file for each segment. */
function told(made: readonly Made[], change: (bytes: Uint8Array) => void) {
  const files = [...Map.groupBy(made, ({ segment = 1 }) => segment)].map(([number, batches]) => {
    const last = Math.max(...made.map(({ sequence }) => sequence));
    const bytes = new Uint8Array(3 * blockBytes * last);
    for (const each of batches) bytes.set(batch(each), (each.sequence - 1) * 3 * blockBytes);
    change(bytes);
    const read = (first: number, count: number) =>
      bytes.slice(first * blockBytes, (first + count) * blockBytes);
    const written = (first: number) =>
      (writtenIn(bytes, first * blockBytes)?.from ?? Infinity) / blockBytes;
    return { path: `log-${number}`, read, written };
  });
  const log = new DamagedLog(files, { volumeId: "vol-1", sizeBlocks: 1000 });
  const blocks: number[] = [];
  const lost: LostBatches[] = [];
  log.read({ sequence: 0, epoch: 1 }, {
    data: (_segment, block) => void blocks.push(block),
    hole() {},
    lost: (batches) => {
      lost.push(batches);
      return false;
    },
  });
  return { blocks, lost, mended: log.mended };
}

const four = [1, 2, 3, 4].map((sequence) => ({ sequence, synced: Math.min(2, sequence - 1) }));
const wipe = (bytes: Uint8Array, sequence: number, block = 0) =>
  bytes.fill(
    0xee,
    ((sequence - 1) * 3 + block) * blockBytes,
    ((sequence - 1) * 3 + block + 1) * blockBytes,
  );

Deno.test("a durable batch without a header is lost, also when only a torn one names it", () => {
  assert.deepEqual(told(four, () => {}).blocks, [10, 11, 20, 21, 30, 31, 40, 41]);
  const lost = [{ from: 2, to: 2 }];
  assert.deepEqual(told(four, (bytes) => wipe(bytes, 2)), { blocks: [10, 11], lost, mended: [] });
  const torn = told(four, (bytes) => {
    wipe(bytes, 2);
    wipe(bytes, 3, 2);
    wipe(bytes, 4);
  });
  assert.deepEqual(torn, { blocks: [10, 11], lost, mended: [] });
});

Deno.test("durable data that is damaged is told by its entries; what was not durable ends the log", () => {
  assert.deepEqual(told(four, (bytes) => wipe(bytes, 2, 1)).blocks.length, 8);
  assert.deepEqual(told(four, (bytes) => wipe(bytes, 3, 1)), {
    blocks: [10, 11, 20, 21],
    lost: [],
    mended: [],
  });
});

Deno.test("any one wrong bit of a header is set right, and two are not", () => {
  for (const bit of [0, 31, 40, 70, 100, 200, 511, 1030, 32767]) {
    const flip = (bytes: Uint8Array, at: number) => {
      bytes[3 * blockBytes + (at >> 3)]! ^= 1 << (at & 7);
    };
    const { blocks, mended } = told(four, (bytes) => flip(bytes, bit));
    assert.deepEqual(blocks, [10, 11, 20, 21, 30, 31, 40, 41], `bit ${bit}`);
    assert.deepEqual(mended, [2]);
    const two = told(four, (bytes) => {
      flip(bytes, bit);
      flip(bytes, 9000);
    });
    assert.deepEqual(two.lost, [{ from: 2, to: 2 }], `bits ${bit} and 9000`);
  }
});

Deno.test("a dead writer's late batch does not fill the place of a lost first batch of the next epoch, which held nothing", () => {
  const made = [
    { sequence: 1, synced: 0 },
    { sequence: 2, synced: 1 },
    // Landed after the second epoch had begun with batch 2, which is lost.
    { sequence: 3, synced: 3, segment: 2, epoch: 2, began: 2 },
    { sequence: 4, synced: 3, segment: 2, epoch: 2, began: 2 },
  ].map((each) => ({ ...each, synced: Math.min(each.synced, each.sequence - 1) }));
  assert.deepEqual(told(made, () => {}), {
    blocks: [10, 11, 30, 31, 40, 41],
    lost: [],
    mended: [],
  });
});

Deno.test("an epoch's first batch that is lost with others is told as they are: the log does not reach back to before it", () => {
  const made = [
    { sequence: 3, synced: 2, epoch: 2, began: 1 },
    { sequence: 4, synced: 2, epoch: 2, began: 1 },
  ];
  assert.deepEqual(told(made, () => {}).lost, [{ from: 1, to: 2 }]);
});
