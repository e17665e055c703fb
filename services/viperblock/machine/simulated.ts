/**
 * The simulated machine: a ring whose requests complete when and in which order chance says, on a
 * simulated disk. Memory is real, so that what the engine does with addresses is what it does in
 * earnest; a write whose bytes change while it is under way is found out.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { forgetPages, mapMemory, type Memory, unmap, viewAddress } from "../../../ffi/libc.ts";
import { ringOperations } from "../../../ffi/liburing.ts";
import { blockBytes } from "../format.ts";
import type { Completion, Machine, RequestQueue } from "./machine.ts";
import type { FoundDisk } from "./found_disk.ts";
import type { CrashKind, Landing, SimulatedDisk, SimulatedFile } from "./simulated_disk.ts";
import type { Chance, World } from "./simulated_world.ts";

const eio = -5;
const etime = -62;

interface WriteUnderWay extends Landing {
  readonly file: SimulatedFile;
}

export class SimulatedRing implements RequestQueue {
  readonly #handlers: Completion[] = [];
  readonly #queued: (() => void)[] = [];
  readonly #done: [kind: number, id: number, result: number][] = [];
  readonly #writes = new Set<WriteUnderWay>();
  #over = false;
  /** Requests that were asked for and whose end was not told; they may refer to memory until then. */
  underWay = 0;
  /** Called when a write is asked for; what it returns is called when that has landed. */
  onWrite: () => () => void = () => () => {};

  constructor(readonly world: World, readonly disk: SimulatedDisk) {}

  kind(handler: Completion): number {
    return this.#handlers.push(handler) - 1;
  }

  queue(
    operation: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    _flags: number,
    kind: number,
    id: number,
  ): void {
    if (operation !== ringOperations.timeout) this.underWay++;
    const isLogged = operation === ringOperations.write && this.disk.isLogFile(fd);
    const landed = isLogged ? this.onWrite() : () => {};
    this.#queued.push(() => this.#submit(operation, fd, offset, address, length, kind, id, landed));
  }

  turn(): void {
    for (const submit of this.#queued.splice(0)) submit();
    for (const [kind, id, result] of this.#done.splice(0)) {
      if (result !== etime) this.underWay--;
      this.#handlers[kind]?.(id, result, 0);
    }
  }

  #submit(
    operation: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    kind: number,
    id: number,
    landed: () => void,
  ): void {
    const { world, disk } = this;
    const complete = (ms: number, work: () => number) =>
      world.after(ms, () => {
        if (this.#over) return;
        const failed = operation !== ringOperations.timeout && world.once(disk.faults.requests);
        this.#done.push([kind, id, failed ? eio : work()]);
      });
    if (operation === ringOperations.timeout) {
      const [seconds = 0, , nanoseconds = 0] = new Int32Array(viewAddress(address, 16).buffer);
      complete(seconds * 1000 + nanoseconds / 1e6, () => etime);
      return;
    }
    if (!disk.isOpen(fd)) throw new Error(`operation ${operation} on closed ${fd}`);
    const file = disk.file(fd);
    const ms = world.chance.below(world.once(10) ? 40 : 4);
    if (operation === ringOperations.read) {
      complete(ms, () => {
        const bytes = file.bytes.slice(offset, offset + length);
        if (bytes.length > 0 && world.once(disk.faults.flips)) {
          const at = world.chance.below(bytes.length);
          bytes[at] = (bytes[at] as number) ^ (1 << world.chance.below(8));
        }
        viewAddress(address, length).bytes.set(bytes);
        return bytes.length;
      });
    } else if (operation === ringOperations.write) {
      const write = { file, at: offset, bytes: viewAddress(address, length).bytes.slice() };
      this.#writes.add(write);
      disk.version++;
      complete(ms, () => {
        const same = Buffer.from(viewAddress(address, length).buffer).equals(write.bytes);
        assert.ok(same, "a write changed while it was under way");
        this.#writes.delete(write);
        disk.version++;
        file.write(offset, write.bytes);
        landed();
        return length;
      });
    } else if (operation === ringOperations.sync) {
      const moment = file.moment();
      complete(ms, () => {
        disk.version++;
        file.sync(moment);
        return 0;
      });
    } else throw new Error(`the simulated ring has no operation ${operation}`);
  }

  close(): void {
    this.#over = true;
  }

  /** The process ends with requests under way: each has landed, or will, or will not, or in part. */
  crash(): void {
    this.#over = true;
    for (const write of this.#writes) {
      const land = () => {
        for (const { at, bytes } of torn(write, this.world.chance)) write.file.write(at, bytes);
      };
      const when = this.world.chance.below(3);
      if (when === 0) land();
      else if (when === 1) this.world.after(this.world.chance.below(500), land);
    }
    this.#writes.clear();
  }

  /** The disk as a start would find it if the process, or the power, ended now. Nothing ends. */
  found(kind: CrashKind, chance: Chance): FoundDisk {
    const landed = new Map<SimulatedFile, Landing[]>();
    for (const write of this.#writes) {
      if (chance.below(2) === 0) continue;
      const parts = landed.get(write.file) ?? [];
      // A third of them whole, as most writes are in earnest.
      if (chance.below(3) === 0) parts.push(write);
      else parts.push(...torn(write, chance));
      landed.set(write.file, parts);
    }
    return this.disk.found(kind, (file) => landed.get(file) ?? [], chance);
  }
}

/** What reaches the disk of a write that nobody waits for any more. */
function* torn({ at, bytes }: Landing, chance: Chance): Generator<Landing> {
  for (let block = 0; block < bytes.length; block += blockBytes) {
    if (chance.below(4) === 0) continue;
    const whole = chance.below(6) !== 0;
    const length = whole ? blockBytes : 512 * chance.below(8);
    yield { at: at + block, bytes: bytes.subarray(block, block + length) };
  }
}

export interface SimulatedMachine extends Machine {
  readonly ring: SimulatedRing;
  readonly disk: SimulatedDisk;
  /** Gives all memory back; the engine that used it is gone. */
  releaseAll(): void;
}

export function simulatedMachine(world: World, disk: SimulatedDisk): SimulatedMachine {
  const mapped = new Set<Memory>();
  return {
    ring: new SimulatedRing(world, disk),
    disk,
    memory(length, options) {
      // Touching every page would cost more than the whole run.
      const memory = mapMemory(length, options?.low === true ? { low: true } : {});
      mapped.add(memory);
      return memory;
    },
    release(memory) {
      mapped.delete(memory);
      unmap(memory);
    },
    forget: forgetPages,
    now: () => world.now,
    releaseAll() {
      for (const memory of mapped) unmap(memory);
      mapped.clear();
    },
  };
}
