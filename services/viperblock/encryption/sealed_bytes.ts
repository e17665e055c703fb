/**
 * Runs of bytes sealed by AES-256-GCM in pieces that open one by one: objects of encrypted volumes and
 * their checkpoints. FORMAT.md has the layout.
 *
 * Each name (an object's key) has a key of its own, and each writing of it a random half of the nonces, of
 * which the other half is the piece's number: no nonce seals twice, and no piece opens in another's place.
 */
import { randomBytes } from "node:crypto";
import { crc32c } from "../../../ffi/crc32c.ts";
import { AesGcm, gcmNonceBytes, gcmTagBytes, NotAuthentic } from "../../../ffi/libcrypto_gcm.ts";
import { DamagedData } from "../format.ts";
import { type StoredBytes, storedBytes, wholeOf } from "../machine/stored_bytes.ts";
import { volumeIdField } from "../log/log_record.ts";
import type { VolumeKey } from "./volume_key.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const sealedMagic = 0x4553424d; // "MBSE"
const sealedVersion = 1;
export const sealedHeadBytes = 64;
/** Bytes that are sealed at once in an object: what a read of one block has to open. */
export const sealedPieceBytes = 64 << 10;
/** What a piece is longer by. */
const sealBytes = gcmNonceBytes + gcmTagBytes;
export const sealedPiece = sealedPieceBytes + sealBytes;
const saltBytes = 8;

/** The first bytes of what is sealed; they tell whose key opens it. */
function headOf(owner: string, pieceBytes: number): Bytes {
  const head = new Uint8Array(sealedHeadBytes);
  const words = new Uint32Array(head.buffer);
  words[0] = sealedMagic;
  words[1] = sealedVersion;
  words[3] = pieceBytes;
  head.set(volumeIdField(owner), 16);
  words[2] = crc32c(head);
  return head;
}

/** Whether the bytes begin as something sealed does. */
export function beginsSealed(bytes: Uint8Array): boolean {
  return bytes.length >= sealedHeadBytes &&
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === sealedMagic;
}

/** @throws DamagedData when it is not the head of something sealed that this release can open */
export function checkHead(sealed: Bytes, what: string): void {
  if (!beginsSealed(sealed)) throw new DamagedData(`${what} is not sealed, as it should be`);
  const head = sealed.slice(0, sealedHeadBytes);
  const words = new Uint32Array(head.buffer);
  const [, version, stored] = words;
  if (version !== sealedVersion) {
    throw new DamagedData(`${what} is sealed in version ${version}; this release knows 1`);
  }
  words[2] = 0;
  if (crc32c(head) !== stored) throw new DamagedData(`the head of ${what} is damaged`);
}

class Pieces implements Disposable {
  readonly #cipher: AesGcm;
  readonly #nonce = new Uint8Array(gcmNonceBytes);

  constructor(key: VolumeKey, name: string) {
    this.#cipher = new AesGcm(key.forName(name));
    this.#nonce.set(randomBytes(saltBytes));
  }

  seal(number: number, plain: Bytes, into: Bytes): void {
    new DataView(this.#nonce.buffer).setUint32(saltBytes, number, true);
    into.set(this.#nonce);
    this.#cipher.sealNow(this.#nonce, plain, into.subarray(gcmNonceBytes));
  }

  /** Returns whether it is what was sealed; it is zeros when not. */
  open(number: number, sealed: Bytes, into: Bytes): boolean {
    const nonce = sealed.slice(0, gcmNonceBytes);
    if (new DataView(nonce.buffer).getUint32(saltBytes, true) !== number) {
      into.fill(0);
      return false;
    }
    try {
      this.#cipher.openNow(nonce, sealed.subarray(gcmNonceBytes), into);
      return true;
    } catch (error) {
      if (!(error instanceof NotAuthentic)) throw error;
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.#cipher[Symbol.dispose]();
  }
}

/** An object as it is stored. */
export function sealObject(key: VolumeKey, owner: string, name: string, plain: Bytes): Bytes {
  using pieces = new Pieces(key, name);
  const count = Math.ceil(plain.length / sealedPieceBytes);
  const sealed = new Uint8Array(sealedHeadBytes + plain.length + count * sealBytes);
  sealed.set(headOf(owner, sealedPieceBytes));
  for (let number = 0; number < count; number++) {
    const from = plain.subarray(number * sealedPieceBytes, (number + 1) * sealedPieceBytes);
    const at = sealedHeadBytes + number * sealedPiece;
    pieces.seal(number, from, sealed.subarray(at, at + from.length + sealBytes));
  }
  return sealed;
}

/**
 * Opens pieces that follow each other, from number `first` on. What is not authentic is zeros: the checksums
 * of what lies in it tell, and name it exactly.
 */
export function openPieces(key: VolumeKey, name: string, first: number, sealed: Bytes): Bytes {
  using pieces = new Pieces(key, name);
  const count = Math.ceil(sealed.length / sealedPiece);
  const plain = new Uint8Array(Math.max(0, sealed.length - count * sealBytes));
  for (let i = 0; i < count; i++) {
    const from = sealed.subarray(i * sealedPiece, (i + 1) * sealedPiece);
    if (from.length <= sealBytes) break;
    const at = i * sealedPieceBytes;
    pieces.open(first + i, from, plain.subarray(at, at + from.length - sealBytes));
  }
  return plain;
}

const checkpointOf = (volumeId: string) => `checkpoint ${volumeId}`;
const lengthBytes = 4;

/** Seals a checkpoint as it is written, piece by piece. */
export class CheckpointSeal {
  readonly #key: VolumeKey;
  readonly #volumeId: string;
  #pieces: Pieces | undefined;
  #number = 0;

  constructor(key: VolumeKey, volumeId: string) {
    this.#key = key;
    this.#volumeId = volumeId;
  }

  /** What is to be written for the next piece; `first` begins a new checkpoint. */
  next(plain: Bytes, first: boolean): Bytes {
    if (first) {
      this.close();
      this.#pieces = new Pieces(this.#key, checkpointOf(this.#volumeId));
      this.#number = 0;
    }
    if (this.#pieces === undefined) {
      throw new Error("a checkpoint does not begin with its first piece");
    }
    const head = first ? headOf(this.#volumeId, 0) : new Uint8Array(0);
    const out = new Uint8Array(head.length + lengthBytes + plain.length + sealBytes);
    out.set(head);
    new DataView(out.buffer).setUint32(head.length, plain.length, true);
    this.#pieces.seal(this.#number++, plain, out.subarray(head.length + lengthBytes));
    return out;
  }

  close(): void {
    this.#pieces?.[Symbol.dispose]();
    this.#pieces = undefined;
  }
}

/** A checkpoint as it was before it was sealed, opened piece by piece. @throws DamagedData, also while it is read */
export function unsealedCheckpoint(
  key: VolumeKey,
  volumeId: string,
  sealed: StoredBytes,
): StoredBytes {
  const what = `the checkpoint of ${volumeId}`;
  let left = sealed.length;
  let buffer = new Uint8Array(sealedHeadBytes);
  const take = (length: number): Bytes => {
    if (buffer.length < length) buffer = new Uint8Array(length);
    const bytes = buffer.subarray(0, Math.min(length, left));
    for (let at = 0; at < bytes.length;) {
      const got = sealed.read(bytes.subarray(at));
      if (got === 0) throw new DamagedData(`${what} is shorter than it was`);
      at += got;
    }
    left -= bytes.length;
    return bytes;
  };
  try {
    checkHead(take(sealedHeadBytes), what);
  } catch (error) {
    sealed[Symbol.dispose]();
    throw error;
  }
  const pieces = new Pieces(key, checkpointOf(volumeId));
  let plain = new Uint8Array(0);
  let [at, end, number] = [0, 0, 0];
  const nextPiece = () => {
    const head = take(lengthBytes);
    const length = head.length < lengthBytes
      ? Infinity
      : new DataView(head.buffer, head.byteOffset).getUint32(0, true);
    const isWhole = length + sealBytes <= left;
    if (isWhole && plain.length < length) plain = new Uint8Array(length);
    if (!isWhole || !pieces.open(number++, take(length + sealBytes), plain.subarray(0, length))) {
      throw new DamagedData(`${what} does not open: it was altered`);
    }
    [at, end] = [0, length];
  };
  return {
    length: sealed.length,
    read(into) {
      while (at === end && left > 0) nextPiece();
      const some = plain.subarray(at, Math.min(end, at + into.length));
      into.set(some);
      at += some.length;
      return some.length;
    },
    [Symbol.dispose]() {
      pieces[Symbol.dispose]();
      sealed[Symbol.dispose]();
    },
  };
}

/** As `unsealedCheckpoint`, of what is in memory as a whole. @throws DamagedData */
export function openCheckpoint(key: VolumeKey, volumeId: string, sealed: Bytes): Bytes {
  return wholeOf(unsealedCheckpoint(key, volumeId, storedBytes(sealed)));
}
