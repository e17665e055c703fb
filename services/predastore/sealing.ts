/**
 * Encryption at rest: each object has a key of its own, which is kept with it, sealed under the store's
 * master key.
 *
 * A body is sealed in pieces of 256 KiB, so that a range is opened without the rest. Each body (an object,
 * or one part of it) is sealed under a key derived from the object's key and the body's number, and each
 * piece under its own nonce, so no nonce is used twice under a key. What was altered does not open: it is
 * an error and never other bytes.
 *
 * The master key file holds one key a line, the current one first; older ones still open. A store whose
 * key is lost is not started: nothing sealed could be read again.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { AesGcm, gcmNonceBytes, gcmTagBytes } from "../../ffi/libcrypto_gcm.ts";
import {
  type MasterKeyBytes,
  MasterKeyError,
  parseKeyFile,
  readKeyFile,
} from "../config/key_file.ts";
import type { BodyDigest } from "./extent_writer.ts";
import type { Seal } from "./index/rows.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of plain text that are sealed at once. */
export const pieceBytes = 256 * 1024;
const sealedPiece = pieceBytes + gcmTagBytes;

/** How long a body is when it is sealed. */
export function sealedBytes(plain: number): number {
  return plain + gcmTagBytes * Math.ceil(plain / pieceBytes);
}

interface MasterKey {
  readonly id: string;
  readonly wrapping: Uint8Array;
}

function derive(key: Uint8Array, purpose: string, bytes: number): Bytes {
  return new Uint8Array(hkdfSync("sha256", key, new Uint8Array(0), purpose, bytes));
}

function nonceOf(piece: number): Bytes {
  const nonce = new Uint8Array(gcmNonceBytes);
  new DataView(nonce.buffer).setUint32(0, piece, true);
  return nonce;
}

/** Opened keys that are remembered: a key is asked for at each range of its object. */
const remembered = 1000;

export class Sealing {
  readonly #current: MasterKey;
  readonly #known: ReadonlyMap<string, MasterKey>;
  readonly #opened = new Map<string, Bytes>();

  constructor(keys: MasterKeyBytes) {
    const made = keys.map((key) => ({
      id: derive(key, "mulga/predastore/master-key/id", 8).toHex(),
      wrapping: derive(key, "mulga/predastore/object-keys/v1", 32),
    }));
    this.#current = made[0] as MasterKey;
    this.#known = new Map(made.map((key) => [key.id, key]));
  }

  /** The fingerprint of the key that seals. */
  get id(): string {
    return this.#current.id;
  }

  /** Whether the key with that fingerprint is at hand. */
  knows(master: string): boolean {
    return this.#known.has(master);
  }

  /** A new object's key, sealed. */
  newSeal(): Seal {
    const iv = randomBytes(gcmNonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#current.wrapping, iv);
    const data = Buffer.concat([
      iv,
      cipher.update(randomBytes(32)),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    return { master: this.#current.id, key: data.toString("base64") };
  }

  #objectKey(seal: Seal): Bytes {
    const known = this.#opened.get(seal.key);
    if (known !== undefined) return known;
    const master = this.#known.get(seal.master);
    if (master === undefined) {
      throw new MasterKeyError(
        `The master key with fingerprint ${seal.master} is not at hand. Restore the store's key file.`,
      );
    }
    const data = Buffer.from(seal.key, "base64");
    const decipher = createDecipheriv(
      "aes-256-gcm",
      master.wrapping,
      data.subarray(0, gcmNonceBytes),
    );
    decipher.setAuthTag(data.subarray(-gcmTagBytes));
    const key = new Uint8Array(
      Buffer.concat([
        decipher.update(data.subarray(gcmNonceBytes, -gcmTagBytes)),
        decipher.final(),
      ]),
    );
    if (this.#opened.size >= remembered) this.#opened.clear();
    this.#opened.set(seal.key, key);
    return key;
  }

  /** @param body the body's number, which is its extent's where it has one */
  #cipher(seal: Seal, body: number): AesGcm {
    return new AesGcm(derive(this.#objectKey(seal), `body ${body}`, 32));
  }

  /** Seals a body as it comes; `digests` are fed what it was. What is yielded is used at once. */
  async *seal(
    seal: Seal,
    body: number,
    chunks: AsyncIterable<Uint8Array>,
    digests: readonly BodyDigest[],
    onBytes: (count: number) => void,
  ): AsyncGenerator<Bytes> {
    using cipher = this.#cipher(seal, body);
    // One is filled, one is sealed and hashed on other threads, and one is with whoever asked.
    const buffers = Array.from({ length: 3 }, () => ({
      plain: new Uint8Array(pieceBytes),
      sealed: new Uint8Array(sealedPiece),
    }));
    let filled = 0;
    let piece = 0;
    let working: Promise<Bytes> | undefined;
    const work = async (mine: Bytes, into: Bytes, nonce: Bytes): Promise<Bytes> => {
      const hashing = digests.map((digest) => digest.update(mine));
      await Promise.all([cipher.seal(nonce, mine, into), ...hashing]);
      return into;
    };
    /** Begins with what is filled, when what was begun before has ended. */
    const begin = async (): Promise<Bytes | undefined> => {
      const before = await working;
      const { plain, sealed } = buffers[piece % buffers.length] as typeof buffers[number];
      working = work(
        plain.subarray(0, filled),
        sealed.subarray(0, filled + gcmTagBytes),
        nonceOf(piece++),
      );
      // Awaited with the next piece; until then a failure is nobody's.
      working.catch(() => {});
      filled = 0;
      return before;
    };
    try {
      for await (const chunk of chunks) {
        onBytes(chunk.length);
        for (let at = 0; at < chunk.length;) {
          const { plain } = buffers[piece % buffers.length] as typeof buffers[number];
          const count = Math.min(chunk.length - at, pieceBytes - filled);
          plain.set(chunk.subarray(at, at + count), filled);
          filled += count;
          at += count;
          if (filled < pieceBytes) continue;
          const ready = await begin();
          if (ready !== undefined) yield ready;
        }
      }
      if (filled > 0) {
        const ready = await begin();
        if (ready !== undefined) yield ready;
      }
      const last = await working;
      if (last !== undefined) yield last;
    } finally {
      await working?.catch(() => {});
    }
  }

  /**
   * Bytes `from` to `to` of a sealed body.
   * @param read gives bytes of what is stored, in order
   */
  async *open(
    seal: Seal,
    body: number,
    size: number,
    from: number,
    to: number,
    read: (from: number, to: number) => AsyncIterable<Bytes>,
  ): AsyncGenerator<Bytes> {
    if (to <= from) return;
    using cipher = this.#cipher(seal, body);
    const first = Math.floor(from / pieceBytes);
    const last = Math.ceil(to / pieceBytes);
    let piece = first;
    const buffers = [new Uint8Array(sealedPiece), new Uint8Array(sealedPiece)];
    let filled = 0;
    const end = Math.min(sealedBytes(size), last * sealedPiece);
    const lengthOf = (at: number) => Math.min(pieceBytes, size - at * pieceBytes);
    /** The piece that is opened on another thread while the next one is gathered. */
    let working: Promise<Bytes> | undefined;
    const work = async (sealed: Bytes, at: number): Promise<Bytes> => {
      const plain = new Uint8Array(lengthOf(at));
      await cipher.open(nonceOf(at), sealed, plain);
      const start = at * pieceBytes;
      return plain.subarray(Math.max(0, from - start), Math.min(plain.length, to - start));
    };
    try {
      for await (const chunk of read(first * sealedPiece, end)) {
        for (let at = 0; at < chunk.length;) {
          const sealed = buffers[piece % 2] as Bytes;
          const whole = lengthOf(piece) + gcmTagBytes;
          const count = Math.min(chunk.length - at, whole - filled);
          sealed.set(chunk.subarray(at, at + count), filled);
          filled += count;
          at += count;
          if (filled < whole) continue;
          const ready = await working;
          working = work(sealed.subarray(0, whole), piece++);
          working.catch(() => {});
          filled = 0;
          if (ready !== undefined) yield ready;
        }
      }
      const ready = await working;
      if (ready !== undefined) yield ready;
    } finally {
      await working?.catch(() => {});
    }
  }
}

/** @throws MasterKeyError */
export function parseSealingKeys(text: string, path: string): Sealing {
  return new Sealing(parseKeyFile(text, path));
}

/** @throws MasterKeyError */
export async function readSealingKeys(path: string): Promise<Sealing> {
  return new Sealing(await readKeyFile(path));
}

/** The text of a new master key file. */
export function newSealingKey(): string {
  return `${crypto.getRandomValues(new Uint8Array(32)).toBase64()}\n`;
}
