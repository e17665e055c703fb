/**
 * The thread of one mounted volume, from the main thread's side: the memory that data passes through, the mailbox, and the
 * worker itself. The memory belongs to this side and is released only when the worker is gone and no order is under way.
 */
import { closeFile, createEvent, mapMemory, type Memory, unmap } from "../../../ffi/libc.ts";
import type { VolumeLimits } from "../contract.ts";
import { windowBytes } from "../engine/fetcher.ts";
import { chunkBytes } from "../format.ts";
import { type FromWorker, Mailbox, type ToWorker, type WorkerInit } from "./mailbox.ts";
import type { MountOptions } from "./mount_options.ts";

/** Four for reads, one for the compactor. */
const windows = 5;
const pieceBytes = 1 << 20;

export const limitsOf = ({ iops, throughput_bytes }: VolumeLimits): VolumeLimits => ({
  ...(iops === undefined ? {} : { iops }),
  ...(throughput_bytes === undefined ? {} : { throughput_bytes }),
});

export interface Heard {
  readonly message: (message: FromWorker) => void;
  /** It has ended by an error that it could not tell itself. */
  readonly failed: (error: string) => void;
}

export class EngineThread {
  readonly #memories: Memory[] = [];
  readonly #mailbox: Mailbox;
  readonly #worker: Worker;
  /** What data passes through on its way to and from the object store. */
  readonly transfer: {
    readonly windows: readonly Memory[];
    readonly chunk: Memory;
    readonly piece: Memory;
  };

  constructor(volumeId: string, heard: Heard) {
    const memory = (length: number) => {
      const made = mapMemory(length);
      this.#memories.push(made);
      return made;
    };
    this.transfer = {
      windows: Array.from({ length: windows }, () => memory(windowBytes)),
      chunk: memory(chunkBytes),
      piece: memory(pieceBytes),
    };
    this.#mailbox = Mailbox.create(createEvent());
    this.#worker = new Worker(new URL("../engine/worker.ts", import.meta.url), {
      type: "module",
      name: volumeId,
    });
    this.#worker.onmessage = (event: MessageEvent<FromWorker>) => heard.message(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      heard.failed(event.message);
    };
  }

  /** Tells it what to serve. */
  begin(options: MountOptions): void {
    const { transfer } = this;
    const init: WorkerInit = {
      volumeId: options.volumeId,
      sizeBytes: options.sizeBytes,
      limits: limitsOf(options.limits ?? {}),
      sync: options.sync ?? "flush",
      epoch: options.epoch,
      savedEpoch: options.savedEpoch,
      mapEpoch: options.mapEpoch ?? options.savedEpoch,
      snapshotEpoch: options.snapshotEpoch ?? options.savedEpoch,
      ...(options.key === undefined ? {} : { key: options.key.data }),
      ...(options.rescue === undefined ? {} : { rescue: options.rescue }),
      directory: options.directory,
      socket: options.socket,
      ...(options.vhostSocket === undefined ? {} : { vhostSocket: options.vhostSocket }),
      cacheBytes: options.cacheBytes,
      cacheFiles: options.cacheFiles ?? 0,
      segmentBudget: options.segmentBudget,
      spacePatienceMs: options.spacePatienceMs,
      mailbox: this.#mailbox.shared,
      eventFd: this.#mailbox.eventFd,
      transfer: {
        windows: transfer.windows.map((each) => each.address),
        chunk: transfer.chunk.address,
        piece: transfer.piece.address,
        pieceBytes,
      },
    };
    this.#worker.postMessage(init);
  }

  send(message: ToWorker): void {
    this.#mailbox.send(message);
  }

  /** @param isGone nothing of the worker's refers to the memory that it was lent */
  release(isGone: boolean): void {
    closeFile(this.#mailbox.eventFd);
    // After a failure the kernel may still be ending the worker's requests on this memory.
    if (isGone) { for (const memory of this.#memories) unmap(memory); }
  }

  terminate(): void {
    this.#worker.terminate();
  }
}
