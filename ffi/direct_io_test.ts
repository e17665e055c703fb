import assert from "node:assert/strict";
import { alignedBuffer, DirectFile, IoError, pageBytes } from "./direct_io.ts";

Deno.test("what is written past the page cache is read back, and the end of the file is told", async () => {
  const path = await Deno.makeTempFile();
  try {
    using file = DirectFile.open(path, { write: true });
    const bytes = alignedBuffer(3 * pageBytes);
    crypto.getRandomValues(bytes);
    await file.write(bytes, pageBytes);
    await file.sync();
    const back = alignedBuffer(8 * pageBytes);
    assert.equal(await file.read(back, 0), 4 * pageBytes);
    assert.deepEqual(back.subarray(pageBytes, 4 * pageBytes), bytes);
    assert.deepEqual(await Deno.readFile(path), back.slice(0, 4 * pageBytes));
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a failure is named by its errno", async () => {
  assert.throws(
    () => DirectFile.open("/nowhere/at/all", { write: false }),
    (error) => error instanceof IoError && error.code === "ENOENT",
  );
  const path = await Deno.makeTempFile();
  try {
    using file = DirectFile.open(path, { write: false });
    await assert.rejects(
      file.write(alignedBuffer(pageBytes), 0),
      (error) => error instanceof IoError && error.code === "EBADF",
    );
  } finally {
    await Deno.remove(path);
  }
});
