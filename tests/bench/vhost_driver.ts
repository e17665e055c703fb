/**
 * A driver of a vhost-user-blk disk that a bench measures with: 4 KiB random requests, as many under way all the time.
 * CPU is the server's own, from /proc, in microseconds for each request.
 */
import { signalEvent } from "../../ffi/libc.ts";
import { message } from "../../services/viperblock/engine/vhost/protocol.ts";
import {
  disk,
  FrontEndClient,
  Guest,
  queueSize,
  waitReadable,
  words,
} from "../viperblock/vhost_client.ts";
import { totalProcessorTime } from "./processor_time.ts";

export const depth = 32;

const libc = Deno.dlopen("libc.so.6", {
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
});
const barrierWord = new Int32Array(new SharedArrayBuffer(4));

export interface Figure {
  readonly iops: number;
  readonly cpu_us: number;
}

/** A driver that keeps `depth` requests under way: batches, and events only where they are wanted. */
export function drive(
  socket: string,
  pid: number,
  type: number,
  { sizeMiB, seconds }: { readonly sizeMiB: number; readonly seconds: number },
): Figure {
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
  while (elapsed < seconds * 1000) {
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
