import assert from "node:assert/strict";
import { crc32, crc32c } from "../../../ffi/libisal.ts";
import { CrcCombiner } from "./crc.ts";
import { crc64nvme } from "./crc64.ts";
import { Crc64Folding } from "./crc64_folding.ts";

const digits = new TextEncoder().encode("123456789");

Deno.test("CRCs have the catalogue's check values", () => {
  assert.equal(crc32(digits), 0xcbf43926);
  assert.equal(crc32c(digits), 0xe3069283);
  assert.equal(crc64nvme(digits), 0xae8b14860a799888n);
});

Deno.test("a CRC goes on where it stopped, at every border", () => {
  const bytes = new Uint8Array(40).map((_, at) => at * 37);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const [first, second] = [bytes.slice(0, cut), bytes.slice(cut)];
    assert.equal(crc64nvme(second, crc64nvme(first)), crc64nvme(bytes));
    assert.equal(crc32c(second, crc32c(first)), crc32c(bytes));
    assert.equal(crc32(second, crc32(first)), crc32(bytes));
  }
});

Deno.test("the CRC of two runs follows from the CRCs of each and the second's length", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(5_000));
  const of = {
    crc32: (part: Uint8Array<ArrayBuffer>) => BigInt(crc32(part)),
    crc32c: (part: Uint8Array<ArrayBuffer>) => BigInt(crc32c(part)),
    crc64nvme: (part: Uint8Array<ArrayBuffer>) => crc64nvme(part),
  } as const;
  for (const name of ["crc32", "crc32c", "crc64nvme"] as const) {
    const combiner = new CrcCombiner(name);
    for (const cut of [0, 1, 7, 1024, 4_095, 4_999, 5_000]) {
      const [first, second] = [bytes.slice(0, cut), bytes.slice(cut)];
      assert.equal(
        combiner.combine(of[name](first), of[name](second), second.length),
        of[name](bytes),
        `${name} at ${cut}`,
      );
    }
  }
});

Deno.test("long runs are folded to the CRC that short ones add up to", () => {
  const bytes = new Uint8Array(1_000_003);
  for (let at = 0; at < bytes.length; at += 60_000) {
    crypto.getRandomValues(bytes.subarray(at, at + 60_000));
  }
  const inPieces = (run: Uint8Array<ArrayBuffer>, seed: bigint) => {
    let sum = seed;
    for (let at = 0; at < run.length; at += 1_000) {
      sum = crc64nvme(run.subarray(at, at + 1_000), sum);
    }
    return sum;
  };
  const folding = Crc64Folding.checked(inPieces);
  for (const length of [0, 1, Crc64Folding.block_bytes - 1, Crc64Folding.block_bytes, 1_000_003]) {
    const run = bytes.subarray(bytes.length - length);
    assert.equal(crc64nvme(run, 7n), inPieces(run, 7n), `${length} bytes`);
    // Without folding everything is right, but slow: kernels that read other tables are found out.
    if (folding !== undefined) assert.equal(folding.sum(run, 7n), inPieces(run, 7n));
  }
});
