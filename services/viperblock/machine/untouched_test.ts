import assert from "node:assert/strict";
import { closeFile, mapMemory, openFile, openFlags, readAt, unmap } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { linuxMachine } from "./linux.ts";
import { isUntouched, markUntouched } from "./untouched.ts";

Deno.test("a file is untouched until it is written to, also past the page cache, and reading it is no matter", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-touch-", dir: "/var/tmp" });
  const path = `${directory}/log-0.seg`;
  const memory = mapMemory(4096);
  try {
    await Deno.writeFile(path, new Uint8Array(16 << 10));
    const fd = openFile(path, openFlags.readWrite | openFlags.direct);
    try {
      assert.equal(isUntouched(fd), false, "nobody has said so");
      await markUntouched(path);
      assert.equal(isUntouched(fd), true);
      await Deno.rename(path, `${directory}/log-1.seg`);
      assert.equal(readAt(fd, memory, 0, 4096, 4096), 4096);
      assert.equal(isUntouched(fd), true);
      const { ring } = linuxMachine(directory);
      try {
        let written: number | undefined;
        const kind = ring.kind((_id, result) => written = result);
        ring.queue(ringOperations.write, fd, 8192, memory.address, 4096, 0, kind, 0);
        while (written === undefined) ring.turn(1);
        assert.equal(written, 4096);
      } finally {
        ring.close();
      }
      assert.equal(isUntouched(fd), false);
    } finally {
      closeFile(fd);
    }
  } finally {
    unmap(memory);
    await Deno.remove(directory, { recursive: true });
  }
});
