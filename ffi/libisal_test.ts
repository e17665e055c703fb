import assert from "node:assert/strict";
import { cauchyMatrix, codingTables, encode, PlacedCode } from "./libisal.ts";

Deno.test("inputs at even distances are coded as those that are told one by one", () => {
  const [k, rows, length] = [5, 3, 1000];
  const coding = codingTables(cauchyMatrix(k + rows, k).slice(k * k), k, rows);
  const outputs = () => Array.from({ length: rows }, () => new Uint8Array(length));
  for (const stride of [length, length - 1, length + 24]) {
    const memory = crypto.getRandomValues(new Uint8Array(7 + (k - 1) * stride + length));
    const placed = new PlacedCode(coding, length, outputs());
    const run = memory.subarray(7);
    placed.encode(run, stride);
    const inputs = Array.from({ length: k }, (_, at) => run.slice(at * stride).subarray(0, length));
    const expected = outputs();
    encode(coding, inputs, expected, length);
    assert.deepEqual(placed.outputs, expected, `${stride} bytes apart`);
    assert.throws(() => placed.encode(run.subarray(1), stride), RangeError);
  }
});

Deno.test("a placed code has an output for each row, and inputs of some length", () => {
  const coding = codingTables(cauchyMatrix(4, 2).slice(4), 2, 2);
  const one = new Uint8Array(100);
  assert.throws(() => new PlacedCode(coding, 100, [one]), RangeError);
  assert.throws(() => new PlacedCode(coding, 101, [one, one.slice()]), RangeError);
  assert.throws(() => new PlacedCode(coding, 0, [one, one.slice()]), RangeError);
});
