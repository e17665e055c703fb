import assert from "node:assert/strict";
import {
  contains,
  overlaps,
  parseAddress,
  parseBlock,
  showAddress,
  showBlock,
  sizeOf,
} from "./addresses.ts";
import { seeded } from "../../tests/kit/random.ts";

const block = (text: string) => {
  const parsed = parseBlock(text);
  assert.ok(parsed, text);
  return parsed;
};

Deno.test("blocks drop their host part and are written the shortest way", () => {
  for (
    const [text, shown] of [
      ["10.1.2.3/16", "10.1.0.0/16"],
      ["0.0.0.0/0", "0.0.0.0/0"],
      ["::/0", "::/0"],
      ["2001:DB8:0:0:0:0:0:1/64", "2001:db8::/64"],
      ["fd00:1:0:0:2:0:0:0/80", "fd00:1:0:0:2::/80"],
      ["1:2:3:4:5:6:7:8/128", "1:2:3:4:5:6:7:8/128"],
      ["::1/128", "::1/128"],
    ] as const
  ) assert.equal(showBlock(block(text)), shown);
  for (
    const wrong of [
      "",
      "10.0.0.0",
      "10.0.0.0/33",
      "10.0.0/8",
      "010.0.0.0/8",
      "10.0.0.256/8",
      "::/129",
      "1::2::3/64",
      ":::/0",
      "10.0.0.0/8/8",
      "g::/8",
    ]
  ) assert.equal(parseBlock(wrong), undefined, wrong);
});

Deno.test("overlap and containment hold against counting", () =>
  seeded((source) => {
    const random = (below: number) => source.below(below);
    for (let round = 0; round < 2000; round++) {
      const [a, b] = [0, 1].map(() => block(`10.0.0.${random(256)}/${24 + random(9)}`));
      const set = (one: typeof a) =>
        new Set(Array.from({ length: Number(sizeOf(one!)) }, (_, at) => one!.base + BigInt(at)));
      const [left, right] = [set(a), set(b)];
      assert.equal(overlaps(a!, b!), [...left].some((one) => right.has(one)));
      assert.equal(contains(a!, b!), [...right].every((one) => left.has(one)));
      const address = parseAddress(showAddress(6, a!.base << 40n | BigInt(random(99))));
      assert.equal(address?.version, 6);
    }
  }));
