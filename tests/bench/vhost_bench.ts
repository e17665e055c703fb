/**
 * The engine's vhost-user-blk door against qemu-storage-daemon's on a file of the same file system
 * (O_DIRECT, io_uring): 4 KiB random requests at depth 32 by the same front end, interleaved round by
 * round, medians as ratios. Prints one line of JSON for each figure. `--rounds=N` and `--seconds=N`
 * make it longer. CPU is the server's own, from /proc, in microseconds for each request.
 */
import { parseArgs } from "node:util";
import { untilListening } from "../kit/listening.ts";
import { type BareEngine, startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";
import { disk } from "../viperblock/vhost_client.ts";
import { depth, drive as driveDisk, type Figure } from "./vhost_driver.ts";

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
const must = 1.3;
const drive = (socket: string, pid: number, type: number): Figure =>
  driveDisk(socket, pid, type, { sizeMiB, seconds: Number(values.seconds) });

const median = (of: readonly number[]) => of.toSorted((a, b) => a - b)[of.length >> 1] ?? 0;
const rounded = (value: number) => Math.round(value * 100) / 100;

const directory = await Deno.makeTempDir({ prefix: "mulga-bench-", dir: values.directory });
let engine: BareEngine | undefined;
let peer: Deno.ChildProcess | undefined;
try {
  const socket = `${directory}/engine`;
  engine = await startBare({
    directory,
    socket: `${directory}/nbd`,
    vhostSocket: socket,
    sizeBytes: sizeMiB << 20,
    epoch: 1,
    cacheBytes: (sizeMiB + 16) << 20,
    segmentBudget: 96,
  });
  const file = `${directory}/peer.raw`;
  // Written, not just allocated, so that the peer has no extents to convert.
  await run("dd", ["if=/dev/urandom", `of=${file}`, "bs=1M", `count=${sizeMiB}`, "conv=fsync"]);
  const peerSocket = `${directory}/peer`;
  peer = new Deno.Command("qemu-storage-daemon", {
    args: [
      "--blockdev",
      `file,node-name=file,filename=${file},aio=io_uring,cache.direct=on`,
      "--export",
      `vhost-user-blk,id=export,node-name=file,writable=on,addr.type=unix,addr.path=${peerSocket}`,
    ],
    stdin: "null",
  }).spawn();
  await untilListening(peerSocket);
  await run("nbdcopy", ["--flush", file, `nbd+unix:///vol-bare?socket=${directory}/nbd`]);
  // A log that has been around once has its files; making them is not what is measured.
  drive(socket, engine.process.pid, disk.out);
  const jobs = [["write", disk.out], ["read_cached", disk.in]] as const;
  for (const [name, type] of jobs) {
    // Random reads find what was written last in RAM, as far as it has been read once.
    await run("nbdcopy", [`nbd+unix:///vol-bare?socket=${directory}/nbd`, "null:"]);
    const ours: Figure[] = [];
    const theirs: Figure[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(drive(socket, engine.process.pid, type));
      theirs.push(drive(peerSocket, peer.pid, type));
    }
    const iops = median(ours.map((each) => each.iops));
    const peerIops = median(theirs.map((each) => each.iops));
    console.log(JSON.stringify({
      name: `vhost_4k_rand${name}_qd${depth}`,
      ratio: rounded(iops / peerIops),
      detail: {
        against: "qemu-storage-daemon vhost-user-blk on a file, O_DIRECT io_uring",
        target: must,
        iops: Math.round(iops),
        peer_iops: Math.round(peerIops),
        cpu_us: rounded(median(ours.map((each) => each.cpu_us))),
        peer_cpu_us: rounded(median(theirs.map((each) => each.cpu_us))),
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
