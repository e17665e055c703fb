/**
 * A block map as a stream of bytes: the local checkpoint file, and the map object in the store that a
 * snapshot, a clone or another node opens from. FORMAT.md has the layout.
 *
 * `MapWriter` makes it piece by piece from a captured map, so that a guest never waits for it; the head and the table of
 * chunks are read here, the whole by `map_reader.ts`.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import {
  type CapturedLeaf,
  checksumAt,
  containerAt,
  indexAt,
  leafBlocks,
  livesAt,
} from "./block_map.ts";
import {
  type ChunkName,
  DamagedData,
  hole,
  mapChunkEntryBytes,
  mapHeaderBytes,
  mapMagic,
  mapVersion,
  maximumBlocks,
  volumeIdBytes,
} from "../format.ts";
import { volumeIdField } from "../log/log_record.ts";

export interface MapHead {
  readonly volumeId: string;
  readonly epoch: number;
  readonly sizeBlocks: number;
  /** The last log sequence that the map contains. */
  readonly sequence: number;
  /** The number that the next log segment gets. */
  readonly nextSegment: number;
  readonly chunkCount: number;
  /** Of the chunk table alone; 0 says nothing: local checkpoints, and maps of older releases. */
  readonly tableChecksum: number;
  /** The volume whose local checkpoint this is; maps in the store are nobody's. */
  readonly checkpointOf?: string;
}

export interface StoredChunk {
  readonly name: ChunkName;
  readonly blocks: number;
  readonly live: number;
}

const words = {
  magic: 0,
  version: 1,
  headChecksum: 2,
  epoch: 3,
  sequenceLow: 4,
  sequenceHigh: 5,
  nextSegment: 6,
  chunkCount: 7,
  sizeLow: 8,
  sizeHigh: 9,
  volumeId: 16,
  checkpointOf: 27,
  tableChecksum: 38,
} as const;

export const extentBytes = 16;
/** The checksum of the whole, at the end. */
export const mapTailBytes = 8;
const trailerBytes = extentBytes + mapTailBytes;
/** The longest thing that is written in one go. */
const largestRecord = extentBytes + leafBlocks * 4;
export const smallestPiece = 65536;

export class MapWriter {
  readonly #head: MapHead;
  readonly #leaves: readonly CapturedLeaf[];
  readonly #chunks: readonly (StoredChunk | undefined)[];
  #phase: "head" | "chunks" | "extents" | "done" = "head";
  #chunk = 0;
  #leaf = 0;
  #inLeaf = 0;
  #checksum = 0;
  #total = 0;

  /** @param chunks by number; one that is undefined or holds nothing live leaves its number free */
  constructor(
    head: Omit<MapHead, "chunkCount" | "tableChecksum">,
    leaves: readonly CapturedLeaf[],
    chunks: readonly (StoredChunk | undefined)[],
  ) {
    this.#leaves = leaves;
    this.#chunks = chunks;
    // A local checkpoint is read as a whole or not at all, and is written while guests wait.
    const tableChecksum = head.checkpointOf === undefined ? this.#tableChecksum() : 0;
    this.#head = { ...head, chunkCount: chunks.length, tableChecksum };
  }

  #tableChecksum(): number {
    const entry = new Uint8Array(mapChunkEntryBytes);
    const words = new Uint32Array(entry.buffer);
    let checksum = 0;
    for (let number = 0; number < this.#chunks.length; number++) {
      this.#writeChunk(number, entry, words, 0);
      checksum = crc32c(entry, checksum);
    }
    return checksum;
  }

  /** Whether all of it was written. */
  get done(): boolean {
    return this.#phase === "done";
  }

  /** Writes on into `piece` (at least `smallestPiece` bytes, aligned to 4); returns how many. */
  fill(piece: Uint8Array<ArrayBuffer>): number {
    const out = new Uint32Array(piece.buffer, piece.byteOffset, piece.length >> 2);
    let at = 0;
    if (this.#phase === "head") {
      this.#writeHead(piece, out);
      at = mapHeaderBytes;
      this.#phase = "chunks";
    }
    if (this.#phase === "chunks") {
      while (this.#chunk < this.#chunks.length && at + mapChunkEntryBytes <= piece.length) {
        this.#writeChunk(this.#chunk, piece, out, at);
        at += mapChunkEntryBytes;
        this.#chunk++;
      }
      if (this.#chunk === this.#chunks.length) this.#phase = "extents";
    }
    if (this.#phase === "extents") {
      while (this.#leaf < this.#leaves.length && at + largestRecord <= piece.length) {
        at = this.#writeExtent(out, at);
      }
      if (this.#leaf === this.#leaves.length && at + trailerBytes <= piece.length) {
        out.fill(0, at >> 2, (at + extentBytes) >> 2);
        at += extentBytes;
        this.#checksum = crc32c(piece.subarray(0, at), this.#checksum);
        this.#total += at;
        out[at >> 2] = this.#checksum;
        out[(at >> 2) + 1] = 0;
        this.#phase = "done";
        return at + 8;
      }
    }
    this.#checksum = crc32c(piece.subarray(0, at), this.#checksum);
    this.#total += at;
    return at;
  }

  #writeHead(piece: Uint8Array<ArrayBuffer>, out: Uint32Array): void {
    const head = this.#head;
    out.fill(0, 0, mapHeaderBytes >> 2);
    out[words.magic] = mapMagic;
    out[words.version] = mapVersion;
    out[words.epoch] = head.epoch;
    out[words.sequenceLow] = head.sequence;
    out[words.sequenceHigh] = Math.floor(head.sequence / 4294967296);
    out[words.nextSegment] = head.nextSegment;
    out[words.chunkCount] = head.chunkCount;
    out[words.tableChecksum] = head.tableChecksum;
    out[words.sizeLow] = head.sizeBlocks;
    out[words.sizeHigh] = Math.floor(head.sizeBlocks / 4294967296);
    piece.set(volumeIdField(head.volumeId), words.volumeId * 4);
    if (head.checkpointOf !== undefined) {
      piece.set(volumeIdField(head.checkpointOf), words.checkpointOf * 4);
    }
    out[words.headChecksum] = crc32c(piece.subarray(0, mapHeaderBytes));
  }

  #writeChunk(number: number, piece: Uint8Array, out: Uint32Array, at: number): void {
    const chunk = this.#chunks[number];
    out.fill(0, at >> 2, (at + mapChunkEntryBytes) >> 2);
    if (chunk === undefined || chunk.live === 0) return;
    piece.set(volumeIdField(chunk.name.owner), at);
    const word = (at + volumeIdBytes) >> 2;
    out[word] = chunk.name.epoch;
    out[word + 1] = chunk.name.sequence;
    out[word + 2] = chunk.blocks;
    out[word + 3] = chunk.live;
  }

  /** Writes the next run of the current leaf, if it has one; returns the new end. */
  #writeExtent(out: Uint32Array, at: number): number {
    const leaf = this.#leaves[this.#leaf] as CapturedLeaf;
    const places = leaf.words;
    let i = this.#inLeaf;
    while (i < leafBlocks && containerAt(places, i) === hole) i++;
    if (i === leafBlocks) {
      this.#leaf++;
      this.#inLeaf = 0;
      return at;
    }
    const container = containerAt(places, i);
    const index = indexAt(places, i);
    let run = 0;
    const word = at >> 2;
    while (i + run < leafBlocks && livesAt(places, i + run, container, index + run)) {
      out[word + 4 + run] = checksumAt(places, i + run);
      run++;
    }
    out[word] = leaf.firstBlock + i;
    out[word + 1] = run;
    out[word + 2] = container;
    out[word + 3] = index;
    this.#inLeaf = i + run;
    return at + extentBytes + run * 4;
  }
}

/** Writes into a map's head whose checkpoint it becomes, and the head's checksum over that. */
export function nameCheckpoint(head: Uint8Array<ArrayBuffer>, volumeId: string): void {
  // A damaged head must not get a checksum that matches.
  readMapHead(head);
  const word = new Uint32Array(head.buffer, head.byteOffset, mapHeaderBytes >> 2);
  head.set(volumeIdField(volumeId), words.checkpointOf * 4);
  word[words.headChecksum] = 0;
  word[words.headChecksum] = crc32c(head.subarray(0, mapHeaderBytes));
}

/** The head of a map, from its first 4096 bytes. @throws DamagedData */
export function readMapHead(bytes: Uint8Array<ArrayBuffer>): MapHead {
  if (bytes.length < mapHeaderBytes) throw new DamagedData("the map is shorter than its head");
  const head = bytes.slice(0, mapHeaderBytes);
  const word = new Uint32Array(head.buffer);
  const at = (index: number) => word[index] as number;
  if (at(words.magic) !== mapMagic) throw new DamagedData("this is no block map");
  if (at(words.version) !== mapVersion) {
    throw new DamagedData(`the map has version ${at(words.version)}; this release knows 1`);
  }
  const stored = at(words.headChecksum);
  word[words.headChecksum] = 0;
  if (crc32c(head) !== stored) throw new DamagedData("the map's head does not match its checksum");
  const sizeBlocks = at(words.sizeLow) + at(words.sizeHigh) * 4294967296;
  if (sizeBlocks > maximumBlocks) throw new DamagedData("the map's size is impossible");
  const checkpointOf = readId(head, words.checkpointOf * 4);
  return {
    ...(checkpointOf === "" ? {} : { checkpointOf }),
    volumeId: readId(head, words.volumeId * 4),
    epoch: at(words.epoch),
    sizeBlocks,
    sequence: at(words.sequenceLow) + at(words.sequenceHigh) * 4294967296,
    nextSegment: at(words.nextSegment),
    chunkCount: at(words.chunkCount),
    tableChecksum: at(words.tableChecksum),
  };
}

export function readId(bytes: Uint8Array, at: number): string {
  const field = bytes.subarray(at, at + volumeIdBytes);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

/** Bytes from the start of a map that hold its head and its table of chunks. */
export const chunkTableEnd = (head: MapHead) =>
  mapHeaderBytes + head.chunkCount * mapChunkEntryBytes;

/** The map's chunks by number; undefined where a number is free. @throws DamagedData */
export function readChunkTable(
  bytes: Uint8Array<ArrayBuffer>,
  head: MapHead,
): (StoredChunk | undefined)[] {
  if (bytes.length < chunkTableEnd(head)) throw new DamagedData("the map's chunk table is cut off");
  const table = bytes.subarray(mapHeaderBytes, chunkTableEnd(head));
  if (head.tableChecksum !== 0 && crc32c(table) !== head.tableChecksum) {
    throw new DamagedData("the map's chunk table does not match its checksum");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: head.chunkCount }, (_, number) => {
    const at = mapHeaderBytes + number * mapChunkEntryBytes;
    const owner = readId(bytes, at);
    if (owner === "") return undefined;
    const word = (index: number) => view.getUint32(at + volumeIdBytes + index * 4, true);
    return {
      name: { owner, epoch: word(0), sequence: word(1) },
      blocks: word(2),
      live: word(3),
    };
  });
}
