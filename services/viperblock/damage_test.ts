import assert from "node:assert/strict";
import { seeded } from "../../tests/kit/random.ts";
import { complement, DamageList, firstWithin } from "./damage.ts";

Deno.test("what lies between ranges, and whether a range meets them, agree with a list of blocks", () => {
  seeded((random) => {
    for (let round = 0; round < 200; round++) {
      const end = 1 + random.below(60);
      const ranges = Array.from({ length: random.below(6) }, () => {
        const first = random.below(end);
        return { first, count: 1 + random.below(end - first) };
      });
      const covered = Array.from(
        { length: end },
        (_, block) => ranges.some(({ first, count }) => block >= first && block < first + count),
      );
      const between = complement(ranges, end);
      const free = Array.from(
        { length: end },
        (_, block) => firstWithin(between, { first: block, count: 1 }) === block,
      );
      assert.deepEqual(free, covered.map((is) => !is));
      const first = random.below(end);
      const count = 1 + random.below(end - first);
      const found = free.findIndex((is, block) => is && block >= first && block < first + count);
      assert.equal(firstWithin(between, { first, count }), found);
    }
  });
});

Deno.test("damage is told in extents, and counted beyond what is named", () => {
  const list = new DamageList();
  list.add(5, "a");
  list.add(6, "a");
  list.add(7, "b", 3);
  list.say("the log is cut");
  for (let i = 0; i < 2000; i++) list.add(100 + 2 * i, "c");
  const { damage, damaged_blocks, reason } = list.report("why");
  assert.equal(reason, "why");
  assert.deepEqual(damage.slice(0, 3), [
    { why: "the log is cut" },
    { block: 5, blocks: 2, why: "a" },
    { block: 7, blocks: 3, why: "b" },
  ]);
  assert.equal(damage.length, 1001);
  assert.equal(damaged_blocks, 2005);
});
