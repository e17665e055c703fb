/**
 * What an encrypted volume keeps of chunks on its node's disk: each block a unit of AES-256-XTS, under a key of the
 * volume that is made for each owner of chunks, named by chunk and place in it (epoch, sequence, index). A chunk never
 * changes, so no name ever meets two contents, wherever on the disk and however often it is kept.
 */
import type { Memory } from "../../../ffi/libc.ts";
import { aesXts } from "../../../ffi/aes_xts.ts";
import type { UnitCipher } from "../../../ffi/unit_cipher.ts";
import { blockBytes, type ChunkName } from "../format.ts";
import type { VolumeKey } from "./volume_key.ts";

export class CacheSeal implements Disposable {
  readonly #key: VolumeKey;
  readonly #ciphers = new Map<string, UnitCipher>();

  /** @param key of the volume that is mounted, whoever wrote the chunks */
  constructor(key: VolumeKey) {
    this.#key = key;
  }

  #cipher(owner: string): UnitCipher {
    let cipher = this.#ciphers.get(owner);
    if (cipher === undefined) {
      cipher = aesXts(this.#key.forCacheOf(owner));
      this.#ciphers.set(owner, cipher);
    }
    return cipher;
  }

  /** Seals one block of the chunk into another memory. */
  sealBlock(
    { owner, epoch, sequence }: ChunkName,
    index: number,
    from: Memory,
    at: number,
    to: Memory,
    toAt: number,
  ): void {
    const cipher = this.#cipher(owner);
    cipher.name(epoch, sequence, index);
    cipher.seal(from, at, to, toAt, blockBytes);
  }

  /** Opens one block of the chunk in its place. */
  openBlock({ owner, epoch, sequence }: ChunkName, index: number, memory: Memory, at: number) {
    const cipher = this.#cipher(owner);
    cipher.name(epoch, sequence, index);
    cipher.open(memory, at, blockBytes);
  }

  [Symbol.dispose](): void {
    for (const cipher of this.#ciphers.values()) cipher[Symbol.dispose]();
    this.#ciphers.clear();
  }
}
