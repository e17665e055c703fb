/** Histories of lost directories and changing codes (`MULGA_LOSSES` of them); a failure names its seed. */
import { runLossHistory } from "../sim/loss_history.ts";
import { testSeed } from "../kit/random.ts";

const histories = Number(Deno.env.get("MULGA_LOSSES") ?? 100);
const seed = testSeed();

Deno.test(`codes: ${histories} random histories of changing codes lose nothing with a directory at a time`, async () => {
  console.log(`MULGA_TEST_SEED=${seed}`);
  for (let at = 0; at < histories; at++) await runLossHistory(seed + at);
});
