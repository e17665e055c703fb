/**
 * What encryption costs: each row of the volumes' benches by an encrypted volume and by a plain one of the same engine on the
 * same file system, in turn round by round, medians as ratios. Prints one line of JSON for each figure; its `cpu_us` is the
 * engine's own processor time for a request, which a busy machine changes less than the rate.
 * `--rounds=N` and `--seconds=N` make it longer, `--only=TEXT` runs the rows whose name has it.
 */
import { parseArgs } from "node:util";
import { run } from "../viperblock/engine.ts";
import { disk } from "../viperblock/vhost_client.ts";
import { type Engine, type Job, measure, sizeMiB, startOurs, writtenFile } from "./block_peers.ts";
import { totalProcessorTime } from "./processor_time.ts";
import { drive, type Figure } from "./vhost_driver.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    only: { type: "string", default: "" },
    directory: { type: "string", default: "/var/tmp" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
/** Encryption may cost a quarter of each. */
const must = 0.75;
const directory = await Deno.makeTempDir({
  prefix: "mulga-encryption-bench-",
  dir: values.directory,
});

const small = { bs: "4k", depth: 32 } as const;
const large = { bs: "1m", depth: 8 } as const;
/** Which of the pair's volumes: all in memory, hardly anything, or half of it in chunks that the disk keeps. */
type Kind = "warm" | "cold" | "drained";

interface Row {
  readonly name: string;
  readonly kind: Kind;
  readonly measure: (engine: Engine) => Promise<Figure> | Figure;
}

async function byFio({ target, bare }: Engine, job: Job): Promise<Figure> {
  const before = totalProcessorTime(bare.process.pid);
  const { iops, operations } = await measure(target, job, seconds);
  return { iops, cpu_us: (totalProcessorTime(bare.process.pid) - before) / operations };
}

const fio = (name: string, kind: Kind, job: Job): Row => ({
  name: `nbd_${name}`,
  kind,
  measure: (engine) => byFio(engine, job),
});

const vhost = (name: string, type: number): Row => ({
  name: `vhost_${name}`,
  kind: "warm",
  measure: ({ socket, bare }) =>
    drive(`${socket}.vhost`, bare.process.pid, type, { sizeMiB, seconds }),
});

const rows: readonly Row[] = [
  fio("4k_randwrite_qd32", "warm", { rw: "randwrite", ...small }),
  fio("4k_randwrite_qd32_flush32", "warm", { rw: "randwrite", ...small, flushEvery: 32 }),
  fio("1m_write_qd8", "warm", { rw: "write", ...large }),
  fio("4k_randread_memory_qd32", "warm", { rw: "randread", ...small }),
  vhost("4k_randwrite_qd32", disk.out),
  vhost("4k_randread_memory_qd32", disk.in),
  fio("4k_randread_disk_qd32", "cold", { rw: "randread", ...small }),
  fio("1m_read_disk_qd8", "cold", { rw: "read", ...large }),
  fio("4k_randread_kept_chunks_qd32", "drained", { rw: "randread", ...small }),
  fio("1m_read_kept_chunks_qd8", "drained", { rw: "read", ...large }),
];

const median = (of: readonly number[]) => of.toSorted((a, b) => a - b)[of.length >> 1] ?? 0;
const rounded = (value: number) => Math.round(value * 100) / 100;

/** A volume of that kind that holds `content`, encrypted or not. */
async function start(kind: Kind, content: string, encrypted: boolean): Promise<Engine> {
  const home = `${directory}/${kind}-${encrypted ? "sealed" : "plain"}`;
  const key = crypto.getRandomValues(new Uint8Array(32)).toHex();
  const engine = await startOurs(home, content, (kind === "warm" ? sizeMiB + 16 : 1) << 20, {
    vhostSocket: `${home}/socket.vhost`,
    ...(kind === "drained" ? { segmentBudget: sizeMiB / 2 / 32, cacheFiles: 4 } : {}),
    ...(encrypted ? { key } : {}),
  });
  // A log that has been around once has its files; what the disk had no time for is kept when it is read.
  if (kind === "warm") await measure(engine.target, { rw: "randwrite", ...small }, seconds);
  for (let time = 0; time < 2; time++) await run("nbdcopy", [engine.uri, "null:"]);
  return engine;
}

async function compare(row: Row, sealed: Engine, plain: Engine): Promise<void> {
  const sealedRuns: Figure[] = [];
  const plainRuns: Figure[] = [];
  for (let round = 0; round < rounds; round++) {
    plainRuns.push(await row.measure(plain));
    sealedRuns.push(await row.measure(sealed));
  }
  const rate = (of: readonly Figure[]) => median(of.map((each) => each.iops));
  const cost = (of: readonly Figure[]) => median(of.map((each) => each.cpu_us));
  const ratio = rounded(rate(sealedRuns) / rate(plainRuns));
  console.log(JSON.stringify({
    name: `encrypted_${row.name} / plain`,
    ratio,
    detail: {
      must,
      result: ratio >= must ? "must met" : "missed",
      iops: Math.round(rate(sealedRuns)),
      peer: Math.round(rate(plainRuns)),
      cpu_us: rounded(cost(sealedRuns)),
      peer_cpu_us: rounded(cost(plainRuns)),
      rounds,
    },
  }));
}

try {
  const content = await writtenFile(`${directory}/content`);
  for (const kind of ["warm", "cold", "drained"] as const) {
    const wanted = rows.filter((row) => row.kind === kind && row.name.includes(values.only));
    if (wanted.length === 0) continue;
    await using plain = await start(kind, content, false);
    await using sealed = await start(kind, content, true);
    for (const row of wanted) await compare(row, sealed, plain);
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
