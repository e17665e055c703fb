import assert from "node:assert/strict";
import { seeded } from "../../tests/kit/random.ts";
import { SortedKeys } from "./sorted_keys.ts";

Deno.test("keys come in order whatever was added and removed", () => {
  seeded((random) => {
    const keys = new SortedKeys();
    const model = new Set<string>();
    for (let round = 0; round < 20_000; round++) {
      const key = `${random.below(3)}.${random.below(3000)}`;
      if (random.next() < 0.6) {
        keys.add(key);
        model.add(key);
      } else {
        keys.remove(key);
        model.delete(key);
      }
      if (round % 997 !== 0) continue;
      const prefix = `${random.below(3)}.`;
      const after = random.next() < 0.5 ? "" : `${prefix}${random.below(3000)}`;
      assert.deepEqual(
        [...keys.after(prefix, after)],
        [...model].filter((one) => one.startsWith(prefix) && one > after).sort(),
      );
      assert.equal(keys.size, model.size);
    }
  });
});

Deno.test("an iteration goes on when keys change under it", () => {
  const keys = new SortedKeys();
  for (let at = 0; at < 2000; at++) keys.add(`a.${String(at).padStart(4, "0")}`);
  const seen: string[] = [];
  for (const key of keys.after("a.", "")) {
    seen.push(key);
    keys.remove(key);
    if (seen.length === 100) keys.add("a.0000");
  }
  assert.equal(seen.length, 2000);
  assert.deepEqual([...keys.after("a.", "")], ["a.0000"]);
});
