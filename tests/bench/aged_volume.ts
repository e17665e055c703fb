/**
 * A volume of which 70 % were written over ten times in random order, with a snapshot after the third, sixth
 * and ninth time, on a log that is much smaller than what was written: what drain, snapshots and
 * compactor leave of a fresh volume's speed, and what is written and kept for a byte of the guest's.
 */
import { type BareEngine, startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";
import { measure, sizeMiB, type Target } from "./block_peers.ts";

const fill = Math.floor(sizeMiB * 0.7);
const times = 10;
const chunkBytes = 4 << 20;

interface Volume extends AsyncDisposable {
  readonly bare: BareEngine;
  readonly target: Target;
}

async function begin(directory: string): Promise<Volume> {
  await Deno.mkdir(directory);
  const socket = `${directory}/socket`;
  const bare = await startBare({
    directory,
    socket,
    sizeBytes: sizeMiB << 20,
    epoch: 1,
    cacheBytes: 32 << 20,
    segmentBudget: 16,
  });
  const fio = ["--ioengine=nbd", `--uri=nbd+unix:///vol-bare?socket=${socket}`];
  await overwrite(fio, "write", "1m");
  return { bare, target: { fio, flush: "--fsync" }, [Symbol.asyncDispose]: () => bare.kill() };
}

/** Each block once. */
async function overwrite(fio: readonly string[], rw: string, bs: string): Promise<void> {
  await run("timeout", [
    ...["-k", "5", "900", "fio", "--thread", "--name=fill", ...fio, `--rw=${rw}`, `--bs=${bs}`],
    ...[`--size=${fill}m`, "--iodepth=32", "--randrepeat=0", "--refill_buffers"],
  ], { timeout_ms: 930_000 });
}

export interface Aged {
  readonly freshIops: readonly number[];
  readonly agedIops: readonly number[];
  /** Bytes that went to the log and into chunks, for each that the guest wrote. */
  readonly written: number;
  /** Blocks in chunks for each that lives, the snapshots' among them. */
  readonly kept: number;
}

export async function agedVolume(
  directory: string,
  rounds: number,
  seconds: number,
): Promise<Aged> {
  await using fresh = await begin(`${directory}/fresh`);
  await using aged = await begin(`${directory}/aged`);
  let counters: Record<string, number> = {};
  for (let time = 1; time <= times; time++) {
    await overwrite(aged.target.fio, "randwrite", "4k");
    if (time % 3 === 0) counters = await aged.bare.snapshot();
  }
  const job = { rw: "randwrite", bs: "4k", depth: 32, sizeMiB: fill };
  const freshIops: number[] = [];
  const agedIops: number[] = [];
  for (let round = 0; round < rounds; round++) {
    freshIops.push((await measure(fresh.target, job, seconds)).iops);
    agedIops.push((await measure(aged.target, job, seconds)).iops);
  }
  const count = (name: string) => counters[name] ?? NaN;
  return {
    freshIops,
    agedIops,
    written: (count("log_written_bytes") + count("chunks_stored") * chunkBytes) /
      count("guest_written_bytes"),
    kept: count("chunk_blocks") / count("live_chunk_blocks"),
  };
}
