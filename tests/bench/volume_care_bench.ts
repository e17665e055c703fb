/**
 * What care of volumes costs guests: a guest's waits while its volume is checked, against the same without; and the first reads of a
 * volume whose snapshot is restored fast, against those of one that is not. The object store is on the same node. Prints a line of JSON
 * for each; `--rounds=N` and `--seconds=N` make it longer, `--only=NAME` runs a part.
 */
import { parseArgs } from "node:util";
import {
  checkVolume,
  createSnapshot,
  createVolume,
  deleteVolume,
  describeFastRestore,
  mountVolume,
  setFastRestore,
  unmountVolume,
} from "../../services/viperblock/contract.ts";
import { until } from "../kit/until.ts";
import { run, startEngine } from "../viperblock/engine.ts";
import { measure, sizeMiB, writtenFile } from "./block_peers.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "3" },
    only: { type: "string", default: "" },
  },
});
const rounds = Number(values.rounds);
const wanted = (name: string) => name.includes(values.only);
const size_bytes = sizeMiB << 20;
/** First reads of so many places, far fewer than the volume has windows. */
const firstReads = 100;

const median = (all: readonly number[]) => all.toSorted((a, b) => a - b)[all.length >> 1] ?? 0;
const rounded = (value: number) => Math.round(value * 100) / 100;

function print(
  name: string,
  ours: readonly number[],
  peers: readonly number[],
  goal: object,
  detail: object,
) {
  const ratio = rounded(median(ours) / median(peers));
  console.log(JSON.stringify({ name, ratio, detail: { ...goal, ...detail, rounds } }));
}

await using engine = await startEngine();
const scratch = await Deno.makeTempDir({ prefix: "mulga-care-", dir: "/var/tmp" });
const target = (volume_id: string) => ({
  fio: ["--ioengine=nbd", `--uri=${engine.uri(volume_id)}`],
  flush: "--fsync",
});

/** A volume of which half is in chunks and half in the log. */
async function checked(): Promise<void> {
  const volume_id = "vol-checked";
  await engine.ask(createVolume, { volume_id, size_bytes });
  await engine.ask(mountVolume, { volume_id });
  const content = await writtenFile(`${scratch}/content.raw`);
  await run("nbdcopy", ["--flush", content, engine.uri(volume_id)]);
  await engine.ask(unmountVolume, { volume_id });
  await engine.ask(mountVolume, { volume_id });
  const job = { bs: "4k", depth: 4, sizeMiB: sizeMiB / 2 };
  await measure(target(volume_id), { ...job, rw: "write", bs: "1m" }, 2);
  for (const rw of ["randread", "randwrite"]) {
    const [alone, beside]: [number[], number[]] = [[], []];
    let checks = 0;
    for (let round = 0; round < rounds; round++) {
      alone.push((await measure(target(volume_id), { ...job, rw }, Number(values.seconds))).p99_us);
      let isOver = false;
      const checking = (async () => {
        for (; !isOver; checks++) {
          const { is_sound } = await engine.ask(checkVolume, { id: volume_id });
          if (!is_sound) throw new Error("the check found what is not there");
        }
      })();
      beside.push(
        (await measure(target(volume_id), { ...job, rw }, Number(values.seconds))).p99_us,
      );
      isOver = true;
      await checking;
    }
    print(`guest_4k_${rw}_p99_beside_a_check / without`, beside, alone, { must: 2, aim: 1.3 }, {
      p99_us: Math.round(median(beside)),
      without: Math.round(median(alone)),
      checks,
    });
  }
  await engine.ask(unmountVolume, { volume_id });
}

async function firstReadsOf(volume_id: string, snapshot_id: string): Promise<number> {
  await engine.ask(createVolume, { volume_id, size_bytes, snapshot_id });
  await engine.ask(mountVolume, { volume_id });
  const text = await run("fio", [
    ...[
      "--thread",
      "--name=first",
      ...target(volume_id).fio,
      `--size=${sizeMiB}m`,
      "--rw=randread",
    ],
    ...["--bs=4k", "--iodepth=1", "--norandommap", "--randrepeat=0", `--number_ios=${firstReads}`],
    "--output-format=json",
  ]);
  await engine.ask(unmountVolume, { volume_id });
  await engine.ask(deleteVolume, { volume_id });
  const [{ read }] = JSON.parse(text.slice(text.indexOf("{"))).jobs;
  return read.clat_ns.mean / 1000;
}

async function restored(): Promise<void> {
  const content = await writtenFile(`${scratch}/content.raw`);
  for (const name of ["slow", "fast"]) {
    const volume_id = `vol-${name}`;
    await engine.ask(createVolume, { volume_id, size_bytes });
    await engine.ask(mountVolume, { volume_id });
    await run("nbdcopy", ["--flush", content, engine.uri(volume_id)]);
    await engine.ask(unmountVolume, { volume_id });
    await engine.ask(createSnapshot, { volume_id, snapshot_id: `snap-${name}` });
  }
  await engine.ask(setFastRestore, { snapshot_id: "snap-fast", wanted: true });
  await until(
    "all is on the disk",
    async () =>
      (await engine.ask(describeFastRestore, { snapshot_id: "snap-fast" })).state === "ready",
  );
  const [fast, slow]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    slow.push(await firstReadsOf(`vol-slow-${round}`, "snap-slow"));
    fast.push(await firstReadsOf(`vol-fast-${round}`, "snap-fast"));
  }
  print("first_4k_reads_fast_restored / restored", fast, slow, { must: 1, aim: 0.5 }, {
    mean_us: Math.round(median(fast)),
    restored: Math.round(median(slow)),
    reads: firstReads,
  });
}

try {
  if (wanted("check")) await checked();
  if (wanted("first_reads")) await restored();
} finally {
  await Deno.remove(scratch, { recursive: true });
}
