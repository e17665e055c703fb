import assert from "node:assert/strict";
import { matrix, readme, withMatrix } from "./behaviours.ts";

Deno.test("the README's matrix of behaviours is what the tests hold", async () => {
  const text = await Deno.readTextFile(readme);
  assert.equal(
    text,
    withMatrix(text, await matrix()),
    "run `deno run -A tests/predastore/behaviours.ts`",
  );
});
