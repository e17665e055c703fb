import assert from "node:assert/strict";
import { ErasureCode } from "./erasure.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function random(length: number): Bytes {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  }
  return bytes;
}

function* choose(numbers: readonly number[], count: number): Generator<number[]> {
  if (count === 0) return yield [];
  for (const [at, number] of numbers.entries()) {
    for (const rest of choose(numbers.slice(at + 1), count - 1)) yield [number, ...rest];
  }
}

for (const [k, m] of [[1, 0], [1, 1], [2, 1], [3, 2], [5, 3]] as const) {
  Deno.test(`any ${k} of the ${k + m} shards of RS(${k},${m}) give back every other`, () => {
    const code = new ErasureCode(k, m);
    const length = 5_003;
    const data = Array.from({ length: k }, () => random(length));
    const parity = Array.from({ length: m }, () => new Uint8Array(length));
    code.encode(data, parity, length);
    const all = [...data, ...parity];
    let tried = 0;
    for (const there of choose([...all.keys()], k)) {
      const available = new Map(there.map((at) => [at, all[at] as Bytes]));
      for (const [wanted, expected] of all.entries()) {
        if (there.includes(wanted)) continue;
        tried++;
        assert.deepEqual(
          code.reconstruct(available, wanted, length),
          expected,
          `${there}>${wanted}`,
        );
      }
    }
    assert.ok(m === 0 || tried > 0);
  });
}

Deno.test("too few shards are refused and not guessed from", () => {
  const code = new ErasureCode(2, 1);
  assert.throws(() => code.reconstruct(new Map([[2, new Uint8Array(8)]]), 0, 8), RangeError);
});
