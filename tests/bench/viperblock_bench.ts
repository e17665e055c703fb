/**
 * The engine against qemu-nbd (cache=none, aio=io_uring) on the same file system: 4 KiB random writes and
 * reads at depth 32 by fio's nbd engine, interleaved round by round, medians as ratios. Prints one line of
 * JSON for each figure. `--rounds=N` and `--seconds=N` make it longer.
 */
import { parseArgs } from "node:util";
import { type BareEngine, startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    directory: { type: "string", default: "/var/tmp" },
  },
});
const rounds = Number(values.rounds);
const sizeMiB = 256;
const directory = await Deno.makeTempDir({ prefix: "mulga-bench-", dir: values.directory });

interface Job {
  readonly name: string;
  readonly target: number;
  readonly args: readonly string[];
}

const jobs: readonly Job[] = [
  { name: "nbd_4k_randwrite_qd32", target: 3, args: ["--rw=randwrite", "--bs=4k", "--iodepth=32"] },
  {
    name: "nbd_4k_randread_cached_qd32",
    target: 2,
    args: ["--rw=randread", "--bs=4k", "--iodepth=32"],
  },
  {
    name: "nbd_4k_randwrite_qd32_flush32",
    target: 2,
    args: ["--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=32"],
  },
  { name: "nbd_1m_write_qd8", target: 1, args: ["--rw=write", "--bs=1m", "--iodepth=8"] },
];

interface Figure {
  readonly iops: number;
  readonly p99_us: number;
}

async function measure(uri: string, job: Job): Promise<Figure> {
  const text = await run("timeout", [
    "-k",
    "5",
    "60",
    "fio",
    "--thread",
    "--name=bench",
    "--ioengine=nbd",
    `--uri=${uri}`,
    `--size=${sizeMiB}m`,
    "--norandommap",
    "--time_based",
    `--runtime=${values.seconds}`,
    "--randrepeat=0",
    "--output-format=json",
    ...job.args,
  ], { timeout_ms: 90_000 });
  const [result] = JSON.parse(text.slice(text.indexOf("{"))).jobs;
  const side = job.args[0]?.includes("read") ? result.read : result.write;
  return { iops: side.iops, p99_us: side.clat_ns.percentile["99.000000"] / 1000 };
}

const median = (of: readonly number[]) => of.toSorted((a, b) => a - b)[of.length >> 1] ?? 0;
const rounded = (value: number) => Math.round(value * 100) / 100;

let engine: BareEngine | undefined;
let peer: Deno.ChildProcess | undefined;
try {
  const socket = `${directory}/engine`;
  engine = await startBare({
    directory,
    socket,
    sizeBytes: sizeMiB << 20,
    epoch: 1,
    cacheBytes: (sizeMiB + 16) << 20,
    // Room for the runs, as a node with a free disk has it.
    segmentBudget: 96,
  });
  const file = `${directory}/peer.raw`;
  // Written, not just allocated, so that the peer has no extents to convert.
  await run("dd", ["if=/dev/urandom", `of=${file}`, "bs=1M", `count=${sizeMiB}`, "conv=fsync"]);
  peer = new Deno.Command("qemu-nbd", {
    args: [
      "--format=raw",
      "--cache=none",
      "--aio=io_uring",
      "--persistent",
      "--shared=0",
      "--export-name=peer",
      `--socket=${directory}/peer`,
      file,
    ],
    stdin: "null",
  }).spawn();
  const uris = {
    engine: `nbd+unix:///vol-bare?socket=${socket}`,
    peer: `nbd+unix:///peer?socket=${directory}/peer`,
  };
  for (let tries = 0;; tries++) {
    try {
      await run("nbdinfo", ["--size", uris.peer]);
      break;
    } catch (error) {
      if (tries === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await run("nbdcopy", ["--flush", file, uris.engine]);
  // A log that has been around once has its files; making them is not what is measured.
  await measure(uris.engine, { ...(jobs[0] as Job) });
  await run("nbdcopy", [uris.engine, "null:"]);
  for (const job of jobs) {
    const ours: Figure[] = [];
    const theirs: Figure[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await measure(uris.engine, job));
      theirs.push(await measure(uris.peer, job));
    }
    const iops = median(ours.map((each) => each.iops));
    const peerIops = median(theirs.map((each) => each.iops));
    console.log(JSON.stringify({
      name: job.name,
      ratio: rounded(iops / peerIops),
      detail: {
        against: "qemu-nbd cache=none aio=io_uring",
        target: job.target,
        iops: Math.round(iops),
        peer_iops: Math.round(peerIops),
        p99_us: Math.round(median(ours.map((each) => each.p99_us))),
        peer_p99_us: Math.round(median(theirs.map((each) => each.p99_us))),
        rounds,
      },
    }));
  }
} finally {
  await engine?.kill();
  peer?.kill("SIGKILL");
  await peer?.status;
  await Deno.remove(directory, { recursive: true });
}
