/**
 * A random guest at the engine's door: writes of whole blocks and of parts, zeroes, trims, flushes and
 * reads, several under way at once. It writes down in the history what takes effect in which order, and
 * holds every read against it.
 */
import { crc32c } from "../../ffi/crc32c.ts";
import type { Random } from "../kit/random.ts";
import type { SyncMode } from "../../services/viperblock/contract.ts";
import type { Door } from "../../services/viperblock/engine/door.ts";
import { commandFlag, nbdCommand } from "../../services/viperblock/engine/nbd_protocol.ts";
import type { Inside } from "../../services/viperblock/engine/volume_options.ts";
import type { Change, History } from "./history.ts";

const blockBytes = 4096;

interface Read {
  readonly first: number;
  /** What must be found; undefined when anything is only to be told. */
  readonly expected: number[] | undefined;
}

interface Pending {
  /** The number of changes that its answer says are done. */
  readonly changes: number;
  readonly type: number;
  readonly fua: boolean;
  readonly read?: Read;
}

/** A write that has found no room for all of its blocks yet. */
interface Stalled {
  readonly request: number;
  readonly change: Change;
  readonly blocks: { readonly block: number; readonly bytes: Uint8Array<ArrayBuffer> }[];
  next: number;
  failed: boolean;
}

export class Guest implements Door {
  readonly #random: Random;
  readonly #history: History;
  readonly #inside: Inside;
  readonly #sync: SyncMode;
  readonly #pending = new Map<number, Pending>();
  #stalled: Stalled | undefined;
  /** A request that has found no room yet: tries again, or is given up. */
  #again: { readonly retry: () => boolean; readonly giveUp: () => void } | undefined;
  #alone = false;
  #early = -1;
  #stamp: () => number;
  #listening = false;
  #dropped = false;
  /** What reads found that was not there. */
  readonly wrong: string[] = [];
  /** Answers that were errors. */
  errors = 0;
  /** A write failed that may have been done in part: what the volume holds is to be found out anew. */
  uncertain = false;
  done = 0;
  /** What `inspect` found. */
  found = new Uint32Array(0);

  constructor(
    random: Random,
    history: History,
    inside: Inside,
    stamp: () => number,
    sync: SyncMode = "flush",
  ) {
    this.#sync = sync;
    this.#random = random;
    this.#history = history;
    this.#inside = inside;
    this.#stamp = stamp;
  }

  listen(): void {
    this.#listening = true;
  }
  stopListening(): void {
    this.#listening = false;
  }
  listenAgain(): void {
    this.#listening = true;
    this.#dropped = false;
  }
  dropClients(): void {
    this.#dropped = true;
  }
  get serving(): boolean {
    return this.#listening && !this.#dropped;
  }
  get anyOpen(): boolean {
    if (this.#dropped && this.#stalled !== undefined) this.#abandon();
    if (this.#dropped && this.#again !== undefined) {
      this.#again.giveUp();
      this.#again = undefined;
    }
    return this.#pending.size > 0;
  }
  get connected(): number {
    return 1;
  }
  get stalled(): boolean {
    return this.#stalled !== undefined || this.#again !== undefined;
  }
  get wantsTick(): boolean {
    return false;
  }
  get throttled(): boolean {
    return false;
  }
  get hasReplies(): boolean {
    return false;
  }
  get idle(): boolean {
    return this.#pending.size === 0 && !this.stalled;
  }
  /** Nobody can say now which parts of blocks have been written. */
  get blurred(): boolean {
    return this.uncertain || (this.#alone && this.#pending.size > 0);
  }
  resized(): void {}
  close(): void {}
  release(): void {}

  advance(full: boolean): boolean {
    if (this.#stalled !== undefined) {
      if (full) this.#stalled.failed = true;
      this.#goOn(this.#stalled);
      return this.#stalled === undefined;
    }
    if (this.#again !== undefined) {
      if (this.#again.retry()) this.#again = undefined;
      return this.#again === undefined;
    }
    return false;
  }

  /** A request of which nothing was taken. */
  #forget(request: number): void {
    this.#pending.delete(request);
    this.#inside.requests.free(request);
  }

  /** The client is gone in the middle of a write: what was taken stays. */
  #abandon(): void {
    const stalled = this.#stalled as Stalled;
    this.#stalled = undefined;
    this.#inside.commands.writeTaken(stalled.request);
  }

  /** Does one more thing, if it may. */
  act(): void {
    const random = this.#random;
    if (!this.serving || this.stalled || this.#pending.size >= 12) return;
    if (this.#alone) {
      if (this.#pending.size > 0) return;
      this.#alone = false;
    }
    const kind = random.below(20);
    if (kind < 9) this.#write();
    else if (kind < 11) this.#partial();
    else if (kind < 12) this.#zero(nbdCommand.writeZeroes);
    else if (kind < 13) this.#zero(nbdCommand.trim);
    else if (kind < 15) this.flush();
    else this.read(this.#first(8), 1 + random.below(8));
  }

  /** Whether its answer says that it, and all before it, outlive a power cut. */
  #isDurable({ fua, type }: Pending): boolean {
    if (this.#sync === "flush") return fua;
    return this.#sync === "always" && type !== nbdCommand.read;
  }

  #first(longest: number): number {
    const size = this.#history.sizeBlocks;
    // Half of all goes to a corner, so that blocks are overwritten while they are under way.
    const within = this.#random.below(2) === 0 ? Math.min(size, 16 + longest) : size;
    return this.#random.below(within - longest + 1);
  }

  #take(type: number, offset: number, length: number, fua: boolean): number {
    const { requests } = this.#inside;
    const id = requests.take();
    if (id < 0) throw new Error("the simulated guest has too much under way");
    requests.connection[id] = 0;
    requests.type[id] = type;
    requests.flags[id] = fua ? commandFlag.fua : 0;
    requests.offset[id] = offset;
    requests.length[id] = length;
    return id;
  }

  #content(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(blockBytes);
    if (this.#random.below(12) === 0) return bytes;
    new Uint32Array(bytes.buffer).fill(this.#stamp());
    return bytes;
  }

  #write(): void {
    const random = this.#random;
    const count = 1 + random.below(random.below(3) === 0 ? 12 : 3);
    const first = this.#first(count);
    const fua = random.below(8) === 0;
    const request = this.#take(nbdCommand.write, first * blockBytes, count * blockBytes, fua);
    const change = this.#history.begin("between");
    this.#pending.set(request, { changes: this.#history.length, type: nbdCommand.write, fua });
    this.#stalled = {
      request,
      change,
      blocks: Array.from(
        { length: count },
        (_, i) => ({ block: first + i, bytes: this.#content() }),
      ),
      next: 0,
      failed: false,
    };
    this.#goOn(this.#stalled);
  }

  #goOn(write: Stalled): void {
    const { commands, requests } = this.#inside;
    while (write.next < write.blocks.length) {
      const { block, bytes } = write.blocks[write.next] as Stalled["blocks"][number];
      if (write.failed) {
        requests.error[write.request] = 28;
        break;
      }
      if (!commands.writeBlock(block, bytes, 0)) return;
      this.#history.add(write.change, block, this.#history.remember(bytes));
      write.next++;
    }
    this.#stalled = undefined;
    commands.writeTaken(write.request);
  }

  /** Parts of blocks, with nothing else under way: when they take effect is seen only at their end. */
  #partial(): void {
    this.#alone = true;
    if (this.#pending.size > 0) return;
    const history = this.#history;
    const random = this.#random;
    const offset = this.#first(3) * blockBytes + 8 * random.below(512);
    const length = 8 * (1 + random.below(Math.min(1000, (history.sizeBlocks * 512) - offset / 8)));
    const zeros = random.below(4) === 0;
    const bytes = new Uint8Array(length);
    if (!zeros) new Uint32Array(bytes.buffer).fill(this.#stamp());
    const type = zeros ? nbdCommand.writeZeroes : nbdCommand.write;
    const request = this.#take(type, offset, length, false);
    const change = history.begin("anywhere");
    this.#pending.set(request, { changes: history.length, type, fua: false });
    const note = () => {
      for (let at = offset; at < offset + length;) {
        const block = Math.floor(at / blockBytes);
        const end = Math.min(offset + length, (block + 1) * blockBytes);
        const content = history.contentOf(block).slice();
        content.set(bytes.subarray(at - offset, end - offset), at - block * blockBytes);
        history.add(change, block, history.remember(content));
        at = end;
      }
    };
    note();
    if (zeros) {
      const retry = () => this.#inside.commands.zero(request);
      const giveUp = () => {
        history.shorten(change, 0);
        this.#forget(request);
      };
      if (!retry()) this.#again = { retry, giveUp };
      return;
    }
    let at = offset;
    let taken = 0;
    const retry = () => {
      while (at < offset + length) {
        const end = Math.min(offset + length, (Math.floor(at / blockBytes) + 1) * blockBytes);
        const whole = end - at === blockBytes;
        const { commands } = this.#inside;
        const room = whole
          ? commands.writeBlock(at / blockBytes, bytes, at - offset)
          : commands.writePart(request, at, bytes, at - offset, end - at);
        if (!room) return false;
        taken++;
        at = end;
      }
      this.#inside.commands.writeTaken(request);
      return true;
    };
    const giveUp = () => {
      // The rest never came: what was taken is all that there will be.
      history.shorten(change, taken);
      this.#inside.commands.writeTaken(request);
    };
    if (!retry()) this.#again = { retry, giveUp };
  }

  #zero(type: number): void {
    const count = 1 + this.#random.below(20);
    const length = Math.min(count, this.#history.sizeBlocks);
    const first = this.#first(length);
    const request = this.#take(type, first * blockBytes, length * blockBytes, false);
    const change = this.#history.begin("never");
    this.#pending.set(request, { changes: this.#history.length, type, fua: false });
    const retry = () => {
      const errorsBefore = this.#inside.requests.error[request];
      // The door is asked at once: only what was taken has happened.
      const taken = this.#inside.commands.zero(request);
      if (taken && errorsBefore === 0 && this.#inside.requests.error[request] === 0) {
        for (let i = 0; i < length; i++) this.#history.add(change, first + i, this.#history.zero);
      }
      return taken;
    };
    if (!retry()) this.#again = { retry, giveUp: () => this.#forget(request) };
  }

  flush(): void {
    const request = this.#take(nbdCommand.flush, 0, 0, false);
    this.#pending.set(request, {
      changes: this.#history.length,
      type: nbdCommand.flush,
      fua: true,
    });
    this.#inside.commands.flush(request);
  }

  read(first: number, count: number): void {
    const request = this.#take(nbdCommand.read, first * blockBytes, count * blockBytes, false);
    const expected = Array.from(this.#history.now.subarray(first, first + count));
    this.#pending.set(request, {
      changes: 0,
      type: nbdCommand.read,
      fua: false,
      read: { first, expected },
    });
    const retry = () => {
      // What is written while the read waits for room is what it will find.
      for (let i = 0; i < count; i++) expected[i] = this.#history.now[first + i] as number;
      return this.#inside.commands.read(request);
    };
    if (!retry()) this.#again = { retry, giveUp: () => this.#forget(request) };
  }

  /** Reads everything, whatever is expected, into `found`. */
  inspect(): void {
    const size = this.#history.sizeBlocks;
    this.found = new Uint32Array(size);
    let first = 0;
    const retry = () => {
      while (first < size) {
        if (this.#pending.size >= 12) return false;
        const count = Math.min(8, size - first);
        const request = this.#take(nbdCommand.read, first * blockBytes, count * blockBytes, false);
        if (!this.#inside.commands.read(request)) {
          this.#inside.requests.free(request);
          return false;
        }
        const read = { first, expected: undefined };
        this.#pending.set(request, { changes: 0, type: nbdCommand.read, fua: false, read });
        first += count;
        this.#answerEarly(request);
      }
      return true;
    };
    if (!retry()) this.#again = { retry, giveUp: () => {} };
  }

  /** A read that was answered before it was written down. */
  #answerEarly(request: number): void {
    if (this.#early !== request) return;
    this.#early = -1;
    this.reply(request);
  }

  reply(request: number): void {
    const { requests, slots } = this.#inside;
    const pending = this.#pending.get(request);
    if (pending === undefined) {
      if (this.#early >= 0) throw new Error("a request was answered twice");
      this.#early = request;
      return;
    }
    this.#pending.delete(request);
    this.done++;
    const slot = requests.slot[request] as number;
    if (requests.error[request] !== 0) {
      this.errors++;
      this.uncertain ||= pending.type !== nbdCommand.read;
    } else if (pending.read !== undefined) {
      const { first, expected } = pending.read;
      const start = slots.start[slot] as number;
      const count = (requests.length[request] as number) / blockBytes;
      for (let i = 0; i < count; i++) {
        const at = start + i * blockBytes;
        const content = crc32c(slots.memory.bytes.subarray(at, at + blockBytes));
        if (expected === undefined) this.found[first + i] = content;
        else if (content !== expected[i]) this.wrong.push(`block ${first + i} was read wrong`);
      }
    } else {
      const history = this.#history;
      history.acknowledged = Math.max(history.acknowledged, pending.changes);
      if (this.#isDurable(pending)) history.durable = Math.max(history.durable, pending.changes);
    }
    if (slot >= 0) slots.free(slot);
    requests.free(request);
  }
}
