/**
 * Reads a log that is not whole, for whoever opens a damaged volume: what `replay.ts` refuses as a whole is
 * told here batch by batch. Nothing is changed.
 *
 * Every header that is whole and stands where it says is found, whatever lies between. A header with a single flipped bit is
 * read as it was: its checksum says which bit that is, and its data blocks must match what it then says. A batch of which
 * only data is damaged says itself which blocks those are. Where a batch is missing altogether, nobody can tell what it
 * held: the visitor decides whether what comes after it counts.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import type { LogSeal } from "../encryption/log_seal.ts";
import {
  batchMagic,
  batchVersion,
  blockBytes,
  sealedBatchVersion,
  segmentBlocks,
} from "../format.ts";
import {
  type BatchHeader,
  batchIsWhole,
  decodeHeader,
  headerWord,
  visitBatch,
} from "./log_record.ts";
import type { LogFile } from "./log_file.ts";

export interface DamagedLogOptions {
  readonly volumeId: string;
  readonly sizeBlocks: number;
  /** Of an encrypted volume. */
  readonly seal?: LogSeal;
}

/** Batches that are missing or damaged and were durable. */
export interface LostBatches {
  readonly from: number;
  readonly to: number;
}

export interface DamagedLogVisitor {
  /** A block as the log has it, whether it can still be read or not. */
  data(segment: number, block: number, index: number, checksum: number): void;
  hole(block: number, count: number): void;
  /** @returns whether the batches after them are to be told */
  lost(batches: LostBatches): boolean;
}

/** Where a segment lies. */
export interface SegmentFile {
  readonly file: LogFile;
  readonly number: number;
  readonly epoch: number;
  readonly firstSequence: number;
}

interface Batch {
  readonly file: LogFile;
  readonly header: BatchHeader;
  /** The header's block, when a bit of it had to be set right. */
  readonly mended?: Uint8Array<ArrayBuffer>;
}

export class DamagedLog {
  readonly #o: DamagedLogOptions;
  /** In sequence, without what a later epoch has declared void. */
  readonly #batches: readonly Batch[];
  readonly segments: readonly SegmentFile[];

  constructor(files: readonly LogFile[], options: DamagedLogOptions) {
    this.#o = options;
    const found = files.map((file) => batchesOf(file, options));
    this.segments = found.flatMap((batches) => {
      const [first] = batches;
      if (first === undefined) return [];
      const { segment: number, epoch, sequence: firstSequence } = first.header;
      return [{ file: first.file, number, epoch, firstSequence }];
    });
    this.#batches = withoutVoid(found.flat());
  }

  /** Headers that had to be set right, by their sequence. */
  get mended(): number[] {
    return this.#batches.flatMap(({ header, mended }) =>
      mended === undefined ? [] : [header.sequence]
    );
  }

  /**
   * Tells what came after a map.
   * @param after the last sequence that the map contains, and its epoch; without a map all is told that there is
   */
  read(
    after: { readonly sequence: number; readonly epoch: number } | undefined,
    visitor: DamagedLogVisitor,
  ): void {
    const batches = this.#batches.filter(({ header }) =>
      after === undefined || (header.sequence > after.sequence && header.epoch >= after.epoch)
    );
    const durable = durableTo(batches, after?.epoch ?? batches[0]?.header.epoch ?? 0);
    let expected = after === undefined ? batches[0]?.header.sequence ?? 1 : after.sequence + 1;
    for (const batch of batches) {
      const { sequence } = batch.header;
      const bytes = bytesOf(batch, this.#o);
      const isWhole = bytes !== undefined &&
        batchIsWhole(batch.header, bytes, this.#o.sizeBlocks);
      const isUsable = bytes !== undefined &&
        (isWhole || (batch.mended === undefined && this.#namesOwnBlocks(batch.header, bytes)));
      // An epoch's first batch holds nothing, so nothing is lost with it alone.
      const isOnlyBeginning = expected === batch.header.began && expected + 1 === sequence;
      const from = isOnlyBeginning ? sequence : expected;
      const to = isUsable ? sequence - 1 : sequence;
      expected = sequence + 1;
      // What was not durable may be torn, and ends the log as it ends any other; what was is lost, whatever follows it.
      if (to >= from && from > durable) return;
      if (to >= from && !visitor.lost({ from, to: Math.min(to, durable) })) return;
      if (!isWhole && sequence > durable) return;
      if (!isUsable) continue;
      visitBatch(batch.header, bytes, {
        data: (block, index, checksum) =>
          visitor.data(batch.header.segment, block, index, checksum),
        hole: (block, count) => visitor.hole(block, count),
      });
    }
    if (expected <= durable) visitor.lost({ from: expected, to: durable });
  }

  /** Whether the entries make sense, whatever has become of the data. */
  #namesOwnBlocks(header: BatchHeader, bytes: Uint8Array<ArrayBuffer>): boolean {
    let all = true;
    let data = 0;
    visitBatch(header, bytes, {
      data: (block) => {
        data++;
        all &&= block < this.#o.sizeBlocks;
      },
      hole: (block, count) => all &&= count > 0 && block + count <= this.#o.sizeBlocks,
    });
    return all && data === header.dataCount;
  }
}

/** The batch as it was before it was sealed; undefined when it is cut off. Valid until the next call. */
function bytesOf(
  { file, header, mended }: Batch,
  { seal }: DamagedLogOptions,
): Uint8Array<ArrayBuffer> | undefined {
  const stored = file.read(header.position, 1 + header.dataCount).slice();
  if (stored.length < (1 + header.dataCount) * blockBytes) return undefined;
  if (mended !== undefined) stored.set(mended);
  return seal?.openBatch(header, stored) ?? stored;
}

/** What is surely durable: what a batch says that was, and all that an epoch was begun after. */
function durableTo(batches: readonly Batch[], epoch: number): number {
  let durable = 0;
  for (const { header } of batches) {
    durable = Math.max(durable, header.synced);
    if (header.epoch !== epoch) durable = Math.max(durable, header.sequence - 1);
    epoch = header.epoch;
  }
  return durable;
}

/**
 * In sequence; a later epoch counts from its first batch on, whether that is left or only named by another of its batches, and
 * whatever an earlier one wrote under the same numbers.
 */
function withoutVoid(found: readonly Batch[]): Batch[] {
  const began = new Map<number, number>();
  for (const { header: { epoch, sequence, began: named } } of found) {
    began.set(epoch, Math.min(began.get(epoch) ?? Infinity, named === 0 ? sequence : named));
  }
  const isVoid = ({ header }: Batch) =>
    began.entries().some(([epoch, first]) => epoch > header.epoch && first <= header.sequence);
  return found.filter((batch) => !isVoid(batch)).sort((a, b) =>
    a.header.sequence - b.header.sequence
  );
}

const nothing = new Uint8Array(0);

/** The batches of the newest segment that the file holds. */
function batchesOf(file: LogFile, options: DamagedLogOptions): Batch[] {
  let found: Batch[] = [];
  let newest = -1;
  for (let position = 0; position < segmentBlocks;) {
    position = Math.max(position, file.written(position));
    const block = position < segmentBlocks ? file.read(position, 1) : nothing;
    if (block.length < blockBytes) break;
    const batch = batchAt(file, block, position, options);
    const segment = batch?.header.segment ?? -1;
    // An older life of the file: what it names is in a map, or void.
    if (batch === undefined || segment < newest) {
      position++;
      continue;
    }
    if (segment > newest) found = [];
    newest = segment;
    found.push(batch);
    // Whole data is a guest's, and may look like anything; what is not may hold a batch of a newer life.
    const bytes = bytesOf(batch, options);
    const isWhole = bytes !== undefined && batchIsWhole(batch.header, bytes, options.sizeBlocks);
    position += isWhole ? 1 + batch.header.dataCount : 1;
  }
  return found;
}

function batchAt(
  file: LogFile,
  block: Uint8Array<ArrayBuffer>,
  position: number,
  { volumeId, seal }: DamagedLogOptions,
): Batch | undefined {
  const version = seal === undefined ? batchVersion : sealedBatchVersion;
  const header = decodeHeader(block, volumeId, version);
  if (header !== undefined) return header.position === position ? { file, header } : undefined;
  const mended = mend(block);
  if (mended === undefined) return undefined;
  const meant = decodeHeader(mended, volumeId, version);
  return meant?.position === position ? { file, header: meant, mended } : undefined;
}

let bits: Map<number, number> | undefined;

/** By how each bit of a header changes its checksum. No two do it alike: CRC-32C tells single bits of a block apart. */
function bitsBySyndrome(): Map<number, number> {
  const block = new Uint8Array(blockBytes);
  const base = crc32c(block);
  const made = new Map<number, number>();
  for (let bit = 0; bit < blockBytes * 8; bit++) {
    if (bit >> 5 === headerWord.checksum) continue;
    block[bit >> 3] = 1 << (bit & 7);
    made.set((crc32c(block) ^ base) >>> 0, bit);
    block[bit >> 3] = 0;
  }
  return made;
}

/** A block that looks like a header, with the one bit set right that makes it match its checksum, if there is one. */
function mend(block: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  const copy = block.slice();
  const words = new Uint32Array(copy.buffer);
  // One wrong bit leaves all but one of the magic's.
  const wrong = ((words[headerWord.magic] as number) ^ batchMagic) >>> 0;
  if ((wrong & (wrong - 1)) !== 0) return undefined;
  const stored = words[headerWord.checksum] as number;
  words[headerWord.checksum] = 0;
  const computed = crc32c(copy);
  words[headerWord.checksum] = stored;
  const syndrome = (stored ^ computed) >>> 0;
  if ((syndrome & (syndrome - 1)) === 0) words[headerWord.checksum] = computed;
  else {
    bits ??= bitsBySyndrome();
    const bit = bits.get(syndrome);
    if (bit === undefined) return undefined;
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  }
  return copy;
}
