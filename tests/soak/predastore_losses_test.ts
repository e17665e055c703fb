/** Histories of lost directories and changing codes (`MULGA_LOSSES` of them); a failure names its seed. */
import { runLossHistory } from "../sim/loss_history.ts";

const histories = Number(Deno.env.get("MULGA_LOSSES") ?? 100);
const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);

Deno.test(`codes: ${histories} random histories of changing codes lose nothing with a directory at a time`, async () => {
  console.log(`SEED=${seed}`);
  for (let at = 0; at < histories; at++) await runLossHistory(seed + at);
});
