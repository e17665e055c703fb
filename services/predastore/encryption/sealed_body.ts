/**
 * A body as it stands on the disks when it is sealed: pieces of one length, the last one shorter, each
 * AES-256-GCM under its own nonce and followed by its tag. A range is opened without the rest, but for
 * the pieces that it touches.
 *
 * Long pieces are quick: what each costs besides the work is paid once. Where the processor is fast the thread
 * that serves requests does the work itself, which costs it little more than a trip to another.
 */
import {
  type AesGcm,
  gcmNonceBytes,
  gcmTagBytes,
  NotAuthentic,
  type SealedSink,
} from "../../../ffi/libcrypto_gcm.ts";
import type { BodyDigest } from "../extents/extent_writer.ts";
import type { BodySource } from "./body_source.ts";
import { LentMemory } from "./lent_memory.ts";
import { freeMemory, freshMemory, type PieceMemory } from "../extents/piece_memory.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How long a body is when it is sealed in pieces of `pieceBytes`. */
export function sealedBytes(plain: number, pieceBytes: number): number {
  return plain + gcmTagBytes * Math.ceil(plain / pieceBytes);
}

function nonceOf(piece: number): Bytes {
  const nonce = new Uint8Array(gcmNonceBytes);
  new DataView(nonce.buffer).setUint32(0, piece, true);
  return nonce;
}

/** Pieces that are gathered before they are hashed in one trip to another thread, and sealed. */
const piecesTogether = 2;
/** Memory for so many of them at once: one is filled, the others wait for the digests. */
const places = 2;
/** With few bodies at once there may be more, so that no digest waits for the thread that receives. */
const placesOfFew = 3;
const fewBodies = 4;
/** Bodies that are being sealed, and opened. */
let bodiesNow = 0;
let openedNow = 0;

export interface SealedAs {
  readonly cipher: AesGcm;
  readonly pieceBytes: number;
}

/** Plain text that is gathered; its memory is free again when everybody has read it. */
interface Gathering {
  memory: ArrayBuffer;
  read: Promise<unknown>;
}

/**
 * Seals a body as it comes, into memory that `sink` gives. The digests work on other threads and may fall
 * behind by what is in memory; when this ends they have read everything.
 *
 * @param expected how long the body will be, where that is known
 */
export async function sealBody(
  { cipher, pieceBytes }: SealedAs,
  source: BodySource,
  digests: readonly BodyDigest[],
  sink: SealedSink,
  onBytes: (count: number) => void,
  expected = pieceBytes,
): Promise<void> {
  const nothing = Promise.resolve();
  const most = bodiesNow < fewBodies ? placesOfFew : places;
  const whole = piecesTogether * pieceBytes;
  const round: Gathering[] = [];
  let piece = 0;
  /** What is being sealed while more is gathered. */
  let sealing = nothing;

  /** Fills memory that nobody reads in any more, as far as the body reaches. */
  const gather = async (mine: Gathering): Promise<Bytes> => {
    await mine.read;
    let read = await source.fill(mine.memory, 0);
    if (read.filled === read.memory.byteLength && read.filled < whole) {
      // More came than was expected.
      const memory = new ArrayBuffer(whole);
      new Uint8Array(memory).set(new Uint8Array(read.memory));
      read = await source.fill(memory, read.filled);
    }
    mine.memory = read.memory;
    return new Uint8Array(read.memory, 0, read.filled);
  };
  const seal = async (plain: Bytes): Promise<void> => {
    for (let at = 0; at < plain.length; at += pieceBytes) {
      await cipher.sealInto(nonceOf(piece++), plain.subarray(at, at + pieceBytes), sink);
    }
  };

  bodiesNow++;
  try {
    for (let at = 0, ended = false; !ended; at++) {
      // One byte more than is expected, to see the end at once.
      const mine = round[at % most] ??= {
        memory: new ArrayBuffer(Math.min(whole, expected + 1)),
        read: nothing,
      };
      const plain = await gather(mine);
      ended = plain.length < whole;
      if (plain.length === 0) break;
      onBytes(plain.length);
      const hashing = digests.map((digest) => digest.update(plain));
      mine.read = Promise.all([sealing, ...hashing]);
      // Awaited when the memory is used again, or at the end; until then a failure is nobody's.
      mine.read.catch(() => {});
      await sealing;
      sealing = seal(plain);
      mine.read = Promise.all([sealing, ...hashing]);
      mine.read.catch(() => {});
    }
    await Promise.all(round.map(({ read }) => read));
    // Only here: after a failure nobody knows who still reads in it.
    for (const { memory } of round) freeMemory(new Uint8Array(memory));
  } finally {
    bodiesNow--;
    await source.close();
    // Nobody seals into the sink's memory any more.
    await Promise.allSettled(round.map(({ read }) => read));
  }
}

/** Which bytes of a sealed body are wanted. */
export interface OpenedRange {
  /** Of the whole body, plain. */
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** What is stored of a sealed body. */
export interface SealedSource {
  /** Bytes of it, in order, with no checksum checked. Each stays as it is until it is given back. */
  read(from: number, to: number): AsyncIterable<Bytes>;
  give(bytes: Bytes): void;
  /** Bytes of it that have been checked: what is damaged is made good, if it can be. */
  readChecked(from: number, to: number): AsyncIterable<Bytes>;
}

/**
 * Bytes `from` to `to` of a sealed body, in pieces. The tag of a piece tells whether it is sound, so no
 * other checksum is looked at, until a piece does not open.
 *
 * @param memory what the pieces are opened into
 */
export async function* openBody(
  { cipher, pieceBytes }: SealedAs,
  { size, from, to }: OpenedRange,
  source: SealedSource,
  memory: PieceMemory = freshMemory,
): AsyncGenerator<Bytes> {
  if (to <= from) return;
  const sealedPiece = pieceBytes + gcmTagBytes;
  const first = Math.floor(from / pieceBytes);
  const end = Math.min(sealedBytes(size, pieceBytes), Math.ceil(to / pieceBytes) * sealedPiece);
  const lengthOf = (at: number) => Math.min(pieceBytes, size - at * pieceBytes);
  const atOnce = cipher.atOnce(pieceBytes);
  /**
   * A piece of a long body is opened where it was read: the processor's cache has half as much to hold. Memory of the
   * disk's stands in for the reader's then, so the last pieces are not opened so, and none of many bodies at once.
   */
  const lastInPlace = memory.distance === undefined || !atOnce || openedNow >= fewBodies
    ? -1
    : to - memory.distance;
  const lent = new LentMemory((bytes) => source.give(bytes), memory.distance);
  let piece = first;
  /** What the piece that is gathered stands in, and of what of it no later piece needs anything. */
  let parts: Bytes[] = [];
  let used: Bytes[] = [];
  let gathered = 0;
  /** The piece that is opened on another thread while the next one is gathered. */
  let opening: Promise<Bytes> | undefined;

  /** The bytes that are wanted of what begins there. */
  const wanted = (start: number, plain: Bytes): Bytes =>
    plain.subarray(Math.max(0, from - start), Math.max(0, Math.min(plain.length, to - start)));
  const openChecked = async (at: number, plain: Bytes): Promise<void> => {
    const start = at * sealedPiece;
    const sound: Bytes[] = [];
    const again = source.readChecked(start, start + plain.length + gcmTagBytes);
    for await (const bytes of again) sound.push(bytes);
    await cipher.openParts(nonceOf(at), sound, plain);
  };
  const open = async (at: number, sealed: readonly Bytes[]): Promise<Bytes> => {
    const plain = memory(lengthOf(at));
    try {
      await cipher.openParts(nonceOf(at), sealed, plain);
    } catch (error) {
      if (!(error instanceof NotAuthentic)) throw error;
      await openChecked(at, plain);
    }
    return wanted(at * pieceBytes, plain);
  };
  const openInPlace = async (at: number, sealed: readonly Bytes[]): Promise<Bytes[]> => {
    let plain: Bytes[];
    try {
      plain = await cipher.openInPlace(nonceOf(at), sealed);
    } catch (error) {
      if (!(error instanceof NotAuthentic)) throw error;
      plain = [memory(lengthOf(at))];
      await openChecked(at, plain[0] as Bytes);
    }
    let start = at * pieceBytes;
    return plain.map((part) => wanted((start += part.length) - part.length, part));
  };
  const openAhead = async (
    at: number,
    sealed: readonly Bytes[],
    done: readonly Bytes[],
  ): Promise<Bytes> => {
    const plain = await open(at, sealed);
    lent.next(plain.length, false, done);
    return plain;
  };

  openedNow++;
  try {
    for await (const chunk of source.read(first * sealedPiece, end)) {
      for (let at = 0; at < chunk.length;) {
        const whole = lengthOf(piece) + gcmTagBytes;
        const count = Math.min(chunk.length - at, whole - gathered);
        parts.push(chunk.subarray(at, at + count));
        gathered += count;
        at += count;
        if (at === chunk.length) used.push(chunk);
        if (gathered < whole) continue;
        const [mine, sealed, done] = [piece++, parts, used];
        [parts, used, gathered] = [[], [], 0];
        if (!atOnce) {
          const ready = await opening;
          opening = openAhead(mine, sealed, done);
          opening.catch(() => {});
          if (ready !== undefined) yield ready;
          continue;
        }
        // Nothing is gained by opening ahead, and what was opened last is still in the processor's cache.
        const inPlace = mine * pieceBytes + lengthOf(mine) <= lastInPlace;
        const plain = inPlace ? await openInPlace(mine, sealed) : [await open(mine, sealed)];
        lent.next(plain.reduce((sum, part) => sum + part.length, 0), inPlace, done);
        for (const part of plain) if (part.length > 0) yield part;
      }
    }
    const ready = await opening;
    if (ready !== undefined) yield ready;
    lent.giveBack();
  } finally {
    openedNow--;
    await opening?.catch(() => {});
  }
}
