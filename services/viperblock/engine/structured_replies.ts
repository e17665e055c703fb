/**
 * The chunks of NBD's structured replies: what a read answers, cut where long holes are, the states of
 * extents, and errors in words. Pure functions over the columns of `Slots`; `replies.ts` gives them the
 * places for headers and data of one send.
 *
 * A hole is named instead of sent where it is long against its read, so that a chunk never costs more than
 * what it spares, and a reply is at most `maximumChunks` chunks.
 */
import { blockBytes, hole } from "../format.ts";
import { chunkDone, chunkKind, nbdError, nbdMagic } from "./nbd_protocol.ts";

/** The longest header of a chunk: an error with its words. */
export const longestHeaderBytes = 160;
const chunkHeaderBytes = 20;
/** Holes shorter than this many blocks are sent as zeros, unless the whole read is one. */
const shortestHole = 16;
/** With holes of at least 1/64 of the read, there are at most 64 of them, and one more run of data. */
const runsPerRead = 64;
const maximumChunks = 2 * runsPerRead + 1;

/** Chunks that a read of that many bytes may take. */
export const chunksOf = (length: number) => length < shortestHole * blockBytes ? 1 : maximumChunks;

export interface ChunkSink {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Makes room for a header; returns where it begins in `view`. */
  header(length: number): number;
  /** That many bytes of the read's slot follow, from `skip` on. */
  data(skip: number, length: number): void;
}

export interface ReadReply {
  readonly cookieA: number;
  readonly cookieB: number;
  readonly offset: number;
  readonly length: number;
  /** Where each block came from; the read's first is at `column`. */
  readonly container: Uint32Array;
  readonly column: number;
  /** It must be one chunk. */
  readonly whole: boolean;
}

function writeHeader(
  sink: ChunkSink,
  of: { readonly cookieA: number; readonly cookieB: number },
  kind: number,
  fixed: number,
  payload: number,
  done: boolean,
): number {
  const at = sink.header(chunkHeaderBytes + fixed);
  const { view } = sink;
  view.setUint32(at, nbdMagic.structuredReply);
  view.setUint16(at + 4, done ? chunkDone : 0);
  view.setUint16(at + 6, kind);
  view.setInt32(at + 8, of.cookieA, true);
  view.setInt32(at + 12, of.cookieB, true);
  view.setUint32(at + 16, fixed + payload);
  return at + chunkHeaderBytes;
}

function setOffset(view: DataView, at: number, offset: number): void {
  view.setUint32(at, Math.floor(offset / 4294967296));
  view.setUint32(at + 4, offset >>> 0);
}

/** The chunks of a read that has its data. */
export function writeRead(sink: ChunkSink, read: ReadReply): void {
  const { container, column, offset, length } = read;
  const inFirst = offset % blockBytes;
  const blocks = Math.ceil((inFirst + length) / blockBytes);
  const shortest = Math.max(shortestHole, Math.ceil(blocks / runsPerRead));
  const isHole = (i: number) => container[column + i] === hole;
  const runEnd = (from: number) => {
    let end = from + 1;
    while (end < blocks && isHole(end) === isHole(from)) end++;
    return end;
  };
  const emit = (first: number, end: number, asHole: boolean) => {
    const from = Math.max(0, first * blockBytes - inFirst);
    const to = Math.min(length, end * blockBytes - inFirst);
    const done = to === length;
    if (asHole) {
      const at = writeHeader(sink, read, chunkKind.offsetHole, 12, 0, done);
      setOffset(sink.view, at, offset + from);
      sink.view.setUint32(at + 8, to - from);
    } else {
      const at = writeHeader(sink, read, chunkKind.offsetData, 8, to - from, done);
      setOffset(sink.view, at, offset + from);
      sink.data(inFirst + from, to - from);
    }
  };
  if (isHole(0) && runEnd(0) === blocks) {
    emit(0, blocks, true);
    return;
  }
  let dataFrom = 0;
  for (let block = 0; block < blocks && !read.whole && blocks >= shortestHole;) {
    const end = runEnd(block);
    if (isHole(block) && end - block >= shortest) {
      if (dataFrom < block) emit(dataFrom, block, false);
      emit(block, end, true);
      dataFrom = end;
    }
    block = end;
  }
  if (dataFrom < blocks) emit(dataFrom, blocks, false);
}

const words: Readonly<Record<number, Uint8Array>> = Object.fromEntries(
  Object.entries({
    [nbdError.io]: "a block here cannot be read or is not what was written; check the volume",
    [nbdError.invalid]: "the request is malformed, of an unknown kind or outside of the volume",
    [nbdError.overflow]: "at most 32 MiB may be read at a time",
    [nbdError.shutdown]: "the volume is being closed",
  }).map(([code, text]) => [code, new TextEncoder().encode(text)]),
);
const noWords = new Uint8Array(0);

/** One chunk that says what went wrong, and where. */
export function writeError(
  sink: ChunkSink,
  of: { readonly cookieA: number; readonly cookieB: number },
  error: number,
  offset: number,
): void {
  const text = words[error] ?? noWords;
  const at = writeHeader(sink, of, chunkKind.errorOffset, 6 + text.length + 8, 0, true);
  sink.view.setUint32(at, error);
  sink.view.setUint16(at + 4, text.length);
  sink.bytes.set(text, at + 6);
  setOffset(sink.view, at + 6 + text.length, offset);
}

/** The states of extents, of which `length` bytes are ready in the slot. */
export function writeStatus(
  sink: ChunkSink,
  of: { readonly cookieA: number; readonly cookieB: number },
  length: number,
): void {
  writeHeader(sink, of, chunkKind.blockStatus, 0, length, true);
  sink.data(0, length);
}
