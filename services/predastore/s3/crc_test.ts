import assert from "node:assert/strict";
import { crc32, crc32c } from "../../../ffi/libisal.ts";
import { crc64nvme, CrcCombiner } from "./crc.ts";

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
