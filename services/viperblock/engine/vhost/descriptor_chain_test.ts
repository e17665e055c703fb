import assert from "node:assert/strict";
import { mapMemory, unmap } from "../../../../ffi/libc.ts";
import { seeded } from "../../../../tests/kit/random.ts";
import { DescriptorChain } from "./descriptor_chain.ts";
import { GuestMemory } from "./guest_memory.ts";

const page = 4096;
/** Two regions with a gap before, between and after them. */
const regions = [
  { guest: 4 * page, length: 8 * page, user: 0x1000, offset: 0 },
  { guest: 16 * page, length: 4 * page, user: 0x9000, offset: 0 },
];

function made() {
  const memory = new GuestMemory(unmap);
  const mapped = regions.map(({ length }) => mapMemory(length));
  assert.ok(memory.replace(regions, mapped));
  const table = { region: memory.find(4 * page), word: 0, size: 64 };
  const view = new DataView((mapped[0] as { buffer: ArrayBuffer }).buffer);
  const describe = (at: number, address: bigint, length: number, flags: number, next: number) => {
    view.setBigUint64(at, address, true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, next, true);
  };
  return { memory, table, describe };
}

Deno.test("a chain becomes pieces of memory, cut where regions end, header and status where they are", () => {
  const { memory, table, describe } = made();
  describe(0, BigInt(5 * page), 16, 1, 1);
  describe(16, BigInt(6 * page), 512, 1 | 2, 2);
  describe(32, BigInt(7 * page), 1, 2, 0);
  const chain = new DescriptorChain();
  assert.equal(chain.read(memory, table, 0, true), "");
  assert.deepEqual(
    [chain.readable, chain.count, chain.readableBytes, chain.writableBytes],
    [1, 3, 16, 513],
  );
  assert.equal(chain.at[1], 2 * page);
  memory.abandon();
});

Deno.test("regions side by side are one memory, and the gap behind them is none", () => {
  const memory = new GuestMemory(unmap);
  const beside = [
    { guest: 0, length: page, user: 0, offset: 0 },
    { guest: page, length: page, user: page, offset: 0 },
  ];
  assert.ok(memory.replace(beside, beside.map(({ length }) => mapMemory(length))));
  const table = { region: memory.find(0), word: 0, size: 4 };
  const { words } = memory.region(table.region);
  words.set([page - 8, 0, 16, 0]);
  const chain = new DescriptorChain();
  assert.equal(chain.read(memory, table, 0, true), "");
  assert.deepEqual([...chain.length.subarray(0, 2)], [8, 8]);
  words.set([2 * page - 8, 0, 16, 0]);
  assert.notEqual(chain.read(memory, table, 0, true), "");
  memory.abandon();
});

Deno.test("chains that lie are refused", () => {
  const { memory, table, describe } = made();
  const chain = new DescriptorChain();
  const inside = BigInt(5 * page);
  const refused = (why: RegExp, allowIndirect = true) =>
    assert.match(chain.read(memory, table, 0, allowIndirect), why);
  describe(0, inside, 16, 1, 1);
  describe(16, inside, 16, 1, 0);
  refused(/without an end/);
  describe(0, inside, 16, 1, 64);
  refused(/descriptor 64 of a table of 64/);
  describe(0, 0n, 16, 0, 0);
  refused(/outside/);
  describe(0, BigInt(12 * page - 8), 16, 0, 0);
  refused(/outside/);
  describe(0, 2n ** 64n - 8n, 16, 0, 0);
  refused(/outside/);
  describe(0, inside, 0xffff_ffff, 0, 0);
  refused(/outside/);
  describe(0, inside, 16, 1 | 2, 1);
  describe(16, inside, 16, 0, 0);
  refused(/readable descriptor after/);
  for (const length of [0, 8, 24, 16 * 1025]) {
    describe(0, inside, length, 4, 0);
    refused(/indirect table of/);
  }
  describe(0, inside, 16, 4 | 1, 1);
  refused(/where none may be/);
  describe(0, inside, 16, 4, 0);
  refused(/where none may be/, false);
  describe(0, BigInt(12 * page - 16), 32, 4, 0);
  refused(/across the end/);
  describe(0, inside + 2n, 32, 4, 0);
  refused(/across the end/);
  describe(0, 1n, 32, 4, 0);
  refused(/outside/);
  describe(0, inside, 16, 4, 0);
  describe(page, inside, 16, 4, 0);
  refused(/where none may be/);
  memory.abandon();
});

Deno.test("whatever the tables hold, a chain ends, and its pieces lie in the guest's memory", async () => {
  await seeded((random) => {
    const { memory, table, describe } = made();
    const chain = new DescriptorChain();
    const addresses = [4, 5, 11, 12, 16, 19, 20].map((each) => each * page);
    let whole = 0;
    for (let round = 0; round < 20_000; round++) {
      for (let i = 0; i < 8; i++) {
        const near = random.pick(addresses) + random.below(64) - 32;
        const address = random.below(20) === 0
          ? 2n ** 64n - BigInt(random.below(64))
          : BigInt(near);
        const length = random.pick([
          0,
          1,
          16,
          32,
          512,
          page,
          64,
          16 * random.below(80),
          2 ** 32 - 1,
        ]);
        const flags = random.below(12) === 0 ? 4 : random.below(4);
        describe(
          random.below(2) === 0 ? i * 16 : page + i * 16,
          address,
          length,
          flags,
          random.below(random.below(30) === 0 ? 65536 : 8),
        );
      }
      if (chain.read(memory, table, random.below(8), random.below(4) > 0) !== "") continue;
      whole++;
      let bytes = 0;
      for (let i = 0; i < chain.count; i++) {
        const { length } = memory.region(chain.region[i] as number);
        const at = chain.at[i] as number;
        assert.ok(at >= 0 && at + (chain.length[i] as number) <= length);
        bytes += chain.length[i] as number;
      }
      assert.equal(bytes, chain.readableBytes + chain.writableBytes);
    }
    assert.ok(whole > 100, `only ${whole} chains were whole`);
    memory.abandon();
    return Promise.resolve();
  });
});
