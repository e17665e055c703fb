/**
 * The log of an encrypted volume: each of its blocks, and the list of entries in each batch's header, is
 * a unit of AES-256-XTS of its own, named by its place (epoch, segment, block of the segment). FORMAT.md says
 * why no name ever meets two contents. What stays readable is which batch this is, so that a log is found
 * and ordered without the key; what it says and holds is not.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { aesXts } from "../../../ffi/aes_xts.ts";
import type { UnitCipher } from "../../../ffi/unit_cipher.ts";
import { batchDataBlocks, batchFixedBytes, blockBytes } from "../format.ts";
import type { BatchHeader } from "../log/log_record.ts";
import type { VolumeKey } from "./volume_key.ts";

const entriesBytes = blockBytes - batchFixedBytes;

export class LogSeal implements Disposable {
  readonly #cipher: UnitCipher;
  #opened: Memory | undefined;
  readonly #memory: (length: number) => Memory;

  /** @param memory maps memory that lives as long as the engine */
  constructor(key: VolumeKey, memory: (length: number) => Memory) {
    this.#cipher = aesXts(key.forLog());
    this.#memory = memory;
  }

  /** Seals the batch at `base` into the same place of `to`; its header has no checksum yet. */
  sealBatch(
    from: Memory,
    to: Memory,
    base: number,
    header: Pick<BatchHeader, "epoch" | "segment" | "position" | "dataCount">,
  ) {
    const { epoch, segment, position, dataCount } = header;
    const cipher = this.#cipher;
    to.bytes.set(from.bytes.subarray(base, base + batchFixedBytes), base);
    cipher.name(epoch, segment, position);
    const entries = base + batchFixedBytes;
    cipher.seal(from, entries, to, entries, entriesBytes);
    for (let i = 1; i <= dataCount; i++) {
      const at = base + i * blockBytes;
      cipher.name(epoch, segment, position + i);
      cipher.seal(from, at, to, at, blockBytes);
    }
  }

  /** Opens one data block in its place. */
  openBlock(memory: Memory, at: number, epoch: number, segment: number, index: number): void {
    this.#cipher.name(epoch, segment, index);
    this.#cipher.open(memory, at, blockBytes);
  }

  /** A batch as it was before it was sealed; valid until the next call. */
  openBatch(header: BatchHeader, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    const memory = this.#opened ??= this.#memory((batchDataBlocks + 1) * blockBytes);
    const { epoch, segment, position } = header;
    memory.bytes.set(bytes);
    this.#cipher.name(epoch, segment, position);
    this.#cipher.open(memory, batchFixedBytes, entriesBytes);
    for (let i = 1; i * blockBytes < bytes.length; i++) {
      this.openBlock(memory, i * blockBytes, epoch, segment, position + i);
    }
    return memory.bytes.subarray(0, bytes.length);
  }

  /** The log has been read: gives back what only that needs. */
  endReplay(release: (memory: Memory) => void): void {
    if (this.#opened !== undefined) release(this.#opened);
    this.#opened = undefined;
  }

  [Symbol.dispose](): void {
    this.#cipher[Symbol.dispose]();
  }
}
