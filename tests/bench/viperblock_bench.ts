/**
 * The engine against qemu-nbd (cache=none, aio=io_uring) and raw fio (io_uring, direct) on the same file
 * system: each row is measured round by round, all three in turn, and the medians are compared. On a
 * machine that others use, only these ratios and the processor time of an operation mean anything. fio's NBD client
 * has a limit of its own, which no server can pass: each row is also held against a volume that does nothing, in turn with
 * the others.
 *
 * Prints one line of JSON for each figure. `--rounds=N` and `--seconds=N` make it longer, `--only=TEXT` runs
 * the rows whose name has it, `--explain` adds where the engine's processor time goes.
 */
import { parseArgs } from "node:util";
import {
  type Engine,
  type Job,
  measure,
  type Measured,
  rawFile,
  sizeMiB,
  startNull,
  startOurs,
  startQemuNbd,
  type Target,
} from "./block_peers.ts";
import { largeVolume } from "./large_volume.ts";
import { explain } from "./engine_profile.ts";
import { agedVolume } from "./aged_volume.ts";
import { drainedVolume, drainingVolume } from "./drained_volume.ts";
import { startBareLog } from "./bare_log.ts";
import { type Cost, cost } from "./pipelined_client.ts";
import { logFilePattern } from "../../services/viperblock/format.ts";
import { startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    directory: { type: "string", default: "/var/tmp" },
    only: { type: "string", default: "" },
    explain: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);

interface Goal {
  readonly must: number;
  readonly aim: number;
}

interface Row {
  readonly name: string;
  readonly job: Job;
  /** From the disk, not from the engine's memory. */
  readonly cold?: true;
  readonly qemuNbd: Goal;
  readonly raw: Goal;
}

const small = { bs: "4k", depth: 32 } as const;
const large = { bs: "1m", depth: 8 } as const;
const rows: readonly Row[] = [
  {
    name: "nbd_4k_randwrite_qd32",
    job: { rw: "randwrite", ...small },
    qemuNbd: { must: 3.5, aim: 5 },
    raw: { must: 0.85, aim: 1.3 },
  },
  {
    name: "nbd_4k_randwrite_qd32_flush32",
    job: { rw: "randwrite", ...small, flushEvery: 32 },
    qemuNbd: { must: 2.2, aim: 3 },
    raw: { must: 0.8, aim: 1.2 },
  },
  {
    name: "nbd_4k_randread_disk_qd32",
    job: { rw: "randread", ...small },
    cold: true,
    qemuNbd: { must: 1.1, aim: 1.5 },
    raw: { must: 0.65, aim: 0.9 },
  },
  {
    name: "nbd_4k_randread_memory_qd32",
    job: { rw: "randread", ...small },
    qemuNbd: { must: 3, aim: 3 },
    raw: { must: 1.5, aim: 1.5 },
  },
  {
    name: "nbd_1m_write_qd8",
    job: { rw: "write", ...large },
    qemuNbd: { must: 2, aim: 3 },
    raw: { must: 0.8, aim: 1.05 },
  },
  {
    name: "nbd_1m_read_disk_qd8",
    job: { rw: "read", ...large },
    cold: true,
    qemuNbd: { must: 0.9, aim: 1.1 },
    raw: { must: 0.75, aim: 0.95 },
  },
];

/** Seconds after which the log has all the files that it may have, on any disk worth measuring. */
const longestGrowth = 20;
const isLogFile = (name: string) => logFilePattern.test(name);

const latency: Goal = { must: 3, aim: 1.5 };
const cpu: Goal = { must: 2, aim: 1 };
const idleMemory: Goal = { must: 48, aim: 16 };

const median = (of: readonly number[]) => of.toSorted((a, b) => a - b)[of.length >> 1] ?? 0;
const rounded = (value: number) => Math.round(value * 100) / 100;

/** How a figure stands to its goal; `less` when small is good. */
function verdict(value: number, { must, aim }: Goal, less = false): string {
  const reaches = (bound: number) => less ? value <= bound : value >= bound;
  return reaches(aim) ? "aim met" : reaches(must) ? "must met" : "missed";
}

function print(
  name: string,
  value: number,
  goal: Goal,
  detail: Record<string, unknown>,
  less = false,
): void {
  const ratio = rounded(value);
  console.log(JSON.stringify({
    name,
    ratio,
    detail: { must: goal.must, aim: goal.aim, result: verdict(ratio, goal, less), ...detail },
  }));
}

async function compare(
  row: Row,
  targets: readonly [Target, Target, Target, Target],
): Promise<void> {
  const found: Measured[][] = [[], [], [], []];
  for (let round = 0; round < rounds; round++) {
    for (const [place, target] of targets.entries()) {
      found[place]?.push(await measure(target, row.job, seconds));
    }
  }
  const [mine = 0, peer = 0, bare = 0, limit = 0] = found.map((each) =>
    median(each.map((one) => one.iops))
  );
  const [p99 = 0, peerP99 = 0, bareP99 = 0] = found.map((each) =>
    median(each.map((one) => one.p99_us))
  );
  const iops = { iops: Math.round(mine), rounds };
  print(`${row.name} / qemu-nbd`, mine / peer, row.qemuNbd, { ...iops, peer: Math.round(peer) });
  print(`${row.name} / raw`, mine / bare, row.raw, { ...iops, peer: Math.round(bare) });
  console.log(JSON.stringify({
    name: `${row.name} / client's own limit`,
    ratio: rounded(mine / limit),
    detail: { ...iops, peer: Math.round(limit), limit_to_raw: rounded(limit / bare) },
  }));
  const us = {
    p99_us: Math.round(p99),
    qemu_nbd_us: Math.round(peerP99),
    raw_us: Math.round(bareP99),
  };
  print(`${row.name} p99 / raw`, p99 / bareP99, latency, us, true);
}

/** Processor time of the whole engine process for an operation. */
async function processor(engine: Engine, kind: "read" | "write", name: string): Promise<void> {
  const costs: Cost[] = [];
  for (let round = 0; round < rounds; round++) {
    costs.push(await costOf({ socket: engine.socket, pid: engine.bare.process.pid }, kind));
  }
  printCost(name, costs);
}

/** What an operation costs the process behind a socket. */
const costOf = (
  of: { readonly socket: string; readonly pid: number },
  kind: "read" | "write",
  depth: number = small.depth,
) => cost({ ...of, kind, depth, name: "vol-bare", blocks: sizeMiB * 256, seconds });

/** Prints it; answers the time. */
function printCost(name: string, costs: readonly Cost[]): number {
  const total = median(costs.map((each) => each.user_us + each.system_us));
  print(name, total, cpu, {
    user_us: rounded(median(costs.map((each) => each.user_us))),
    system_us: rounded(median(costs.map((each) => each.system_us))),
    engine_thread_us: rounded(median(costs.map((each) => each.thread_us ?? NaN))),
    per_second: Math.round(median(costs.map((each) => each.perSecond))),
    rounds,
  }, true);
  return total;
}

/** The same of writes, in turn with what the machine takes for them by itself; with many under way, too, which one write of the disk takes along. */
async function writing(engine: Engine, file: string, name: string): Promise<void> {
  await using bare = await startBareLog(`${directory}/bare`, file);
  const ours = { socket: engine.socket, pid: engine.bare.process.pid };
  for (const depth of [small.depth, 128]) {
    const costs: Cost[] = [];
    const bareCosts: Cost[] = [];
    for (let round = 0; round < rounds; round++) {
      costs.push(await costOf(ours, "write", depth));
      bareCosts.push(await costOf(bare, "write", depth));
    }
    const row = depth === small.depth ? name : `${name}_qd${depth}`;
    const total = printCost(row, costs);
    const least = median(bareCosts.map((each) => each.user_us + each.system_us));
    console.log(JSON.stringify({
      name: `${row} / received, written and answered by nobody`,
      ratio: rounded(total / least),
      detail: { us: rounded(total), peer_us: rounded(least), rounds },
    }));
  }
}

/** The same of reads that no cache has, in turn with what fio takes for them where there is no volume. */
async function readingDisk(engine: Engine, raw: Target, name: string): Promise<void> {
  const costs: Cost[] = [];
  const rawCosts: number[] = [];
  for (let round = 0; round < rounds; round++) {
    costs.push(await costOf({ socket: engine.socket, pid: engine.bare.process.pid }, "read"));
    rawCosts.push((await measure(raw, { rw: "randread", ...small }, seconds)).client_us);
  }
  const total = printCost(name, costs);
  const least = median(rawCosts);
  console.log(JSON.stringify({
    name: `${name} / raw, by fio`,
    ratio: rounded(total / least),
    detail: { us: rounded(total), peer_us: rounded(least), rounds },
  }));
}

/** The same with a profiler in the engine: how long its thread is in each stage, for one operation. */
async function explained(kind: "read" | "write"): Promise<void> {
  const place = `${directory}/explained`;
  const profile = `${place}.profile`;
  const options = {
    directory: place,
    socket: `${place}/socket`,
    sizeBytes: sizeMiB << 20,
    epoch: kind === "write" ? 1 : 2,
    cacheBytes: (sizeMiB + 16) << 20,
    segmentBudget: 96,
    profile,
  };
  await Deno.mkdir(place, { recursive: true });
  const engine = await startBare(options);
  if (kind === "read") {
    await run("nbdcopy", [`nbd+unix:///vol-bare?socket=${options.socket}`, "null:"]);
  }
  const spent = await cost({
    socket: options.socket,
    name: "vol-bare",
    pid: engine.process.pid,
    kind,
    blocks: sizeMiB * 256,
    seconds: seconds * rounds,
  });
  await engine.stop();
  const us = explain(await Deno.readTextFile(profile), spent.operations);
  console.log(JSON.stringify({
    name: `explain_4k_${kind}_us`,
    ratio: rounded(1e6 / spent.perSecond),
    detail: {
      ...us,
      processor_user: rounded(spent.user_us),
      processor_system: rounded(spent.system_us),
    },
  }));
}

/** Speed after ten overwrites, with three snapshots, against a fresh volume in turn. */
async function aged(): Promise<void> {
  const found = await agedVolume(directory, rounds, seconds);
  const [freshIops, agedIops] = [median(found.freshIops), median(found.agedIops)];
  const detail = { fresh: Math.round(freshIops), aged: Math.round(agedIops), rounds };
  print("aged_4k_randwrite_qd32 / fresh", agedIops / freshIops, { must: 0.6, aim: 0.8 }, detail);
  const amplification = { kept_for_each_live_block: rounded(found.kept) };
  print("aged_write_amplification", found.written, { must: 2, aim: 1.5 }, amplification, true);
}

/** Reads of what is not in the log any more, against the same without chunks on the node's disk. */
async function drained(content: string, raw: Target): Promise<void> {
  const found = await drainedVolume(directory, content, raw, rounds, seconds);
  const [kept, fetched, bare] = [median(found.kept), median(found.fetched), median(found.raw)];
  print("drained_4k_randread_disk_qd32 / raw", kept / bare, { must: 0.65, aim: 0.9 }, {
    iops: Math.round(kept),
    fetched_from_store: Math.round(fetched),
    peer: Math.round(bare),
    rounds,
  });
}

/** What it costs the drain that chunks are kept on the node's disk. */
async function draining(content: string): Promise<void> {
  const found = await drainingVolume(directory, content, rounds);
  const [kept, notKept] = [median(found.kept), median(found.notKept)];
  print("draining_1m_write_kept / not_kept", kept / notKept, { must: 0.75, aim: 0.9 }, {
    mib_a_second: Math.round(kept),
    not_kept: Math.round(notKept),
    rounds,
  });
}

/** A volume of 1 TiB with a tenth of it mapped, until it serves; its map's memory. */
async function opened(): Promise<void> {
  const found = await largeVolume(`${directory}/large`, rounds);
  const { mappedBlocks } = found;
  const goal = { must: 2, aim: 0.5 };
  print("open_1tib_s", median(found.seconds), goal, { mappedBlocks, rounds }, true);
  print("map_bytes_for_each_block", found.bytesForEach, { must: 12, aim: 12 }, {
    of: "all that an open volume takes",
  }, true);
}

/**
 * Writes until the log has been around once and has its files, as the peers' files have been written before: making them
 * is not what is measured. Returns how fast that was, second by second.
 */
async function around(log: string, target: Target): Promise<number[]> {
  const files = () =>
    Array.from(Deno.readDirSync(log), ({ name }) => name).filter(isLogFile).length;
  const found: number[] = [];
  for (let made = -1; made < files() && found.length < longestGrowth;) {
    made = files();
    found.push((await measure(target, { rw: "randwrite", ...small }, 1)).iops);
  }
  return found;
}

const wanted = (name: string) => name.includes(values.only);
const directory = await Deno.makeTempDir({ prefix: "mulga-bench-", dir: values.directory });
try {
  const raw = await rawFile(directory);
  await using peer = await startQemuNbd(directory);
  const content = `${directory}/raw.raw`;
  await using nothing = await startNull(directory);
  await using engine = await startOurs(`${directory}/warm`, content, (sizeMiB + 16) << 20);
  await using cold = await startOurs(`${directory}/cold`, content, 1 << 20);
  print("memory_mib_of_an_idle_volume", cold.bare.ready.volume_bytes / 2 ** 20, idleMemory, {
    cache: "empty",
  }, true);
  const whileGrowing = await around(`${directory}/warm/log`, engine.target);
  console.log(JSON.stringify({
    name: "nbd_4k_randwrite_qd32_while_the_log_grows",
    ratio: rounded((whileGrowing[0] ?? 0) / (whileGrowing.at(-1) ?? 0)),
    detail: { iops_second_by_second: whileGrowing.map(Math.round) },
  }));
  await run("nbdcopy", [engine.uri, "null:"]);
  for (const row of rows.filter((each) => wanted(each.name))) {
    const ours = row.cold === true ? cold.target : engine.target;
    await compare(row, [ours, peer.target, raw, nothing.target]);
  }
  for (const kind of ["write", "read"] as const) {
    const name = `cpu_us_per_4k_${kind}_pipelined`;
    if (!wanted(name)) continue;
    // What was written since is in the log alone: without this, reads come from both, as chance has it.
    if (kind === "read") await run("nbdcopy", [engine.uri, "null:"]);
    if (kind === "write") await writing(engine, `${directory}/peer.raw`, name);
    else await processor(engine, kind, name);
  }
  const disk = "cpu_us_per_4k_read_disk_pipelined";
  if (wanted(disk)) await readingDisk(cold, raw, disk);
  if (wanted("open_1tib")) await opened();
  if (wanted("aged")) await aged();
  if (wanted("drained")) await drained(content, raw);
  if (wanted("draining")) await draining(content);
  if (values.explain) {
    await explained("write");
    await explained("read");
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
