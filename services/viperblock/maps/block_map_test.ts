import assert from "node:assert/strict";
import { Random, seeded } from "../../../tests/kit/random.ts";
import {
  BlockMap,
  type CapturedLeaf,
  checksumAt,
  containerAt,
  indexAt,
  leafBlocks,
  maximumIndex,
} from "./block_map.ts";
import { hole } from "../format.ts";

const tripleAt = (leaf: Uint32Array, block: number) => [
  containerAt(leaf, block),
  indexAt(leaf, block),
  checksumAt(leaf, block),
];

function read(map: BlockMap, block: number): readonly number[] {
  const leaf = map.leaf(block);
  return leaf === undefined ? [0, 0, 0] : tripleAt(leaf, block);
}

Deno.test("an empty volume of 16 TiB costs no leaf, and its last block can be mapped", () => {
  const map = new BlockMap(2 ** 32);
  assert.equal(map.leaf(2 ** 32 - 1), undefined);
  assert.equal(map.set(2 ** 32 - 1, 7, 8, 9), hole);
  assert.deepEqual(read(map, 2 ** 32 - 1), [7, 8, 9]);
  assert.deepEqual(read(map, 2 ** 31 - 1), [0, 0, 0]);
  assert.deepEqual(map.capture().map((leaf) => leaf.firstBlock), [2 ** 32 - leafBlocks]);
});

Deno.test("set tells where the block lived before, and mapped blocks are counted", () => {
  const map = new BlockMap(10_000);
  assert.equal(map.set(5, 1, 2, 3), hole);
  assert.equal(map.set(5, 4, 5, 6), 1);
  assert.equal(map.mappedBlocks, 1);
  assert.equal(map.set(5, hole, 0, 0), 4);
  assert.equal(map.mappedBlocks, 0);
});

Deno.test("clearing tells every container it takes blocks from, and nothing of holes", () => {
  const map = new BlockMap(100_000);
  for (const block of [0, 2047, 2048, 70_000]) map.set(block, block + 1, 0, 0);
  const released: number[] = [];
  assert.equal(map.clear(1, 70_000, (container) => released.push(container)), 3);
  assert.deepEqual(released, [2048, 2049, 70_001]);
  assert.equal(map.anyMapped(1, 99_999), false);
  assert.equal(map.anyMapped(0, 1), true);
});

Deno.test("the map agrees with a plain one, and a captured map never changes", () => {
  seeded((random: Random) => {
    const map = new BlockMap(20_000);
    const model = new Map<number, readonly number[]>();
    let captured: CapturedLeaf[] = [];
    let frozen = new Map<number, readonly number[]>();
    const matchesFrozen = () => {
      let mapped = 0;
      for (const leaf of captured) {
        for (let i = 0; i < leafBlocks; i++) {
          const triple = tripleAt(leaf.words, i);
          assert.deepEqual(triple, frozen.get(leaf.firstBlock + i) ?? [0, 0, 0]);
          if (triple[0] !== hole) mapped++;
        }
      }
      assert.equal(mapped, frozen.size);
    };
    for (let step = 0; step < 5000; step++) {
      const block = random.below(20_000);
      if (random.below(10) === 0) {
        const count = Math.min(1 + random.below(3000), 20_000 - block);
        map.clear(block, count, () => {});
        for (let b = block; b < block + count; b++) model.delete(b);
      } else {
        const triple = [
          1 + random.below(2 ** 32 - 1),
          random.below(maximumIndex + 1),
          random.below(2 ** 32),
        ] as const;
        map.set(block, ...triple);
        model.set(block, triple);
      }
      if (random.below(1000) === 0) {
        matchesFrozen();
        captured = map.capture();
        frozen = new Map(model);
      }
    }
    matchesFrozen();
    assert.equal(map.mappedBlocks, model.size);
    for (let b = 0; b < 20_000; b++) assert.deepEqual(read(map, b), model.get(b) ?? [0, 0, 0]);
  });
});

Deno.test("a run is set as its blocks would be one by one, over leaves and what was there before", () => {
  seeded((random: Random) => {
    const [runs, blocks] = [new BlockMap(20_000), new BlockMap(20_000)];
    for (let step = 0; step < 200; step++) {
      const first = random.below(15_000);
      const count = 1 + random.below(5000);
      const container = 1 + random.below(2 ** 32 - 1);
      const checksums = Uint32Array.from({ length: count + 3 }, () => random.below(2 ** 32));
      const index = random.below(1000);
      const [fromRun, fromBlocks]: number[][] = [[], []];
      runs.setRun(first, count, container, index, checksums, 3, (each) => fromRun?.push(each));
      for (let i = 0; i < count; i++) {
        const before = blocks.set(first + i, container, index + i, checksums[3 + i] ?? NaN);
        if (before !== hole) fromBlocks?.push(before);
      }
      assert.deepEqual(fromRun, fromBlocks);
      assert.equal(runs.mappedBlocks, blocks.mappedBlocks);
    }
    for (let b = 0; b < 20_000; b++) assert.deepEqual(read(runs, b), read(blocks, b));
  });
});
