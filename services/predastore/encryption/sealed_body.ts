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

/** Pieces of plain text in memory at once: one is filled, the others wait for the digests. */
const plainPieces = 3;
/** With few bodies at once there may be more, so that no digest waits for the thread that receives. */
const plainPiecesOfFew = 6;
const fewBodies = 4;
/** Bodies that are being sealed. */
let bodiesNow = 0;

export interface SealedAs {
  readonly cipher: AesGcm;
  readonly pieceBytes: number;
}

/** Plain text that is gathered; its memory is free again when everybody has read it. */
interface Gathering {
  memory: Bytes;
  read: Promise<unknown>;
}

/**
 * Seals a body as it comes, into memory that `sink` gives. The digests work on other
 * threads and may fall behind by the pieces that are in memory; when this ends they have read everything.
 *
 * @param expected how long the body will be, where that is known
 */
export async function sealBody(
  { cipher, pieceBytes }: SealedAs,
  chunks: AsyncIterable<Uint8Array>,
  digests: readonly BodyDigest[],
  sink: SealedSink,
  onBytes: (count: number) => void,
  expected = pieceBytes,
): Promise<void> {
  const nothing = Promise.resolve();
  const places = bodiesNow < fewBodies ? plainPiecesOfFew : plainPieces;
  // Pieces that lie one behind the other are hashed in one trip.
  const together = expected >= places * pieceBytes
    ? new Uint8Array(places * pieceBytes)
    : undefined;
  const memoryOf = (at: number): Bytes =>
    together?.subarray(at * pieceBytes, (at + 1) * pieceBytes) ??
      new Uint8Array(Math.max(1, Math.min(pieceBytes, expected)));
  const round: Gathering[] = [];
  let piece = 0;
  let filled = 0;
  /** The piece that is being sealed while the next is gathered. */
  let sealing = nothing;

  /** Memory for what comes next, once nobody reads in it any more. */
  const room = async (): Promise<Gathering> => {
    const at = piece % places;
    const mine = round[at] ??= { memory: memoryOf(at), read: nothing };
    await mine.read;
    return mine;
  };
  /** More came than was expected. */
  const grow = (mine: Gathering): void => {
    const memory = new Uint8Array(pieceBytes);
    memory.set(mine.memory);
    mine.memory = memory;
  };
  /** Begins to seal what is gathered, when what was begun before has ended. */
  const begin = async (mine: Gathering): Promise<void> => {
    const plain = mine.memory.subarray(0, filled);
    const hashing = digests.map((digest) => digest.update(plain));
    mine.read = Promise.all([sealing, ...hashing]);
    mine.read.catch(() => {});
    await sealing;
    sealing = cipher.sealInto(nonceOf(piece++), plain, sink);
    mine.read = Promise.all([sealing, ...hashing]);
    // Awaited with the next piece, or at the end; until then a failure is nobody's.
    mine.read.catch(() => {});
    filled = 0;
  };

  bodiesNow++;
  try {
    let mine: Gathering | undefined;
    for await (const chunk of chunks) {
      onBytes(chunk.length);
      for (let at = 0; at < chunk.length;) {
        mine ??= await room();
        if (filled === mine.memory.length) grow(mine);
        const count = Math.min(chunk.length - at, mine.memory.length - filled);
        mine.memory.set(chunk.subarray(at, at + count), filled);
        filled += count;
        at += count;
        if (filled < pieceBytes) continue;
        await begin(mine);
        mine = undefined;
      }
    }
    if (mine !== undefined) await begin(mine);
    await Promise.all(round.map(({ read }) => read));
    // Only here: after a failure nobody knows who still reads in it.
    new Set(round.map(({ memory }) => memory.buffer)).forEach((buffer) =>
      freeMemory(new Uint8Array(buffer))
    );
  } finally {
    bodiesNow--;
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
  let piece = first;
  /** What the piece that is gathered stands in, and of what of it no later piece needs anything. */
  let parts: Bytes[] = [];
  let used: Bytes[] = [];
  let gathered = 0;
  /** The piece that is opened on another thread while the next one is gathered. */
  let opening: Promise<Bytes> | undefined;

  const open = async (at: number, sealed: readonly Bytes[], done: readonly Bytes[]) => {
    const plain = memory(lengthOf(at));
    try {
      await cipher.openParts(nonceOf(at), sealed, plain);
    } catch (error) {
      if (!(error instanceof NotAuthentic)) throw error;
      const start = at * sealedPiece;
      const sound: Bytes[] = [];
      const again = source.readChecked(start, start + plain.length + gcmTagBytes);
      for await (const bytes of again) sound.push(bytes);
      await cipher.openParts(nonceOf(at), sound, plain);
    }
    for (const bytes of done) source.give(bytes);
    const start = at * pieceBytes;
    return plain.subarray(Math.max(0, from - start), Math.min(plain.length, to - start));
  };

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
        const ready = await opening;
        opening = open(piece++, parts, used);
        opening.catch(() => {});
        [parts, used, gathered] = [[], [], 0];
        if (ready !== undefined) yield ready;
      }
    }
    const ready = await opening;
    if (ready !== undefined) yield ready;
  } finally {
    await opening?.catch(() => {});
  }
}
