import assert from "node:assert/strict";
import { type SpaceState, spaceState } from "./space.ts";

const gib = 2 ** 30;

Deno.test("a directory is nearly full before it is full, and leaves each state later than it came", () => {
  const reserve = gib;
  const total = 100 * gib;
  const states = new Map<number, SpaceState>();
  let state: SpaceState = "roomy";
  for (let mib = 2000; mib >= 900; mib--) {
    state = spaceState({ free: mib << 20, total }, reserve, state);
    states.set(mib, state);
  }
  assert.equal(states.get(1280), "roomy");
  assert.equal(states.get(1279), "near_full");
  assert.equal(states.get(1024), "near_full");
  assert.equal(states.get(1023), "full");
  for (let mib = 900; mib <= 2000; mib++) {
    state = spaceState({ free: mib << 20, total }, reserve, state);
    states.set(mib, state);
  }
  assert.equal(states.get(1024), "full");
  assert.equal(states.get(1087), "full");
  assert.equal(states.get(1088), "near_full");
  assert.equal(states.get(1300), "near_full");
  assert.equal(states.get(1344), "roomy");
});

Deno.test("on a small disk nearly full begins later, and without a reserve full is never", () => {
  assert.equal(spaceState({ free: 60 << 20, total: gib }, 0), "roomy");
  assert.equal(spaceState({ free: 50 << 20, total: gib }, 0), "near_full");
  assert.equal(spaceState({ free: 0, total: gib }, 0), "near_full");
});
