/**
 * The data key of one volume: 32 random bytes, from which the keys of its log, of its checkpoint and of each
 * of its objects are derived. It is never written anywhere but sealed under the master key
 * (`key_ring.ts`); who discards it discards all that the volume has stored.
 */
import { hkdfSync, randomBytes } from "node:crypto";
import { xtsKeyBytes } from "../../../ffi/aes_xts.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export const volumeKeyBytes = 32;

export class VolumeKey {
  /** @param data not to be changed afterwards */
  constructor(readonly data: Bytes) {
    if (data.length !== volumeKeyBytes) {
      throw new RangeError(`a volume's key has ${volumeKeyBytes} bytes`);
    }
  }

  static make(): VolumeKey {
    return new VolumeKey(new Uint8Array(randomBytes(volumeKeyBytes)));
  }

  #derive(purpose: string, bytes: number): Bytes {
    return new Uint8Array(hkdfSync("sha256", this.data, new Uint8Array(0), purpose, bytes));
  }

  /** For AES-256-XTS. */
  forLog(): Bytes {
    return this.#derive("mulga/viperblock/log/v1", xtsKeyBytes);
  }

  /** For AES-256-XTS of what the volume keeps of the owner's chunks on its node's disk. */
  forCacheOf(owner: string): Bytes {
    return this.#derive(`mulga/viperblock/cache/v1 ${owner}`, xtsKeyBytes);
  }

  /** For AES-256-GCM; no two names have the same. */
  forName(name: string): Bytes {
    return this.#derive(`mulga/viperblock/sealed/v1 ${name}`, 32);
  }
}
