/**
 * How long a guest waits when the block engine ends and is started again: kill -9 (or with `--stop` a graceful end)
 * under a volume with a full log, the process started anew as the supervisor does it, and a front end
 * that connects again as QEMU does. From the end to the answer to a write that waited. Prints one line of JSON;
 * the ratio is what may be waited to what was. `--rounds=N`, `--volumes=N` and `--filled-mib=N` make it longer.
 */
import { parseArgs } from "node:util";
import { createVolume, mountVolume } from "../../services/viperblock/contract.ts";
import { firstBackOff_ms } from "../../tasks/supervisor/running_service.ts";
import { startEngine } from "../viperblock/engine.ts";
import { disk, FrontEndClient, Guest } from "../viperblock/vhost_client.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "7" },
    volumes: { type: "string", default: "2" },
    "filled-mib": { type: "string", default: "900" },
    stop: { type: "boolean", default: false },
    explain: { type: "boolean", default: false },
  },
});
const must_ms = 1_000;
/** As QEMU is told. */
const reconnect_ms = 20;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

await using engine = await startEngine();
const names = Array.from({ length: Number(values.volumes) }, (_, i) => `vol-${i}`);
for (const volume_id of names) {
  await engine.ask(createVolume, { volume_id, size_bytes: 4 * 2 ** 30 });
  await engine.ask(mountVolume, { volume_id });
}
const socket = engine.node.paths.vhost("vol-0");
const guest = new Guest(1);
let front = FrontEndClient.connect(socket);
front.serve(guest);
const written = crypto.getRandomValues(new Uint8Array(64 << 10));

/** Makes the log as long as it may become. */
async function fill(): Promise<void> {
  for (let at = 0; at < Number(values["filled-mib"]) << 4; at++) {
    const { status } = await guest.run(0, { type: disk.out, sector: at * 128, data: written });
    if (status !== 0) throw new Error(`a write ended with ${status}`);
  }
}

async function connectAgain(): Promise<void> {
  for (;;) {
    await pause(reconnect_ms);
    try {
      front = FrontEndClient.connect(socket);
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) continue;
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    return front.serve(guest);
  }
}

const pauses: number[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  await fill();
  const began = performance.now();
  if (values.stop) await engine.stop();
  else await engine.kill();
  front.close();
  guest.prepare(0, { type: disk.out, sector: 8 * round, data: written.subarray(0, 4096) });
  guest.publish(0);
  await pause(firstBackOff_ms);
  const starting = engine.start();
  await connectAgain();
  let answers = guest.reap(0);
  for (; answers.length === 0; answers = guest.reap(0)) await pause(1);
  pauses.push(performance.now() - began);
  if (answers[0]?.status !== 0) throw new Error("a request that waited has failed");
  await starting;
  if (values.explain) console.log(engine.log());
}
front.close();
guest.release();
pauses.sort((one, other) => one - other);
const median = pauses[pauses.length >> 1] ?? 0;
console.log(JSON.stringify({
  name: `engine_${values.stop ? "restarted" : "killed"}_under_a_guest`,
  ratio: Math.round(must_ms / median * 100) / 100,
  detail: {
    must: 1,
    result: median <= must_ms ? "must met" : "missed",
    median_ms: Math.round(median),
    longest_ms: Math.round(pauses.at(-1) ?? 0),
    rounds: pauses.length,
    volumes: names.length,
  },
}));
