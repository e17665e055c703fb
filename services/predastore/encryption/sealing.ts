/**
 * Encryption at rest: each object has a key of its own, which is kept with it, sealed under the store's
 * master key, or under one that its client brings each time (`customer_seal.ts`).
 *
 * A body is sealed in pieces (`sealed_body.ts`). Each body (an object, or one part of it) is sealed under a
 * key derived from the object's key and the body's number, and each piece under its own nonce, so no nonce
 * is used twice under a key. What was altered does not open: it is an error and never other bytes.
 *
 * The master key file holds one key a line, the current one first; older ones still open. A store whose
 * key is lost is not started: nothing sealed could be read again.
 */
import { AesGcm, gcmNonceBytes, gcmTagBytes, type SealedSink } from "../../../ffi/libcrypto_gcm.ts";
import { type MasterKeyBytes, parseKeyFile, readKeyFile } from "../../config/key_file.ts";
import { derive, MasterKeyRing } from "../../config/master_keys.ts";
import type { BodyDigest } from "../extents/extent_writer.ts";
import type { CustomerSeal, MasterSeal, Seal } from "../index/rows.ts";
import type { BodySource } from "./body_source.ts";
import { isCustomers, objectKeyOf, sealUnder } from "./customer_seal.ts";
import type { PieceMemory } from "../extents/piece_memory.ts";
import {
  openBody,
  type OpenedRange,
  sealBody,
  sealedBytes,
  type SealedSource,
} from "./sealed_body.ts";
import { openShort } from "./sealed_text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of plain text that new bodies are sealed in. */
export const newPieceBytes = 512 * 1024;
/** What a seal means that does not say. */
const unsaidPieceBytes = 256 * 1024;

function pieceBytesOf(seal: Seal): number {
  return seal.piece ?? unsaidPieceBytes;
}

/** How long a body is when it is sealed. */
export function sealedLength(seal: Seal, plain: number): number {
  return sealedBytes(plain, pieceBytesOf(seal));
}

const purpose = {
  fingerprint: "mulga/predastore/master-key/id",
  sealing: "mulga/predastore/object-keys/v1",
} as const;

const objectKey_bytes = 32;

/** Opened keys that are remembered: a key is asked for at each range of its object. */
const remembered = 1000;

export class Sealing {
  readonly #ring: MasterKeyRing;
  readonly #opened = new Map<string, Bytes>();
  /** Seals keys of objects. */
  #wrapper: AesGcm | undefined;

  /** @param path of the keys' file, for who has to look at it */
  constructor(keys: MasterKeyBytes, readonly path: string) {
    this.#ring = new MasterKeyRing(keys, purpose);
  }

  /** The fingerprint of the key that seals. */
  get id(): string {
    return this.#ring.id;
  }

  /** Whether the key with that fingerprint is at hand. */
  knows(master: string): boolean {
    return this.#ring.knows(master);
  }

  /** A new object's key, sealed. */
  newSeal(): MasterSeal {
    const sealed = new Uint8Array(gcmNonceBytes + objectKey_bytes + gcmTagBytes);
    const nonce = sealed.subarray(0, gcmNonceBytes);
    const plain = new Uint8Array(objectKey_bytes);
    crypto.getRandomValues(nonce);
    crypto.getRandomValues(plain);
    this.#wrapper ??= new AesGcm(this.#ring.current);
    this.#wrapper.sealNow(nonce, plain, sealed.subarray(gcmNonceBytes));
    const key = sealed.toBase64();
    // Its body comes next.
    this.#remember(key, plain);
    return { master: this.#ring.id, key, piece: newPieceBytes };
  }

  /** A new object's key, sealed under its client's, who brings that to the body too. */
  newCustomerSeal(customer_key: Bytes): CustomerSeal {
    const object_key = crypto.getRandomValues(new Uint8Array(objectKey_bytes));
    return { ...sealUnder(customer_key, object_key), piece: newPieceBytes };
  }

  #remember(sealed: string, key: Bytes): void {
    this.#opened.set(sealed, key);
    for (const oldest of this.#opened.keys()) {
      if (this.#opened.size <= remembered) break;
      this.#opened.delete(oldest);
    }
  }

  /** What a client's key opens is never remembered. @throws CustomerKeyError, MasterKeyError */
  #objectKey(seal: Seal, customer_key: Bytes | undefined): Bytes {
    if (isCustomers(seal)) return objectKeyOf(seal, customer_key);
    const known = this.#opened.get(seal.key);
    if (known !== undefined) return known;
    const master = this.#ring.of(
      seal.master,
      () =>
        `The master key with fingerprint ${seal.master} is not at hand. Restore the store's key file.`,
    );
    const key = openShort(master, seal.key);
    this.#remember(seal.key, key);
    return key;
  }

  /** @param body the body's number, which is its extent's where it has one */
  #cipher(seal: Seal, body: number, customer_key: Bytes | undefined): AesGcm {
    return new AesGcm(derive(this.#objectKey(seal, customer_key), `body ${body}`, 32));
  }

  /** Seals a body as it comes, into `sink`; `digests` are fed what it was. */
  async seal(
    seal: Seal,
    body: number,
    source: BodySource,
    digests: readonly BodyDigest[],
    sink: SealedSink,
    onBytes: (count: number) => void,
    expected?: number,
    customer_key?: Bytes,
  ): Promise<void> {
    using cipher = this.#cipher(seal, body, customer_key);
    const as = { cipher, pieceBytes: pieceBytesOf(seal) };
    await sealBody(as, source, digests, sink, onBytes, expected);
  }

  /** A range of a sealed body. */
  async *open(
    seal: Seal,
    body: number,
    range: OpenedRange,
    source: SealedSource,
    memory?: PieceMemory,
    customer_key?: Bytes,
  ): AsyncGenerator<Bytes> {
    using cipher = this.#cipher(seal, body, customer_key);
    yield* openBody({ cipher, pieceBytes: pieceBytesOf(seal) }, range, source, memory);
  }
}

/** @throws MasterKeyError */
export function parseSealingKeys(text: string, path: string): Sealing {
  return new Sealing(parseKeyFile(text, path), path);
}

/** @throws MasterKeyError */
export async function readSealingKeys(path: string): Promise<Sealing> {
  return new Sealing(await readKeyFile(path), path);
}

/** The text of a new master key file. */
export function newSealingKey(): string {
  return `${crypto.getRandomValues(new Uint8Array(32)).toBase64()}\n`;
}
