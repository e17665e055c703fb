/** A log of which the disk gives some blocks no more: the volume is damaged, and what is told of it is exact. */
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { mapMemory, unmap } from "../../../ffi/libc.ts";
import { batchVersion, blockBytes, DamagedData } from "../format.ts";
import { firstEntryWord, headerWord, prepareHeader, sealHeader } from "../log/log_record.ts";
import { FoundDisk } from "../machine/found_disk.ts";
import { BlockMap } from "../maps/block_map.ts";
import { logWindowBytes } from "./log_files.ts";
import { Places } from "./places.ts";
import { recover } from "./recovery.ts";
import { salvage } from "./salvage.ts";

const volumeId = "vol-1";
const path = "/v/log-0.seg";
const sizeBlocks = 64;

/** Four batches of two blocks, which lie in blocks 3n to 3n + 2; all but the last were durable. The third holds zeros. */
function log(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(40 * blockBytes);
  for (let i = 0; i < 4; i++) {
    const header = bytes.subarray(3 * i * blockBytes, (3 * i + 1) * blockBytes);
    prepareHeader(header, volumeId, 1, batchVersion, 1);
    const words = new Uint32Array(header.buffer, header.byteOffset, blockBytes >> 2);
    words[headerWord.segment] = 1;
    words[headerWord.position] = 3 * i;
    words[headerWord.sequenceLow] = i + 1;
    words[headerWord.dataCount] = words[headerWord.entryCount] = 2;
    words[headerWord.syncedLow] = i;
    for (let data = 0; data < 2; data++) {
      const at = (3 * i + 1 + data) * blockBytes;
      const block = bytes.subarray(at, at + blockBytes).fill(i === 2 ? 0 : 10 * i + data + 1);
      words[firstEntryWord + data * 3] = 10 * i + data;
      words[firstEntryWord + data * 3 + 1] = crc32c(block);
    }
    sealHeader(header);
  }
  // What lies behind the log's end is of an older life.
  bytes.fill(0x55, 12 * blockBytes);
  return bytes;
}

/** What an opening makes of it when those blocks of the file cannot be read. */
function opened(lost: readonly number[]) {
  const disk = new FoundDisk("/v", new Map([[path, log()]]));
  disk.lose(path, lost);
  const window = mapMemory(logWindowBytes);
  const single = mapMemory(blockBytes, { low: true });
  const memory = (length: number) => length === blockBytes ? single : window;
  const machine = { disk, memory, release() {} };
  const places = () => new Places(new BlockMap(sizeBlocks));
  try {
    const whole = places();
    recover(machine, volumeId, whole.map, whole);
    return { mapped: whole.map.mappedBlocks };
  } catch (error) {
    if (!(error instanceof DamagedData)) throw error;
    const rescue = { reason: error.message, base: { kind: "empty" } } as const;
    const found = places();
    const { report } = salvage(machine, volumeId, rescue, found.map, found);
    return { mapped: found.map.mappedBlocks, report };
  } finally {
    unmap(window);
    unmap(single);
  }
}

Deno.test("blocks of the log that the disk cannot read are named, and all others are served for reading", () => {
  assert.deepEqual(opened([]), { mapped: 8 });
  const { mapped, report } = opened([4, 8]);
  assert.equal(mapped, 8);
  assert.match(report?.reason ?? "", /log-0\.seg cannot be read at block 4: EIO/);
  assert.deepEqual(report?.damage, [
    { why: "/v/log-0.seg cannot be read at block 4: EIO" },
    { why: "/v/log-0.seg cannot be read at block 8: EIO" },
    { block: 10, blocks: 1, why: "it is not what was written to log segment 1" },
    // What cannot be read is not zeros, though zeros were written.
    { block: 21, blocks: 1, why: "it is not what was written to log segment 1" },
  ]);
});

Deno.test("a batch whose header the disk cannot read is told as lost", () => {
  const { mapped, report } = opened([3]);
  assert.equal(mapped, 2);
  assert.match(report?.damage.map(({ why }) => why).join() ?? "", /batch 2 of the log is missing/);
});

Deno.test("what the disk cannot read where the log ends may have been a batch: it is not opened for writing", () => {
  const { mapped, report } = opened([20]);
  assert.equal(mapped, 8);
  assert.equal(report?.damaged_blocks, 0);
  assert.deepEqual(report?.damage, [{ why: "/v/log-0.seg cannot be read at block 20: EIO" }]);
});
