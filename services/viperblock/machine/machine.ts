/**
 * What the engine needs of the machine, as narrow as it gets: a queue of requests, log files, memory
 * and a clock. `linux.ts` is the real one, `simulated.ts` the one that a seed drives and that tears,
 * reorders, fails and crashes; nothing else in the engine touches a disk or asks for the time.
 */
import type { FileExtent, Memory } from "../../../ffi/libc.ts";

import type { StoredBytes } from "./stored_bytes.ts";

/** Hears of one completion: the request's id, its result (negative errno), its flags. */
export type Completion = (id: number, result: number, flags: number) => void;

/** Requests go in and completions come out, in the manner of io_uring (`ffi/liburing.ts`). */
export interface RequestQueue {
  /** Registers who hears of completions of a new kind; returns the kind. */
  kind(handler: Completion): number;
  queue(
    operation: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    operationFlags: number,
    kind: number,
    id: number,
  ): void;
  /** Submits what is queued and tells all that has completed; may wait for `wait` of them, for more than one only a short while. */
  turn(wait: number): void;
  close(): void;
}

/** An open log file. */
export interface OpenFile {
  readonly path: string;
  readonly fd: number;
}

/** The files of one volume's directory, for whoever opens it. */
export interface LogDisk {
  /**
   * Every log file there is, opened.
   * @param unopened hears, in one sentence, of each that the disk does not give, and all are opened for reading only; unless it is
   *   given, none may be missing
   * @throws UnreadableData
   */
  openAll(unopened?: (why: string) => void): OpenFile[];
  open(path: string): OpenFile;
  close(fd: number): void;
  remove(path: string): void;
  /** Reads until `length` bytes or the end of the file; returns how many came. */
  read(fd: number, into: Memory, length: number, offset: number): number;
  /** The first part of a file at or after `offset` that may hold anything but zeros; undefined when there is none. */
  written(fd: number, offset: number): FileExtent | undefined;
  /** Makes all that was written to the file durable. */
  sync(fd: number): void;
  /** The paths of the chunk cache's files. */
  cacheFiles(): string[];
  /** The newest checkpoint; undefined when there is none. */
  checkpoint(): StoredBytes | undefined;
}

export interface Machine {
  readonly ring: RequestQueue;
  readonly disk: LogDisk;
  /** Maps zeroed memory that requests may refer to. */
  memory(
    length: number,
    options?: { low?: boolean; populate?: boolean; huge?: boolean },
  ): Memory;
  release(memory: Memory): void;
  /** Gives pages back; they read as zeros afterwards. */
  forget(memory: Memory, offset: number, length: number): void;
  /** Milliseconds since some moment; never goes back. */
  now(): number;
}
