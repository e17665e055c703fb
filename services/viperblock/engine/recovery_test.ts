import assert from "node:assert/strict";
import { mapMemory, SystemError, unmap } from "../../../ffi/libc.ts";
import { BlockMap } from "../maps/block_map.ts";
import { blockBytes } from "../format.ts";
import { prepareHeader, sealHeader } from "../log/log_record.ts";
import { FoundDisk } from "../machine/found_disk.ts";
import { logWindowBytes } from "./log_files.ts";
import { Places } from "./places.ts";
import { recover } from "./recovery.ts";

const volumeId = "vol-1";

/** The first batch of a log, which says nothing. */
function firstBatch(): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(blockBytes);
  prepareHeader(block, volumeId, 1);
  const words = new Uint32Array(block.buffer);
  [words[3], words[6]] = [1, 1];
  sealHeader(block);
  return block;
}

/** A disk that cannot make anything durable, and counts how often each file is closed. */
class UnsyncedDisk extends FoundDisk {
  readonly closed: number[] = [];

  override close(fd: number): void {
    this.closed.push(fd);
    super.close(fd);
  }

  override sync(): void {
    throw new SystemError("fdatasync", 5);
  }
}

Deno.test("a log that cannot be made durable leaves each file closed once: its number may be another's by then", () => {
  const files = new Map([
    ["/v/log-0.seg", firstBatch()],
    ["/v/log-1.seg", new Uint8Array(blockBytes)],
  ]);
  const disk = new UnsyncedDisk("/v", files);
  const window = mapMemory(logWindowBytes);
  const map = new BlockMap(16);
  assert.throws(
    () => recover({ disk, memory: () => window, release() {} }, volumeId, map, new Places(map)),
    SystemError,
  );
  assert.deepEqual(disk.closed.sort(), [0, 1]);
  unmap(window);
});
