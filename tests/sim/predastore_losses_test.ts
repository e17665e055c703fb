/** Some histories of lost directories and changing codes; `deno task soak` runs a hundred others. */
import { runLossHistory } from "./loss_history.ts";

/** The first of them once brought a deleted version back. */
const seeds = [2639174714, 1, 2];

Deno.test("codes: histories of buckets of changing codes lose nothing with a directory at a time", async () => {
  for (const seed of seeds) await runLossHistory(seed);
});
