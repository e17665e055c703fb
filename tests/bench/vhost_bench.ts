/**
 * The engine's vhost-user-blk door against qemu-storage-daemon's on a file of the same file system
 * (O_DIRECT, io_uring): 4 KiB random requests at depth 32 by the same front end, interleaved round by
 * round, medians as ratios. Prints one line of JSON for each figure. `--rounds=N` and `--seconds=N`
 * make it longer. CPU is the server's own, from /proc, in microseconds for each request.
 */
import { parseArgs } from "node:util";
import { signalEvent } from "../../ffi/libc.ts";
import { message } from "../../services/viperblock/engine/vhost/protocol.ts";
import { untilListening } from "../kit/listening.ts";
import { type BareEngine, startBare } from "../viperblock/bare_engine.ts";
import { run } from "../viperblock/engine.ts";
import {
  disk,
  FrontEndClient,
  Guest,
  queueSize,
  waitReadable,
  words,
} from "../viperblock/vhost_client.ts";
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
const depth = 32;
const sizeMiB = 256;
const must = 1.3;

const libc = Deno.dlopen("libc.so.6", {
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
});
const barrierWord = new Int32Array(new SharedArrayBuffer(4));

interface Figure {
  readonly iops: number;
  readonly cpu_us: number;
}

/** A driver that keeps `depth` requests under way: batches, and events only where they are wanted. */
function drive(socket: string, pid: number, type: number): Figure {
  const guest = new Guest(1);
  const front = FrontEndClient.connect(socket);
  front.features();
  front.memory(guest, 1);
  front.queue(guest, 0);
  // An answer says that all of it has been taken.
  front.ask(message.getFeatures);
  const { available, used } = guest.ring(0);
  const { halves, view } = guest;
  const sector = new BigUint64Array(1);
  const call = guest.calls[0] as number;
  const eight = new Uint8Array(8);
  const next = () => Math.floor(Math.random() * (sizeMiB << 8)) * 8;
  for (let i = 0; i < depth; i++) {
    const data = new Uint8Array(4096).fill(i + 1);
    guest.prepare(0, {
      type,
      sector: next(),
      ...(type === disk.out ? { data } : { length: 4096 }),
    });
  }
  const headers = Array.from({ length: 64 }, (_, slot) => guest.slot(0, slot) + 8);
  const status = Array.from({ length: 64 }, (_, slot) => guest.slot(0, slot) + 64);
  let offered = guest.available[0] as number;
  let taken = 0;
  let published = 0;
  const publish = () => {
    Atomics.store(halves, (available >> 1) + 1, offered);
    Atomics.add(barrierWord, 0, 0);
    const event = halves[(used >> 1) + 2 + queueSize * 4] as number;
    const wants = ((offered - event - 1) & 0xffff) < ((offered - published) & 0xffff);
    published = offered;
    if (wants) signalEvent(guest.kicks[0] as number);
  };
  let done = 0;
  const step = () => {
    const index = Atomics.load(halves, (used >> 1) + 1);
    if (index === taken) {
      halves[(available >> 1) + 2 + queueSize] = taken;
      Atomics.add(barrierWord, 0, 0);
      if (Atomics.load(halves, (used >> 1) + 1) !== taken) return;
      if (waitReadable(call, 10_000)) libc.symbols.read(call, eight, 8n);
      else throw new Error("the device gives nothing back");
      return;
    }
    while (taken !== index) {
      const head = view.getUint32(used + 4 + (taken % queueSize) * 8, true);
      const slot = head / 8;
      if (view.getUint8(status[slot] as number) !== 0) throw new Error("a request has failed");
      sector[0] = BigInt(next());
      view.setBigUint64(headers[slot] as number, sector[0] as bigint, true);
      halves[(available >> 1) + 2 + offered % queueSize] = head;
      offered = (offered + 1) & 0xffff;
      taken = (taken + 1) & 0xffff;
      done++;
    }
    publish();
  };
  publish();
  const before = totalProcessorTime(pid);
  const started = performance.now();
  let elapsed = 0;
  while (elapsed < Number(values.seconds) * 1000) {
    for (let i = 0; i < 16; i++) step();
    elapsed = performance.now() - started;
  }
  const cpu_us = (totalProcessorTime(pid) - before) / done;
  const iops = done / elapsed * 1000;
  front.send(message.getRingBase, words(0, 0));
  front.receive();
  front.close();
  guest.release();
  return { iops, cpu_us };
}

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
