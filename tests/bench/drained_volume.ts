/**
 * Random reads of a volume that is twice as large as its log, so that most of it is in the object store: with
 * its chunks kept on the node's disk, and with each window fetched. The store is a directory of the same file
 * system, which answers sooner than any service would.
 * And writes through a log so small that the drain sets the pace, with chunks kept and without.
 */
import { run } from "../viperblock/engine.ts";
import { type Job, measure, sizeMiB, startOurs, type Target } from "./block_peers.ts";

const logFiles = sizeMiB / 2 / 32;

export interface Drained {
  readonly kept: readonly number[];
  readonly fetched: readonly number[];
  readonly raw: readonly number[];
}

/** @returns the requests a second of each round */
export async function drainedVolume(
  directory: string,
  content: string,
  raw: Target,
  rounds: number,
  seconds: number,
): Promise<Drained> {
  const log = { segmentBudget: logFiles };
  await using kept = await startOurs(`${directory}/kept`, content, 1 << 20, {
    ...log,
    cacheFiles: 4,
  });
  await using fetched = await startOurs(`${directory}/fetched`, content, 1 << 20, log);
  // What the disk had no time for while it was drained is kept when it is read.
  for (let time = 0; time < 2; time++) await run("nbdcopy", [kept.uri, "null:"]);
  const job: Job = { rw: "randread", bs: "4k", depth: 32 };
  const found = { kept: [] as number[], fetched: [] as number[], raw: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    found.kept.push((await measure(kept.target, job, seconds)).iops);
    found.fetched.push((await measure(fetched.target, job, seconds)).iops);
    found.raw.push((await measure(raw, job, seconds)).iops);
  }
  return found;
}

const drainingLogFiles = 4;

export interface Draining {
  readonly kept: readonly number[];
  readonly notKept: readonly number[];
}

/** @returns MiB a second of each round */
export async function drainingVolume(
  directory: string,
  content: string,
  rounds: number,
): Promise<Draining> {
  const log = { segmentBudget: drainingLogFiles };
  await using kept = await startOurs(`${directory}/draining_kept`, content, 1 << 20, {
    ...log,
    cacheFiles: 8,
  });
  await using notKept = await startOurs(`${directory}/draining`, content, 1 << 20, log);
  const pace = async ({ uri }: { readonly uri: string }) => {
    const begun = performance.now();
    await run("nbdcopy", ["--flush", content, uri]);
    return sizeMiB / (performance.now() - begun) * 1000;
  };
  const found = { kept: [] as number[], notKept: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    found.kept.push(await pace(kept));
    found.notKept.push(await pace(notKept));
  }
  return found;
}
