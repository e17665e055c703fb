/**
 * The four that the bench of volumes compares: our engine alone in a process, qemu-nbd on a file, the
 * file system itself, and a volume that does nothing; all in one directory. fio drives each, so that the client costs the same.
 */
import { type BareEngine, type BareOptions, startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";
import { startNullVolume } from "./null_volume.ts";

export const sizeMiB = 256;

export interface Job {
  readonly rw: string;
  readonly bs: string;
  readonly depth: number;
  /** What is used of the volume; all unless given. */
  readonly sizeMiB?: number;
  /** A flush after so many writes. */
  readonly flushEvery?: number;
}

export interface Measured {
  readonly iops: number;
  readonly p99_us: number;
  /** How many were done. */
  readonly operations: number;
  /** Processor time that fio took for each. */
  readonly client_us: number;
}

/** Somebody whom fio can read and write. */
export interface Target {
  readonly fio: readonly string[];
  readonly flush: string;
}

export async function measure(target: Target, job: Job, seconds: number): Promise<Measured> {
  const text = await run("timeout", [
    ...["-k", "5", "120", "fio", "--thread", "--name=bench", ...target.fio],
    ...[
      `--size=${job.sizeMiB ?? sizeMiB}m`,
      "--norandommap",
      "--time_based",
      `--runtime=${seconds}`,
    ],
    ...["--randrepeat=0", "--output-format=json", `--rw=${job.rw}`, `--bs=${job.bs}`],
    `--iodepth=${job.depth}`,
    ...(job.flushEvery === undefined ? [] : [`${target.flush}=${job.flushEvery}`]),
  ], { timeout_ms: 150_000 });
  const [result] = JSON.parse(text.slice(text.indexOf("{"))).jobs;
  const side = job.rw.includes("read") ? result.read : result.write;
  const busy_us = (result.usr_cpu + result.sys_cpu) / 100 * result.job_runtime * 1000;
  return {
    iops: side.iops,
    p99_us: side.clat_ns.percentile["99.000000"] / 1000,
    operations: side.total_ios,
    client_us: busy_us / side.total_ios,
  };
}

const nbd = (uri: string): Target => ({
  fio: ["--ioengine=nbd", `--uri=${uri}`],
  flush: "--fsync",
});

export interface Engine extends AsyncDisposable {
  readonly target: Target;
  readonly uri: string;
  readonly socket: string;
  readonly bare: BareEngine;
}

/** Our engine with a volume that holds `content`. */
export async function startOurs(
  directory: string,
  content: string,
  cacheBytes: number,
  more: Pick<BareOptions, "segmentBudget" | "cacheFiles" | "vhostSocket" | "key"> = {},
): Promise<Engine> {
  await Deno.mkdir(directory);
  const socket = `${directory}/socket`;
  const bare = await startBare({
    directory,
    socket,
    sizeBytes: sizeMiB << 20,
    epoch: 1,
    cacheBytes,
    // Room for the runs, as a node with a free disk has it.
    segmentBudget: 96,
    ...more,
  });
  const uri = `nbd+unix:///vol-bare?socket=${socket}`;
  await run("nbdcopy", ["--flush", content, uri]);
  return { bare, uri, socket, target: nbd(uri), [Symbol.asyncDispose]: () => bare.kill() };
}

/** A file that was written, not just allocated, so that nobody has extents to convert. */
export async function writtenFile(path: string): Promise<string> {
  await run("dd", ["if=/dev/urandom", `of=${path}`, "bs=1M", `count=${sizeMiB}`, "conv=fsync"]);
  return path;
}

export interface Peer extends AsyncDisposable {
  readonly target: Target;
}

/** qemu-nbd on a file, without the page cache and with io_uring. */
export async function startQemuNbd(directory: string): Promise<Peer> {
  const file = await writtenFile(`${directory}/peer.raw`);
  const process = new Deno.Command("qemu-nbd", {
    args: [
      ...["--format=raw", "--cache=none", "--aio=io_uring", "--persistent", "--shared=0"],
      ...["--export-name=peer", `--socket=${directory}/peer`, file],
    ],
    stdin: "null",
  }).spawn();
  const uri = `nbd+unix:///peer?socket=${directory}/peer`;
  for (let tries = 0;; tries++) {
    try {
      await run("nbdinfo", ["--size", uri]);
      break;
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    target: nbd(uri),
    async [Symbol.asyncDispose]() {
      process.kill("SIGKILL");
      await process.status;
    },
  };
}

/** What answers at once and keeps nothing: as fast as the client can be. */
export async function startNull(directory: string): Promise<Peer> {
  const { uri, [Symbol.asyncDispose]: end } = await startNullVolume(
    `${directory}/nothing`,
    sizeMiB << 20,
  );
  return { target: nbd(uri), [Symbol.asyncDispose]: end };
}

/** The file system, by io_uring and without the page cache. */
export async function rawFile(directory: string): Promise<Target> {
  const file = await writtenFile(`${directory}/raw.raw`);
  return {
    fio: ["--ioengine=io_uring", "--direct=1", `--filename=${file}`],
    flush: "--fdatasync",
  };
}
