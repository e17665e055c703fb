import assert from "node:assert/strict";
import { seeded } from "../../../tests/kit/random.ts";
import { CacheSlots, type KeptChunk } from "./cache_slots.ts";

/** Files of two slots each, for chunks of which some are dead. */
function slotsOf(files: number, dead = new Set<number>()) {
  const changed: string[] = [];
  const slots = new CacheSlots({
    slotsOfFile: 2,
    slotBlocks: 8,
    isDead: (chunk) => dead.has(chunk),
    changed: ({ path }) => changed.push(path),
  });
  for (let fd = 0; fd < files; fd++) {
    for (const kept of slots.add({ fd, path: `/cache/${fd}` }).slots) slots.settle(kept);
  }
  return { slots, changed };
}

Deno.test("the chunk that goes is dead, or else was not read for a round of the hand", () => {
  const dead = new Set<number>();
  const { slots, changed } = slotsOf(2, dead);
  for (const chunk of [1, 2, 3, 4]) {
    const kept = slots.assign(chunk) as KeptChunk;
    slots.beginRead(kept);
    slots.endRead(kept);
  }
  assert.equal(slots.assign(5), undefined);
  dead.add(3);
  slots.evict();
  assert.deepEqual([1, 2, 3, 4].filter((chunk) => slots.of(chunk) === undefined), [3]);
  assert.equal(changed.length, 1);
  slots.beginRead(slots.assign(5) as KeptChunk);
  slots.evict();
  slots.evict();
  slots.evict();
  slots.evict();
  assert.deepEqual([1, 2, 4, 5].filter((chunk) => slots.of(chunk) !== undefined), [5]);
});

Deno.test("a slot that is read or written is no other chunk's, and what is read is known until it is over", () =>
  seeded((random) => {
    const { slots } = slotsOf(3);
    const reads: { kept: KeptChunk; chunk: number }[] = [];
    const writes: KeptChunk[] = [];
    const used = (kept: KeptChunk) =>
      reads.some((one) => one.kept === kept) || writes.includes(kept);
    for (let step = 0; step < 5_000; step++) {
      const chunk = random.below(12);
      const present = slots.of(chunk);
      switch (random.below(5)) {
        case 0:
          if (present !== undefined) break;
          if (slots.empty === 0) slots.evict();
          {
            const kept = slots.assign(chunk);
            if (kept === undefined) break;
            assert.ok(!used(kept));
            kept.coming = 1;
            writes.push(kept);
          }
          break;
        case 1:
          if (present === undefined) break;
          slots.beginRead(present);
          reads.push({ kept: present, chunk });
          break;
        case 2: {
          const [over] = reads.splice(random.below(reads.length + 1), 1);
          if (over === undefined) break;
          slots.endRead(over.kept);
          slots.settle(over.kept);
          break;
        }
        case 3: {
          const [over] = writes.splice(random.below(writes.length + 1), 1);
          if (over === undefined) break;
          over.coming = 0;
          slots.settle(over);
          break;
        }
        case 4:
          if (present !== undefined) slots.drop(present);
      }
      for (const read of reads) assert.ok(slots.isRead(read.chunk));
    }
    for (const { kept } of reads.splice(0)) {
      slots.endRead(kept);
      slots.settle(kept);
    }
    for (const kept of writes.splice(0)) {
      kept.coming = 0;
      slots.settle(kept);
    }
    for (let chunk = 0; chunk < 12; chunk++) {
      assert.equal(slots.isRead(chunk), false);
      const kept = slots.of(chunk);
      if (kept !== undefined) slots.drop(kept);
    }
    assert.equal(slots.empty, 6);
  }));

Deno.test("a file that is given up takes its slots along, also those that are still read", () => {
  const { slots } = slotsOf(2);
  const kept = [1, 2, 3, 4].map((chunk) => slots.assign(chunk) as KeptChunk);
  const last = kept.filter(({ file }) => file.fd === 1);
  const [read] = last as [KeptChunk];
  const chunk = read.chunk;
  slots.beginRead(read);
  assert.equal(slots.giveUp()?.fd, 1);
  assert.equal(slots.files, 1);
  assert.equal(slots.of(chunk), undefined);
  assert.equal(slots.isRead(chunk), true);
  slots.endRead(read);
  slots.settle(read);
  assert.equal(slots.isRead(chunk), false);
  assert.equal(slots.empty, 0, "its slots are nobody's");
});
