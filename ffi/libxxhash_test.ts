import assert from "node:assert/strict";
import { XxHash, type XxHashName } from "./libxxhash.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

function hash(name: XxHashName, ...pieces: readonly Uint8Array<ArrayBuffer>[]): string {
  using running = new XxHash(name);
  for (const piece of pieces) running.update(piece);
  return running.finish().toHex();
}

Deno.test("xxHash: the values that its authors publish", () => {
  assert.equal(hash("xxh64"), "ef46db3751d8e999");
  assert.equal(hash("xxh64", bytesOf("abc")), "44bc2cf5ad770999");
  assert.equal(hash("xxh3"), "2d06800538d394c2");
  assert.equal(hash("xxh3", bytesOf("abc")), "78af5f94892f3950");
  assert.equal(hash("xxh128"), "99aa06d3014798d86001c324468d497f");
  assert.equal(hash("xxh128", bytesOf("abc")), "06b05ab6733a618578af5f94892f3950");
});

Deno.test("xxHash: pieces of any length are hashed as the whole, also from the middle of a buffer", () => {
  const whole = Uint8Array.from({ length: 100_003 }, (_, at) => (at * 31 + (at >> 8)) & 0xff);
  for (const name of ["xxh64", "xxh3", "xxh128"] as const) {
    const pieces = [];
    for (let at = 0, length = 1; at < whole.length; at += length, length = length * 3 % 7001) {
      pieces.push(whole.subarray(at, at + length));
    }
    assert.ok(pieces.length > 10);
    assert.equal(hash(name, ...pieces), hash(name, whole));
  }
});

Deno.test("xxHash: what was disposed of is used no more", () => {
  const running = new XxHash("xxh3");
  running[Symbol.dispose]();
  running[Symbol.dispose]();
  assert.throws(() => running.update(bytesOf("x")));
  assert.throws(() => running.finish());
});
