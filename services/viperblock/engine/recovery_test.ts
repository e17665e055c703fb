import assert from "node:assert/strict";
import { errnos, mapMemory, SystemError, unmap } from "../../../ffi/libc.ts";
import { BlockMap } from "../maps/block_map.ts";
import { blockBytes } from "../format.ts";
import { prepareHeader, sealHeader } from "../log/log_record.ts";
import { FoundDisk } from "../machine/found_disk.ts";
import { logWindowBytes } from "./log_files.ts";
import { Places } from "./places.ts";
import { recover } from "./recovery.ts";
import { salvage } from "./salvage.ts";

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

/** A disk on which calls fail, and that counts how often each file is closed. */
class FailingDisk extends FoundDisk {
  readonly closed: number[] = [];
  readonly removed: string[] = [];
  /** So many reads succeed. */
  reads = Infinity;

  override close(fd: number): void {
    this.closed.push(fd);
    super.close(fd);
  }

  override read(...where: Parameters<FoundDisk["read"]>): number {
    if (this.reads-- <= 0) throw new SystemError("pread", errnos.ENOMEM);
    return super.read(...where);
  }

  override remove(path?: string): void {
    this.removed.push(path ?? "");
  }

  override sync(): void {
    throw new SystemError("fdatasync", 5);
  }
}

const files = () =>
  new Map([
    ["/v/log-0.seg", firstBatch()],
    ["/v/log-1.seg", new Uint8Array(blockBytes)],
  ]);

Deno.test("a log that cannot be made durable leaves each file closed once: its number may be another's by then", () => {
  const disk = new FailingDisk("/v", files());
  const window = mapMemory(logWindowBytes);
  const map = new BlockMap(16);
  assert.throws(
    () => recover({ disk, memory: () => window, release() {} }, volumeId, map, new Places(map)),
    { name: "UnreadableData", message: "/v/log-0.seg cannot be made durable: EIO" },
  );
  assert.deepEqual(disk.closed.sort(), [0, 1]);
  assert.deepEqual(disk.removed, [], "nothing of it has been changed");
  unmap(window);
});

Deno.test("a damaged volume that cannot be read either leaves each file closed once", () => {
  const disk = new FailingDisk("/v", files());
  disk.reads = 0;
  const window = mapMemory(logWindowBytes);
  const map = new BlockMap(16);
  const machine = { disk, memory: () => window, release() {} };
  const rescue = { reason: "it is tried", base: { kind: "empty" } } as const;
  assert.throws(() => salvage(machine, volumeId, rescue, map, new Places(map)), SystemError);
  assert.deepEqual(disk.closed.sort(), [0, 1]);
  unmap(window);
});

Deno.test("a log of which the disk removes nothing may be opened when it is asked again", () => {
  const disk = new FailingDisk("/v", files());
  disk.sync = () => {};
  disk.remove = () => {
    throw new SystemError("unlink", errnos.EROFS);
  };
  const window = mapMemory(logWindowBytes);
  const map = new BlockMap(16);
  assert.throws(
    () => recover({ disk, memory: () => window, release() {} }, volumeId, map, new Places(map)),
    { name: "UnreadableData", message: "/v/log-1.seg cannot be removed: EROFS" },
  );
  unmap(window);
});
