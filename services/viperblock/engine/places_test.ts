/** Which segment a block leaves and which it comes to, however many there are. */
import assert from "node:assert/strict";
import { seeded } from "../../../tests/kit/random.ts";
import { BlockMap } from "../maps/block_map.ts";
import { Places } from "./places.ts";

const file = { path: "", fd: -1 };
const many = 1000;

Deno.test("each block is counted in the segment that it lives in, however many segments there are", () => {
  const places = new Places(new BlockMap(64), 16);
  for (let number = 1; number <= many; number++) {
    places.addSegment(number, file, 1, 1);
    places.place(number % 64, number, 0, 7);
  }
  for (let number = 1; number <= many; number++) {
    assert.equal(places.segment(number)?.number, number);
    assert.equal(places.segment(number)?.live, number <= many - 64 ? 0 : 1, `segment ${number}`);
  }
});

Deno.test("a segment that was given back is found no more, nor one of all that were forgotten", () => {
  const places = new Places(new BlockMap(64), 16);
  const first = places.addSegment(3, file, 1, 1);
  places.addSegment(4, file, 1, 1);
  assert.equal(places.segment(3), first);
  places.removeSegment(first);
  assert.equal(places.segment(3), undefined);
  const again = places.addSegment(3, file, 2, 1);
  assert.equal(places.segment(3), again);
  places.forgetSegments();
  assert.equal(places.segment(3), undefined);
  assert.equal(places.segment(4), undefined);
});

Deno.test("the table of chunks is as long as the most of them at once, however many there were in all", () => {
  seeded((random) => {
    const places = new Places(new BlockMap(64));
    const held = new Set<number>();
    let most = 0;
    for (let sequence = 1; sequence <= 5000; sequence++) {
      const number = places.addChunk({ owner: "vol-1", epoch: 1, sequence }, 8);
      assert.ok(!held.has(number), "a number has one chunk");
      held.add(number);
      most = Math.max(most, held.size);
      assert.ok(places.chunks.length <= most);
      while (held.size > random.below(40)) {
        const gone = [...held][random.below(held.size)] as number;
        held.delete(gone);
        places.removeChunk(gone);
      }
      assert.equal(places.chunks.length, Math.max(-1, ...held) + 1);
      assert.ok([...held].every((each) => places.chunks[each] !== undefined));
    }
  });
});

Deno.test("numbers that a stored map leaves free are used first", () => {
  const places = new Places(new BlockMap(64));
  const name = (sequence: number) => ({ owner: "vol-1", epoch: 1, sequence });
  for (const number of [0, 1, 2, 3, 4]) {
    places.restoreChunk(number, number % 2 === 0 ? undefined : name(number), 8);
  }
  assert.deepEqual([5, 6, 7, 8].map((each) => places.addChunk(name(each), 8)), [0, 2, 4, 5]);
  assert.deepEqual(places.chunks.map((each) => each?.name.sequence), [5, 1, 6, 3, 7, 8]);
});
