import assert from "node:assert/strict";
import {
  allocateFile,
  closeFile,
  mapMemory,
  type Memory,
  openFile,
  openFlags,
  readAt,
  unmap,
  writtenExtent,
} from "../../../ffi/libc.ts";
import { blockBytes, segmentBlocks, segmentBytes } from "../format.ts";
import { decodeHeader, prepareHeader, sealHeader } from "../log/log_record.ts";
import { syncedMark } from "../log/synced_mark.ts";
import { logWindowBytes, readable } from "./log_files.ts";

const volumeId = "vol-1";

/** A batch without data that says that what is missing was durable. */
function mark(position: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(blockBytes);
  prepareHeader(block, volumeId, 1);
  const words = new Uint32Array(block.buffer);
  [words[3], words[5], words[6], words[10]] = [1, position, 9, 8];
  sealHeader(block);
  return block;
}

Deno.test("of a log file that was only set aside, what was written is found and nothing else is read", async () => {
  const home = await Deno.makeTempDir({ prefix: "mulga-log-", dir: "/var/tmp" });
  const path = `${home}/log-0.seg`;
  const buffer = mapMemory(logWindowBytes);
  try {
    await Deno.writeFile(path, new Uint8Array(0));
    const fd = openFile(path, openFlags.readWrite | openFlags.direct);
    allocateFile(fd, segmentBytes);
    let read = 0;
    const disk = {
      written: writtenExtent,
      read(fd: number, into: Memory, length: number, offset: number) {
        read += length;
        return readAt(fd, into, 0, length, offset);
      },
    };
    const look = () => {
      read = 0;
      const [file] = readable(disk, [{ path, fd }], buffer, () => {});
      assert.ok(file);
      assert.deepEqual(file.read(0, 1), new Uint8Array(blockBytes));
      const decode = (block: Uint8Array<ArrayBuffer>) => decodeHeader(block, volumeId);
      const missing = syncedMark(file, 0, { expected: 5, epoch: 1, decode });
      // Beyond what was written there are zeros, and the end of the file.
      assert.deepEqual(file.read(7000, 3), new Uint8Array(3 * blockBytes));
      assert.equal(file.read(segmentBlocks - 1, 4).length, blockBytes);
      return missing;
    };
    assert.equal(look(), undefined);
    assert.ok(read <= 16 * blockBytes, `${read} bytes were read of a file without content`);

    using file = await Deno.open(path, { write: true });
    for (const position of [77, 6000]) {
      await file.seek(position * blockBytes, Deno.SeekMode.Start);
      await file.write(mark(position));
    }
    await file.syncData();
    assert.deepEqual(look(), { from: 5, to: 8 });
    // A look takes 1 MiB, wherever something was written.
    assert.ok(read <= 600 * blockBytes, `${read} bytes were read for two blocks`);
    await file.seek(6000 * blockBytes, Deno.SeekMode.Start);
    await file.write(new Uint8Array(blockBytes));
    await file.seek(77 * blockBytes, Deno.SeekMode.Start);
    await file.write(new Uint8Array(blockBytes));
    await file.syncData();
    assert.equal(look(), undefined);
    closeFile(fd);
  } finally {
    unmap(buffer);
    await Deno.remove(home, { recursive: true });
  }
});
