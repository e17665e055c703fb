/**
 * What encryption costs: an encrypted volume against a plain one of the same engine on the same file system,
 * by fio's nbd engine, interleaved round by round, medians as ratios. Reads come from the log on the disk, past a
 * cache too small to matter. Prints one line of JSON for each figure.
 */
import { parseArgs } from "node:util";
import { type BareEngine, startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";
import { totalProcessorTime } from "./processor_time.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    directory: { type: "string", default: "/var/tmp" },
  },
});
const rounds = Number(values.rounds);
const sizeMiB = 128;
/** Encryption may cost a quarter of each. */
const target = 0.75;
const directory = await Deno.makeTempDir({
  prefix: "mulga-encryption-bench-",
  dir: values.directory,
});

const jobs = [
  { name: "encrypted_4k_randwrite_qd32", args: ["--rw=randwrite", "--bs=4k", "--iodepth=32"] },
  {
    name: "encrypted_4k_randwrite_qd32_flush32",
    args: ["--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=32"],
  },
  { name: "encrypted_4k_randread_qd32", args: ["--rw=randread", "--bs=4k", "--iodepth=32"] },
  { name: "encrypted_1m_write_qd8", args: ["--rw=write", "--bs=1m", "--iodepth=8"] },
  { name: "encrypted_1m_read_qd8", args: ["--rw=read", "--bs=1m", "--iodepth=8"] },
] as const;

interface Figure {
  readonly iops: number;
  /** The engine's own, which a busy machine does not change as it changes the rate. */
  readonly cpu_us: number;
}

interface Served {
  readonly socket: string;
  readonly pid: number;
}

async function measure({ socket, pid }: Served, { args }: typeof jobs[number]): Promise<Figure> {
  const before = totalProcessorTime(pid);
  const text = await run("timeout", [
    "-k",
    "5",
    "60",
    "fio",
    "--thread",
    "--name=bench",
    "--ioengine=nbd",
    `--uri=nbd+unix:///vol-bare?socket=${socket}`,
    `--size=${sizeMiB}m`,
    "--norandommap",
    "--time_based",
    `--runtime=${values.seconds}`,
    "--randrepeat=0",
    "--output-format=json",
    ...args,
  ], { timeout_ms: 90_000 });
  const [result] = JSON.parse(text.slice(text.indexOf("{"))).jobs;
  const side = args[0].includes("read") ? result.read : result.write;
  const cpu_us = (totalProcessorTime(pid) - before) / side.total_ios;
  return { iops: side.iops, cpu_us };
}

const median = (of: readonly number[]) => of.toSorted((a, b) => a - b)[of.length >> 1] ?? 0;
const rounded = (value: number) => Math.round(value * 100) / 100;

const engines: BareEngine[] = [];
try {
  const start = async (name: string, key?: string) => {
    const home = `${directory}/${name}`;
    await Deno.mkdir(home);
    const socket = `${home}/socket`;
    const engine = await startBare({
      directory: home,
      socket,
      sizeBytes: sizeMiB << 20,
      epoch: 1,
      cacheBytes: 1 << 20,
      segmentBudget: 48,
      ...(key === undefined ? {} : { key }),
    });
    engines.push(engine);
    const fill = ["-f", "raw", "-c", `write -P 5 0 ${sizeMiB}M`, "-c", "flush"];
    await run("qemu-io", [...fill, `nbd+unix:///vol-bare?socket=${socket}`]);
    return { socket, pid: engine.process.pid };
  };
  const plain = await start("plain");
  const sealed = await start("sealed", crypto.getRandomValues(new Uint8Array(32)).toHex());
  for (const served of [plain, sealed]) await measure(served, jobs[0]);
  for (const job of jobs) {
    const sealedRuns: Figure[] = [];
    const plainRuns: Figure[] = [];
    for (let round = 0; round < rounds; round++) {
      plainRuns.push(await measure(plain, job));
      sealedRuns.push(await measure(sealed, job));
    }
    const rate = (of: readonly Figure[]) => median(of.map((each) => each.iops));
    const cost = (of: readonly Figure[]) => median(of.map((each) => each.cpu_us));
    console.log(JSON.stringify({
      name: job.name,
      ratio: rounded(rate(sealedRuns) / rate(plainRuns)),
      detail: {
        against: "the same engine without encryption",
        target,
        iops: Math.round(rate(sealedRuns)),
        peer_iops: Math.round(rate(plainRuns)),
        cpu_us: rounded(cost(sealedRuns)),
        peer_cpu_us: rounded(cost(plainRuns)),
        rounds,
      },
    }));
  }
} finally {
  for (const engine of engines) await engine.kill();
  await Deno.remove(directory, { recursive: true });
}
