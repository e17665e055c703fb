import assert from "node:assert/strict";
import { alignedBuffer, DirectFile, IoError, pageBytes } from "./direct_io.ts";

Deno.test("what is written past the page cache is read back, and the end of the file is told", async () => {
  const path = await Deno.makeTempFile();
  try {
    using file = await DirectFile.open(path, { write: true });
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
  await assert.rejects(
    () => DirectFile.open("/nowhere/at/all", { write: false }),
    (error) => error instanceof IoError && error.code === "ENOENT",
  );
  const path = await Deno.makeTempFile();
  try {
    using file = await DirectFile.open(path, { write: false });
    await assert.rejects(
      file.write(alignedBuffer(pageBytes), 0),
      (error) => error instanceof IoError && error.code === "EBADF",
    );
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a file that does not open holds up nobody but who waits for it", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/pipe`;
  try {
    // Without a writer it opens for no reader.
    await new Deno.Command("mkfifo", { args: [path] }).output();
    const opening = DirectFile.open(path, { write: false });
    let turns = 0;
    while (turns < 10) {
      await new Promise((next) => setTimeout(next, 0));
      turns++;
    }
    using _writer = await Deno.open(path, { read: true, write: true });
    using file = await opening;
    assert.equal(file.direct, false);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
