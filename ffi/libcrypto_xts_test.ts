import assert from "node:assert/strict";
import { mapMemory, unmap } from "./libc.ts";
import { AesXts } from "./libcrypto_xts.ts";

Deno.test("AES-256-XTS has the published test vector", () => {
  // Vector 10 of IEEE 1619: data unit 0xff.
  const key = Uint8Array.fromHex(
    "27182818284590452353602874713526624977572470936999595749669676273141592653589793" +
      "238462643383279502884197169399375105820974944592",
  );
  using cipher = new AesXts(key);
  for (const low of [true, false]) {
    const memory = mapMemory(4096, { low });
    for (let i = 0; i < 512; i++) memory.bytes[i] = i & 255;
    cipher.name(0xff, 0, 0);
    cipher.seal(memory, 0, memory, 1024, 512);
    assert.equal(
      memory.bytes.slice(1024, 1056).toHex(),
      "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
    );
    cipher.open(memory, 1024, 512);
    assert.deepEqual(memory.bytes.slice(1024, 1536), memory.bytes.slice(0, 512));
    unmap(memory);
  }
});

Deno.test("a sealed unit opens for everybody with the key, and only under its own name", () => {
  const key = crypto.getRandomValues(new Uint8Array(64));
  using one = new AesXts(key);
  using other = new AesXts(key);
  const memory = mapMemory(8192, { low: true });
  memory.bytes.fill(7, 0, 4096);
  const plain = memory.bytes.slice(0, 4096);
  one.name(1, 2, 3);
  one.seal(memory, 0, memory, 4096, 4096);
  memory.bytes.copyWithin(0, 4096);
  assert.notDeepEqual(memory.bytes.slice(0, 4096), plain);
  other.name(1, 2, 3);
  other.open(memory, 0, 4096);
  assert.deepEqual(memory.bytes.slice(0, 4096), plain);
  other.name(1, 2, 4);
  other.open(memory, 4096, 4096);
  assert.notDeepEqual(memory.bytes.slice(4096), plain);
  unmap(memory);
});
