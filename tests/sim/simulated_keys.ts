/** The keys of the volumes of one simulated run, made of its seed, and what looks through them. */
import { createHash } from "node:crypto";
import { mapMemory, type Memory, unmap } from "../../ffi/libc.ts";
import { LogSeal } from "../../services/viperblock/encryption/log_seal.ts";
import {
  CheckpointSeal,
  openPieces,
  sealedHeadBytes,
} from "../../services/viperblock/encryption/sealed_bytes.ts";
import type { VolumeKeys } from "../../services/viperblock/encryption/sealed_objects.ts";
import { VolumeKey } from "../../services/viperblock/encryption/volume_key.ts";
import type { Encryption } from "../../services/viperblock/engine/recovery.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class SimulatedKeys implements VolumeKeys {
  readonly #keys = new Map<string, VolumeKey>();
  readonly #encryption = new Map<string, Encryption>();
  readonly #memories: Memory[] = [];
  /** Objects never change. */
  readonly #opened = new WeakMap<Uint8Array, Bytes>();

  #made = 0;

  constructor(readonly seed: number) {}

  of(volumeId: string): VolumeKey | undefined {
    return this.#keys.get(volumeId);
  }

  #known(volumeId: string): VolumeKey {
    const key = this.#keys.get(volumeId);
    if (key === undefined) throw new Error(`the key of ${volumeId} was discarded`);
    return key;
  }

  /** A new volume gets a new key, also one that has the name of a volume that is gone. */
  make(volumeId: string): void {
    this.#forget(volumeId);
    const text = `${this.seed} ${volumeId} ${++this.#made}`;
    const bytes = new Uint8Array(createHash("sha256").update(text).digest());
    this.#keys.set(volumeId, new VolumeKey(bytes));
  }

  /** Discards every other key: who needs one all the same finds out. */
  keepOnly(needed: ReadonlySet<string>): void {
    for (const volumeId of this.#keys.keys()) if (!needed.has(volumeId)) this.#forget(volumeId);
  }

  get count(): number {
    return this.#keys.size;
  }

  #forget(volumeId: string): void {
    this.#encryption.get(volumeId)?.log[Symbol.dispose]();
    this.#encryption.delete(volumeId);
    this.#keys.delete(volumeId);
  }

  /** For whoever opens the volume beside the history. */
  encryption(volumeId: string): Encryption {
    let made = this.#encryption.get(volumeId);
    if (made === undefined) {
      const key = this.#known(volumeId);
      const memory = (length: number) => {
        const mapped = mapMemory(length);
        this.#memories.push(mapped);
        return mapped;
      };
      made = { key, log: new LogSeal(key, memory) };
      this.#encryption.set(volumeId, made);
    }
    return made;
  }

  checkpoint(volumeId: string): CheckpointSeal {
    return new CheckpointSeal(this.#known(volumeId), volumeId);
  }

  /** An object as it was before it was sealed. */
  opened(name: string, sealed: Bytes): Bytes {
    let plain = this.#opened.get(sealed);
    if (plain === undefined) {
      const key = this.#known(name.split("/")[1] ?? "");
      plain = openPieces(key, name, 0, sealed.subarray(sealedHeadBytes));
      this.#opened.set(sealed, plain);
    }
    return plain;
  }

  end(): void {
    this.keepOnly(new Set());
    for (const memory of this.#memories) unmap(memory);
  }
}
