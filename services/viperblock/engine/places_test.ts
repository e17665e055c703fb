/** Which segment a block leaves and which it comes to, however many there are. */
import assert from "node:assert/strict";
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
