import assert from "node:assert/strict";
import { aesXts, xtsLibraries } from "./aes_xts.ts";
import { isLow } from "./copy.ts";
import { mapMemory, type Memory, unmap } from "./libc.ts";
import type { UnitCipher } from "./unit_cipher.ts";

/** Of each library that is here, and of whichever is taken. */
function ciphers(key: Uint8Array<ArrayBuffer>): UnitCipher[] {
  const each = xtsLibraries.map((make) => make(key)).filter((one) => one !== undefined);
  assert.ok(each.length >= 1);
  return [...each, aesXts(key)];
}

Deno.test("AES-256-XTS of each library has the published test vector", () => {
  // Vector 10 of IEEE 1619: data unit 0xff.
  const key = Uint8Array.fromHex(
    "27182818284590452353602874713526624977572470936999595749669676273141592653589793" +
      "238462643383279502884197169399375105820974944592",
  );
  for (const cipher of ciphers(key)) {
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
    cipher[Symbol.dispose]();
  }
});

Deno.test("what one library sealed the others open, under any name, whatever ran before", () => {
  const key = crypto.getRandomValues(new Uint8Array(64));
  const each = ciphers(key);
  const memory = mapMemory(8192, { low: true });
  crypto.getRandomValues(memory.bytes.subarray(0, 4096));
  const plain = memory.bytes.slice(0, 4096);
  for (let i = 0; i < 300; i++) {
    const [epoch, segment, index] = crypto.getRandomValues(new Uint32Array(3));
    const sealing = each[i % each.length] as UnitCipher;
    const opening = each[Math.floor(i / each.length) % each.length] as UnitCipher;
    for (const one of [sealing, opening]) one.name(epoch ?? 0, segment ?? 0, index ?? 0);
    // The list of entries in a batch's header is shorter than a block.
    const length = i % 2 === 0 ? 4096 : 4096 - 96;
    memory.bytes.set(plain);
    sealing.seal(memory, 0, memory, 4096, length);
    assert.notDeepEqual(memory.bytes.slice(4096, 4096 + length), plain.slice(0, length));
    opening.open(memory, 4096, length);
    assert.deepEqual(memory.bytes.slice(4096, 4096 + length), plain.slice(0, length));
  }
  for (const one of each) one[Symbol.dispose]();
  unmap(memory);
});

Deno.test("a sealed unit opens for everybody with the key, and only under its own name", () => {
  const key = crypto.getRandomValues(new Uint8Array(64));
  const memory = mapMemory(8192, { low: true });
  memory.bytes.fill(7, 0, 4096);
  const plain = memory.bytes.slice(0, 4096);
  for (const one of ciphers(key)) {
    using other = aesXts(key);
    memory.bytes.set(plain);
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
    one[Symbol.dispose]();
  }
  unmap(memory);
});

Deno.test("a unit outside of its memory is refused, and so is any by a cipher that was disposed of", () => {
  const memory = mapMemory(8192, { low: true });
  for (const one of ciphers(crypto.getRandomValues(new Uint8Array(64)))) {
    one.name(1, 2, 3);
    assert.throws(() => one.seal(memory, 4097, memory, 0, 4096), RangeError);
    assert.throws(() => one.seal(memory, 0, memory, 4097, 4096), RangeError);
    assert.throws(() => one.seal(memory, 0, memory, -1, 4096), RangeError);
    assert.throws(() => one.open(memory, 8192, 16), RangeError);
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    one.name(1, 2, 3);
    assert.throws(() => one.seal(memory, 0, memory, 4096, 4096), /released/);
    assert.throws(() => one.open(memory, 0, 4096), /released/);
  }
  assert.ok(memory.bytes.every((byte) => byte === 0), "nothing was written");
  unmap(memory);
});

Deno.test("ciphers that find no memory below 4 GiB seal as all others do", () => {
  const key = crypto.getRandomValues(new Uint8Array(64));
  const memory = mapMemory(8192);
  const inLow = xtsLibraries.map((make) => make(key));
  // There is about 1 GiB of it, of which pages that nobody touches take nothing. The kernel begins to look at a place by
  // chance within the first 32 MiB, so what is free there is not found each time.
  const taken: Memory[] = [];
  for (let length = 256 << 20, failed = 0; length >= 4096;) {
    const more = mapMemory(length, { low: true });
    if (isLow(more.address)) taken.push(more);
    else unmap(more);
    if (!isLow(more.address) && ++failed > 64) [length, failed] = [length / 2, 0];
  }
  try {
    for (const [i, make] of xtsLibraries.entries()) {
      using one = make(key);
      for (const cipher of [one, inLow[i]]) {
        cipher?.name(7, 8, 9);
        cipher?.seal(memory, 0, memory, cipher === one ? 0x1000 : 0x1800, 1024);
      }
      assert.deepEqual(memory.bytes.slice(0x1000, 0x1400), memory.bytes.slice(0x1800, 0x1c00));
    }
  } finally {
    for (const each of taken) unmap(each);
    for (const each of inLow) each?.[Symbol.dispose]();
    unmap(memory);
  }
});
