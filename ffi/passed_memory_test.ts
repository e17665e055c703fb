import assert from "node:assert/strict";
import { closeFile, createEvent, openFile, openFlags, unmap } from "./libc.ts";
import { createPassable, isEvent, mapPassed, MemoryRefused } from "./passed_memory.ts";

Deno.test("memory that was made to be passed is the same memory wherever it is mapped", () => {
  const { fd, memory } = createPassable("test", 8192);
  const second = mapPassed(fd, 4096, 4096);
  memory.bytes[4096 + 17] = 99;
  assert.equal(second.bytes[17], 99);
  unmap(second);
  unmap(memory);
  closeFile(fd);
});

Deno.test("memory beyond the end of its file, and memory that can shrink, is refused", () => {
  const { fd, memory } = createPassable("test", 8192);
  assert.throws(() => mapPassed(fd, 8192, 4096), MemoryRefused);
  assert.throws(() => mapPassed(fd, 0, 0), MemoryRefused);
  assert.throws(() => mapPassed(fd, 4096, 2 ** 52), MemoryRefused);
  unmap(memory);
  closeFile(fd);
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, new Uint8Array(8192));
  const file = openFile(path, openFlags.readWrite);
  assert.throws(() => mapPassed(file, 4096, 0), MemoryRefused);
  assert.equal(isEvent(file), false);
  closeFile(file);
  Deno.removeSync(path);
});

Deno.test("an eventfd is told from anything else", () => {
  const event = createEvent();
  assert.equal(isEvent(event), true);
  closeFile(event);
  assert.equal(isEvent(event), false);
});
