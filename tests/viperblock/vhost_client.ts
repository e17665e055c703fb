/**
 * The other side of vhost-user-blk for tests: a front end and the driver of its guest, without a guest.
 * Memory and events outlive a connection, as QEMU's do, so that an engine's end and return can be shown;
 * rings and tables lie open, so that a test can lie in them. Calls on the socket block: the engine is another process.
 */
import assert from "node:assert/strict";
import {
  closeFile,
  createEvent,
  mapMemory,
  type Memory,
  signalEvent,
  unmap,
} from "../../ffi/libc.ts";
import { createPassable } from "../../ffi/passed_memory.ts";
import { feature, message } from "../../services/viperblock/engine/vhost/protocol.ts";

const library = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  sendmsg: { parameters: ["i32", "pointer", "i32"], result: "isize" },
  recvmsg: { parameters: ["i32", "pointer", "i32"], result: "isize" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
});
const c = library.symbols;

export const disk = { in: 0, out: 1, flush: 4, identity: 8, discard: 11, writeZeroes: 13 } as const;

/** Heads of a queue: each request has descriptors of its own. */
const slots = 64;
const descriptorsEach = 8;
export const queueSize = slots * descriptorsEach;
const queueBytes = 64 << 10;
const availableAt = 0x3000;
const usedAt = 0x4000;
const slotBytes = 320 << 10;
const headerAt = 0;
const statusAt = 64;
const rangeAt = 128;
const tableAt = 1024;
const dataAt = 4096;
export const longestRequest = slotBytes - dataAt;
/** Where the front end has the guest's memory: any number, as it is the front end's own. */
const userBase = 0x7f00_0000_0000;

export interface DiskRequest {
  readonly type: number;
  readonly sector: number;
  /** What an OUT writes. */
  readonly data?: Uint8Array;
  /** Bytes that an IN reads, sectors that a discard or zeroing is for. */
  readonly length?: number;
  readonly flags?: number;
  readonly indirect?: boolean;
  /** Into how many descriptors the data is cut, and whether the header is cut too. */
  readonly pieces?: number;
  readonly cutHeader?: boolean;
}

export interface Done {
  readonly slot: number;
  readonly status: number;
  readonly written: number;
}

export interface Message {
  readonly request: number;
  readonly payload: DataView;
  readonly fds: number[];
}

/** What outlives a connection: the guest's memory, its events, its requests. */
export class Guest {
  readonly ram: { fd: number; memory: Memory };
  readonly view: DataView;
  readonly halves: Uint16Array;
  readonly kicks: number[];
  readonly calls: number[];
  inFlight: { fd: number; payload: Uint8Array } | undefined;
  readonly available: number[];
  readonly used: number[];
  readonly free: number[][];
  readonly bytes: number;

  constructor(readonly queues: number) {
    this.bytes = queues * (queueBytes + slots * slotBytes);
    this.ram = createPassable("guest", this.bytes);
    this.view = new DataView(this.ram.memory.buffer);
    this.halves = new Uint16Array(this.ram.memory.buffer);
    this.kicks = Array.from({ length: queues }, createEvent);
    this.calls = Array.from({ length: queues }, createEvent);
    this.available = new Array(queues).fill(0);
    this.used = new Array(queues).fill(0);
    this.free = Array.from({ length: queues }, () => Array.from({ length: slots }, (_, i) => i));
  }

  /** Guest addresses of a queue's parts. */
  ring(queue: number) {
    const at = queue * queueBytes;
    return { descriptors: at, available: at + availableAt, used: at + usedAt };
  }

  slot(queue: number, slot: number): number {
    return this.queues * queueBytes + (queue * slots + slot) * slotBytes;
  }

  data(queue: number, slot: number, length: number): Uint8Array<ArrayBuffer> {
    const at = this.slot(queue, slot) + dataAt;
    return this.ram.memory.bytes.subarray(at, at + length);
  }

  describe(at: number, address: number, length: number, flags: number, next: number): void {
    this.view.setBigUint64(at, BigInt(address), true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  /** Puts a head into the available ring; seen with `publish`. */
  offer(queue: number, head: number): void {
    const at = (this.ring(queue).available >> 1) + 2 +
      (this.available[queue] as number) % queueSize;
    this.halves[at] = head;
    this.available[queue] = ((this.available[queue] as number) + 1) & 0xffff;
  }

  publish(queue: number): void {
    const index = (this.ring(queue).available >> 1) + 1;
    Atomics.store(this.halves, index, this.available[queue] as number);
  }

  kick(queue: number): void {
    signalEvent(this.kicks[queue] as number);
  }

  /** Writes a request into a free slot and offers it. */
  prepare(queue: number, request: DiskRequest): number {
    const slot = this.free[queue]?.pop();
    assert.ok(slot !== undefined, "the queue has no free slot");
    const base = this.slot(queue, slot);
    this.view.setUint32(base + headerAt, request.type, true);
    this.view.setUint32(base + headerAt + 4, 0, true);
    this.view.setBigUint64(base + headerAt + 8, BigInt(request.sector), true);
    this.ram.memory.bytes[base + statusAt] = 0xee;
    const list: [address: number, length: number, writable: boolean][] = request.cutHeader === true
      ? [[base + headerAt, 5, false], [base + headerAt + 5, 11, false]]
      : [[base + headerAt, 16, false]];
    const isRead = request.type === disk.in || request.type === disk.identity;
    let length = isRead ? request.length ?? 0 : request.data?.length ?? 0;
    let at = base + dataAt;
    if (request.data !== undefined) this.ram.memory.bytes.set(request.data, at);
    if (request.type === disk.discard || request.type === disk.writeZeroes) {
      at = base + rangeAt;
      this.view.setBigUint64(at, BigInt(request.sector), true);
      this.view.setUint32(at + 8, request.length ?? 0, true);
      this.view.setUint32(at + 12, request.flags ?? 0, true);
      length = 16;
    }
    const pieces = Math.max(1, request.pieces ?? 1);
    for (let i = 0; i < pieces && length > 0; i++) {
      const here = i === pieces - 1 ? length : Math.min(length, Math.ceil(length / (pieces - i)));
      list.push([at, here, isRead]);
      at += here;
      length -= here;
    }
    list.push([base + statusAt, 1, true]);
    const head = slot * descriptorsEach;
    const direct = request.indirect !== true;
    assert.ok(!direct || list.length <= descriptorsEach, "too many pieces for a direct chain");
    const table = direct ? this.ring(queue).descriptors + head * 16 : base + tableAt;
    for (const [i, [address, bytes, writable]] of list.entries()) {
      const more = i < list.length - 1 ? 1 : 0;
      this.describe(
        table + i * 16,
        address,
        bytes,
        more | (writable ? 2 : 0),
        direct ? head + i + 1 : i + 1,
      );
    }
    if (!direct) {
      this.describe(this.ring(queue).descriptors + head * 16, table, list.length * 16, 4, 0);
    }
    this.offer(queue, head);
    return slot;
  }

  start(queue: number, request: DiskRequest): number {
    const slot = this.prepare(queue, request);
    this.publish(queue);
    this.kick(queue);
    return slot;
  }

  /** What the device has given back since the last time; the slots are free again. */
  reap(queue: number): Done[] {
    const { used } = this.ring(queue);
    const index = Atomics.load(this.halves, (used >> 1) + 1);
    const found: Done[] = [];
    while (this.used[queue] !== index) {
      const at = used + 4 + ((this.used[queue] as number) % queueSize) * 8;
      const slot = this.view.getUint32(at, true) / descriptorsEach;
      assert.ok(Number.isInteger(slot) && slot < slots, "a head came back that was never sent");
      const status = this.ram.memory.bytes[this.slot(queue, slot) + statusAt] as number;
      found.push({ slot, status, written: this.view.getUint32(at + 4, true) });
      assert.ok(!this.free[queue]?.includes(slot), "a request came back twice");
      this.free[queue]?.push(slot);
      this.used[queue] = ((this.used[queue] as number) + 1) & 0xffff;
    }
    // As with event index: the next one that is given back is to be told.
    this.halves[(this.ring(queue).available >> 1) + 2 + queueSize] = index;
    return found;
  }

  get underWay(): number {
    return this.free.reduce((sum, each) => sum + slots - each.length, 0);
  }

  /** Waits for at least one answer. @throws when none comes */
  async next(queue: number, bound_ms = 30_000): Promise<Done[]> {
    const limit = performance.now() + bound_ms;
    for (;;) {
      const found = this.reap(queue);
      if (found.length > 0) return found;
      assert.ok(performance.now() < limit, "the device gives nothing back");
      // Blocking a little is what a guest's processor does, and leaves the machine to the engine.
      if (!waitReadable(this.calls[queue] as number, 20)) {
        await new Promise((r) => setTimeout(r, 0));
      } else drain(this.calls[queue] as number);
    }
  }

  /** One request from beginning to end. */
  async run(queue: number, request: DiskRequest): Promise<Done & { data: Uint8Array }> {
    const slot = this.start(queue, request);
    const [done] = await this.next(queue);
    assert.equal(done?.slot, slot);
    const length = request.type === disk.in || request.type === disk.identity
      ? request.length ?? 0
      : 0;
    return { ...done, data: this.data(queue, slot, length).slice() };
  }

  release(): void {
    for (const fd of [...this.kicks, ...this.calls, this.ram.fd]) closeFile(fd);
    if (this.inFlight !== undefined) closeFile(this.inFlight.fd);
    unmap(this.ram.memory);
  }
}

export function waitReadable(fd: number, bound_ms: number): boolean {
  const words = new Int32Array([fd, 1]);
  return c.poll(new Uint8Array(words.buffer), 1n, bound_ms) > 0 && ((words[1] ?? 0) >> 16) !== 0;
}

function drain(fd: number): void {
  c.read(fd, new Uint8Array(8), 8n);
}

const control = 4096;

export class FrontEndClient {
  readonly #memory = mapMemory(8192);
  readonly #view = new DataView(this.#memory.buffer);
  /** Our end of the channel on which the back end speaks by itself. */
  channel = -1;

  private constructor(readonly fd: number) {}

  static connect(path: string): FrontEndClient {
    const fd = c.socket(1, 1 | 0o2000000, 0);
    const address = new Uint8Array(110);
    address[0] = 1;
    address.set(new TextEncoder().encode(path), 2);
    if (c.connect(fd, address, 110) < 0) {
      closeFile(fd);
      throw new Deno.errors.ConnectionRefused(path);
    }
    return new FrontEndClient(fd);
  }

  #prepare(length: number, fds: readonly number[], receive: boolean): void {
    const view = this.#view;
    this.#memory.bytes.fill(0, 0, 128);
    view.setBigUint64(16, BigInt(this.#memory.address + 64), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(64, BigInt(this.#memory.address + control), true);
    view.setBigUint64(72, BigInt(length), true);
    if (!receive && fds.length === 0) return;
    view.setBigUint64(32, BigInt(this.#memory.address + 128), true);
    view.setBigUint64(40, BigInt(receive ? 256 : 16 + Math.ceil(fds.length / 2) * 8), true);
    if (receive) return;
    view.setBigUint64(128, BigInt(16 + fds.length * 4), true);
    view.setInt32(136, 1, true);
    view.setInt32(140, 1, true);
    for (const [i, fd] of fds.entries()) view.setInt32(144 + i * 4, fd, true);
  }

  /** Sends bytes as they are. @returns whether they all went */
  raw(bytes: Uint8Array, fds: readonly number[] = []): boolean {
    this.#memory.bytes.set(bytes, control);
    this.#prepare(bytes.length, fds, false);
    return Number(c.sendmsg(this.fd, this.#memory.pointer, 0x4000)) === bytes.length;
  }

  send(request: number, payload: Uint8Array, fds: readonly number[] = [], flags = 1): boolean {
    const bytes = new Uint8Array(12 + payload.length);
    new Uint32Array(bytes.buffer, 0, 3).set([request, flags, payload.length]);
    bytes.set(payload, 12);
    return this.raw(bytes, fds);
  }

  /** The next message; undefined when the back end has hung up or says nothing. */
  receive(bound_ms = 20_000): Message | undefined {
    const fds: number[] = [];
    const take = (length: number): boolean => {
      for (let got = 0; got < length;) {
        if (!waitReadable(this.fd, bound_ms)) return false;
        this.#prepare(length - got, [], true);
        const result = Number(c.recvmsg(this.fd, this.#memory.pointer, 0));
        if (result <= 0) return false;
        const bytes = Number(this.#view.getBigUint64(40, true));
        if (bytes >= 16) {
          for (let i = 0; i < (Number(this.#view.getBigUint64(128, true)) - 16) >> 2; i++) {
            fds.push(this.#view.getInt32(144 + i * 4, true));
          }
        }
        got += result;
        // Headers and payloads are short: they come in one piece over a local socket.
        assert.equal(got, length, "a message in pieces");
      }
      return true;
    };
    if (!take(12)) return undefined;
    const request = this.#view.getUint32(control, true);
    const length = this.#view.getUint32(control + 8, true);
    if (length > 0 && !take(length)) return undefined;
    const payload = new DataView(this.#memory.bytes.slice(control, control + length).buffer);
    return { request, payload, fds };
  }

  ask(request: number, payload: Uint8Array = new Uint8Array(0)): Message {
    this.send(request, payload);
    const answer = this.receive();
    assert.ok(answer !== undefined, `message ${request} has no answer`);
    assert.equal(answer.request, request);
    return answer;
  }

  /** Whether the back end has ended the connection. */
  hungUp(bound_ms = 20_000): boolean {
    return this.receive(bound_ms) === undefined && waitReadable(this.fd, 0);
  }

  features(low = feature.indirect | feature.eventIndex | feature.flush | feature.protocol): void {
    const answer = this.ask(message.getFeatures).payload;
    assert.equal(answer.getUint32(4, true) & 1, 1, "VERSION_1 is offered");
    this.send(message.setOwner, new Uint8Array(0));
    const protocol = this.ask(message.getProtocolFeatures).payload.getUint32(0, true);
    this.send(message.setProtocolFeatures, words(protocol, 0));
    this.send(message.setFeatures, words(low, 1));
  }

  /** Tells of the guest's memory, as so many regions without a gap between them. */
  memory(guest: Guest, regions = 2): void {
    const payload = new DataView(new ArrayBuffer(8 + regions * 32));
    payload.setUint32(0, regions, true);
    const each = Math.floor(guest.bytes / regions / 4096) * 4096;
    for (let i = 0; i < regions; i++) {
      const from = i * each;
      const length = i === regions - 1 ? guest.bytes - from : each;
      for (const [field, value] of [from, length, userBase + from, from].entries()) {
        payload.setBigUint64(8 + i * 32 + field * 8, BigInt(value), true);
      }
    }
    this.send(message.setMemory, bytesOf(payload), new Array(regions).fill(guest.ram.fd));
  }

  queue(guest: Guest, queue: number): void {
    const { descriptors, available, used } = guest.ring(queue);
    this.send(message.setRingSize, words(queue, queueSize));
    const index = Atomics.load(guest.halves, (used >> 1) + 1);
    this.send(message.setRingBase, words(queue, index));
    const payload = new DataView(new ArrayBuffer(40));
    payload.setUint32(0, queue, true);
    for (const [i, at] of [descriptors, used, available].entries()) {
      payload.setBigUint64(8 + i * 8, BigInt(userBase + at), true);
    }
    this.send(message.setRingAddresses, bytesOf(payload));
    this.send(message.setRingKick, words(queue, 0), [guest.kicks[queue] as number]);
    this.send(message.setRingCall, words(queue, 0), [guest.calls[queue] as number]);
    this.send(message.setRingEnable, words(queue, 1));
  }

  inFlight(guest: Guest): void {
    if (guest.inFlight === undefined) {
      const question = new DataView(new ArrayBuffer(24));
      question.setUint16(16, guest.queues, true);
      question.setUint16(18, queueSize, true);
      const { payload, fds } = this.ask(message.getInFlight, bytesOf(question));
      assert.equal(fds.length, 1, "the in-flight memory comes with its descriptor");
      guest.inFlight = { fd: fds[0] as number, payload: bytesOf(payload) };
    }
    this.send(message.setInFlight, guest.inFlight.payload, [guest.inFlight.fd]);
  }

  openChannel(): void {
    const pair = new Int32Array(2);
    assert.equal(c.socketpair(1, 1 | 0o2000000, 0, new Uint8Array(pair.buffer)), 0);
    this.channel = pair[0] as number;
    this.send(message.setBackendChannel, new Uint8Array(0), [pair[1] as number]);
    closeFile(pair[1] as number);
  }

  /** The next message on that channel, its number; undefined when none comes. */
  told(bound_ms = 20_000): number | undefined {
    if (!waitReadable(this.channel, bound_ms)) return undefined;
    const bytes = new Uint8Array(12);
    return Number(c.read(this.channel, bytes, 12n)) === 12
      ? new DataView(bytes.buffer).getUint32(0, true)
      : undefined;
  }

  /** Sectors that the disk has, as the driver is shown them. */
  sectors(): number {
    const question = new DataView(new ArrayBuffer(12 + 60));
    question.setUint32(4, 60, true);
    const { payload } = this.ask(message.getConfig, bytesOf(question));
    return Number(payload.getBigUint64(12, true));
  }

  /** All that QEMU does when its guest's driver starts. */
  serve(guest: Guest, regions = 2): void {
    this.features();
    this.openChannel();
    this.inFlight(guest);
    this.memory(guest, regions);
    for (let queue = 0; queue < guest.queues; queue++) this.queue(guest, queue);
  }

  /** Stops a queue; answers where it stopped. */
  stop(queue: number): number {
    return this.ask(message.getRingBase, words(queue, 0)).payload.getUint32(4, true);
  }

  close(): void {
    closeFile(this.fd);
    if (this.channel >= 0) closeFile(this.channel);
    unmap(this.#memory);
  }
}

export const words = (...values: number[]) => new Uint8Array(new Uint32Array(values).buffer);

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);
}
