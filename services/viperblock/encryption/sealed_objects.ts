/**
 * The object store as encrypted volumes use it: whatever such a volume owns is sealed on its way there and
 * opened on its way back, so that nobody above knows of it. The owner stands in an object's key, so a
 * clone reads its parent's chunks by the parent's key, for as long as anybody needs them.
 *
 * A piece that does not open reads as zeros, which the checksums above find. An owner whose key is gone
 * is an error: what it stored cannot be read by anybody any more.
 */
import { DamagedData } from "../format.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import {
  beginsSealed,
  checkHead,
  openPieces,
  sealedHeadBytes,
  sealedPiece,
  sealedPieceBytes,
  sealObject,
} from "./sealed_bytes.ts";
import type { VolumeKey } from "./volume_key.ts";

/** The keys of encrypted volumes; undefined for all others. */
export interface VolumeKeys {
  of(volumeId: string): VolumeKey | undefined;
}

/** Nobody can read this any more. */
export class KeyGone extends DamagedData {}

export class SealedObjects implements BlockStore {
  readonly #store: BlockStore;
  readonly #keys: VolumeKeys;

  constructor(store: BlockStore, keys: VolumeKeys) {
    this.#store = store;
    this.#keys = keys;
  }

  #owner(key: string): string {
    return key.split("/")[1] ?? "";
  }

  async put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const owner = this.#owner(key);
    const volumeKey = this.#keys.of(owner);
    await this.#store.put(
      key,
      volumeKey === undefined ? body : sealObject(volumeKey, owner, key, body),
    );
  }

  async get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const owner = this.#owner(key);
    const volumeKey = this.#keys.of(owner);
    if (volumeKey === undefined) {
      const bytes = await this.#store.get(key, range);
      if (bytes !== undefined && (range?.offset ?? 0) === 0 && beginsSealed(bytes)) {
        throw new KeyGone(`the key of ${owner}, by which ${key} is sealed, is gone`);
      }
      return bytes;
    }
    const { offset, length } = range ?? { offset: 0, length: Infinity };
    const first = Math.floor(offset / sealedPieceBytes);
    const from = sealedHeadBytes + first * sealedPiece;
    const last = Math.ceil((offset + length) / sealedPieceBytes);
    let sealed: Uint8Array<ArrayBuffer> | undefined;
    if (range === undefined) {
      const whole = await this.#store.get(key);
      if (whole !== undefined) checkHead(whole, key);
      sealed = whole?.subarray(from);
    } else {
      sealed = await this.#store.get(key, { offset: from, length: (last - first) * sealedPiece });
    }
    if (sealed === undefined) return undefined;
    const plain = openPieces(volumeKey, key, first, sealed);
    const skip = offset - first * sealedPieceBytes;
    return plain.subarray(skip, Math.min(plain.length, skip + length));
  }

  async delete(key: string): Promise<void> {
    await this.#store.delete(key);
  }

  list(prefix: string): AsyncIterable<string> {
    return this.#store.list(prefix);
  }
}
