/**
 * Finds a volume's log again after a crash.
 *
 * Batches are taken in the order of their sequence, each only when it is whole; the first that is not
 * ends the log, so that what is found is a prefix of what was written. A later epoch's first batch
 * states where the log before it ended, and its others repeat that: batches beyond that point are a dead
 * writer's late writes and are not taken. When batches are missing that a checkpoint, a later epoch or a later batch (`synced_mark.ts`)
 * says were durable, data has been lost and the volume is not opened (`DamagedData`).
 */
import type { LogSeal } from "../encryption/log_seal.ts";
import {
  batchVersion,
  blockBytes,
  DamagedData,
  sealedBatchVersion,
  segmentBlocks,
} from "../format.ts";
import {
  type BatchHeader,
  batchIsWhole,
  type BatchVisitor,
  decodeHeader,
  headerVersion,
  visitBatch,
} from "./log_record.ts";
import type { LogFile } from "./log_file.ts";
import { syncedMark, type SyncedSearch } from "./synced_mark.ts";

export interface FoundSegment {
  readonly file: LogFile;
  readonly number: number;
  readonly epoch: number;
  readonly firstSequence: number;
  /** The first sequence of its epoch, as far as is known. */
  readonly began: number;
  /** The last sequence that was accepted from it; less than `firstSequence` when none was. */
  lastSequence: number;
}

export interface ReplayVisitor {
  /** A segment whose batches, if they are newer than the checkpoint, follow. */
  segment(found: FoundSegment): void;
  data(segment: number, block: number, index: number, checksum: number): void;
  hole(block: number, count: number): void;
}

export interface Replayed {
  /** The sequence that the next batch gets. */
  readonly nextSequence: number;
  readonly nextSegment: number;
  readonly batches: number;
  /** What those batches take in the log. */
  readonly blocks: number;
  /** Files that hold nothing of the log and may be used again. */
  readonly unused: readonly LogFile[];
}

export interface ReplayOptions {
  readonly volumeId: string;
  readonly sizeBlocks: number;
  /** The epoch in which the checkpoint was written, and the last sequence that it contains. */
  readonly epoch: number;
  readonly sequence: number;
  readonly nextSegment: number;
  /** Segments that the checkpoint's map refers to. */
  readonly needed: ReadonlySet<number>;
  /** Of an encrypted volume. */
  readonly seal?: LogSeal;
}

/**
 * Blocks at the start of a file of an older segment that are looked at: had it become a segment of the end
 * of the log, and only its first block been lost, then a header of that would stand here.
 */
const lookedAt = 1024;

const versionOf = (seal: LogSeal | undefined) =>
  seal === undefined ? batchVersion : sealedBatchVersion;

/** Identifies each file by its first batch. @throws DamagedData when that is of a version that is not known */
function identify(files: readonly LogFile[], { volumeId, seal }: ReplayOptions) {
  const version = versionOf(seal);
  const found: FoundSegment[] = [];
  const unused: LogFile[] = [];
  for (const file of files) {
    const block = file.read(0, 1);
    const header = block.length < blockBytes ? undefined : decodeHeader(block, volumeId, version);
    const other = block.length < blockBytes ? undefined : headerVersion(block, volumeId);
    if (other !== undefined && other !== version) {
      throw new DamagedData(
        `${file.path} is a log of ${volumeId} of version ${other}; only ${version} can be read here`,
      );
    }
    if (header === undefined || header.position !== 0) unused.push(file);
    else {
      found.push({
        file,
        number: header.segment,
        epoch: header.epoch,
        firstSequence: header.sequence,
        began: header.began === 0 ? header.sequence : header.began,
        lastSequence: header.sequence - 1,
      });
    }
  }
  found.sort((a, b) => a.number - b.number);
  // A later epoch that began at or before a segment's first batch has declared that segment void.
  const current = found.filter((segment) => {
    const voided = found.some((later) =>
      later.number > segment.number && later.epoch > segment.epoch &&
      later.began <= segment.firstSequence
    );
    if (voided) unused.push(segment.file);
    return !voided;
  });
  return { found: current, highest: found.at(-1)?.number ?? -1, unused };
}

export function replay(
  files: readonly LogFile[],
  options: ReplayOptions,
  visitor: ReplayVisitor,
): Replayed {
  const { found, highest, unused } = identify(files, options);
  for (const number of options.needed) {
    if (!found.some((segment) => segment.number === number)) {
      throw new DamagedData(`log segment ${number} of ${options.volumeId} is missing`);
    }
  }
  let expected = options.sequence + 1;
  let batches = 0;
  let blocks = 0;
  // A segment goes on until the next one's first sequence; the last one until its first bad batch.
  const chain: FoundSegment[] = [];
  let ended = false;
  /** Where the last segment that was read ends. */
  let end = 0;
  const epochNow = () => Math.max(options.epoch, chain.at(-1)?.epoch ?? 0);
  for (const [i, segment] of found.entries()) {
    const next = found[i + 1];
    const limit = limitOf(segment, found.slice(i + 1), options);
    if (limit <= expected) {
      // All of it is in the checkpoint already; it may still hold blocks that the map refers to.
      if (options.needed.has(segment.number)) {
        segment.lastSequence = limit - 1;
        visitor.segment(segment);
        chain.push(segment);
      } else unused.push(segment.file);
      continue;
    }
    if (ended || segment.firstSequence > expected) {
      if (
        segment.epoch > epochNow() || options.needed.has(segment.number)
      ) {
        throw new DamagedData(
          `the log of ${options.volumeId} lacks batch ${expected}, which was durable`,
        );
      }
      ended = true;
      unused.push(segment.file);
      continue;
    }
    visitor.segment(segment);
    chain.push(segment);
    let sequence = segment.firstSequence;
    let position = 0;
    while (position < segmentBlocks && sequence < limit) {
      const batch = readBatch(segment, position, sequence, options);
      if (batch === undefined) break;
      if (sequence >= expected) {
        visitBatch(batch.header, batch.bytes, forSegment(segment.number, visitor));
        expected = sequence + 1;
        batches++;
        blocks += 1 + batch.header.dataCount;
      }
      segment.lastSequence = sequence++;
      position += 1 + batch.header.dataCount;
    }
    end = position;
    if (next !== undefined && expected < next.firstSequence) ended = true;
  }
  refuseDamage(files, found, chain, end, {
    expected,
    epoch: epochNow(),
    decode: (block) => decodeHeader(block, options.volumeId, versionOf(options.seal)),
  }, options.volumeId);
  return {
    nextSequence: expected,
    nextSegment: Math.max(options.nextSegment, highest + 1),
    batches,
    blocks,
    unused,
  };
}

/** The first sequence that is not the segment's any more, by the checkpoint and by those that follow it. */
function limitOf(
  { epoch }: FoundSegment,
  following: readonly FoundSegment[],
  checkpoint: Pick<ReplayOptions, "epoch" | "sequence">,
): number {
  // What is newer than a checkpoint is of its epoch or a later one.
  const known = epoch < checkpoint.epoch ? checkpoint.sequence + 1 : Infinity;
  let limit = Math.min(known, following[0]?.firstSequence ?? Infinity);
  for (const later of following) if (later.epoch > epoch) limit = Math.min(limit, later.began);
  return limit;
}

/**
 * Looks behind the end for a batch that says that what is missing there was durable.
 * @param end where the chain's last segment ends
 * @throws DamagedData when there is one
 */
function refuseDamage(
  files: readonly LogFile[],
  found: readonly FoundSegment[],
  chain: readonly FoundSegment[],
  end: number,
  search: SyncedSearch,
  volumeId: string,
): void {
  const last = chain.at(-1)?.file;
  for (const file of files) {
    const segment = found.find((each) => each.file === file);
    const isBefore = segment !== undefined && segment.firstSequence < search.expected;
    if (file !== last && isBefore && chain.includes(segment)) continue;
    const missing = syncedMark(
      file,
      file === last ? end : 0,
      search,
      file !== last && isBefore ? lookedAt : segmentBlocks,
    );
    if (missing === undefined) continue;
    throw new DamagedData(
      `the log of ${volumeId} is damaged: batch ${missing.from} cannot be read, and ${file.path} says that all up to ${missing.to} was durable`,
    );
  }
}

function forSegment(segment: number, visitor: ReplayVisitor): BatchVisitor {
  return {
    data: (block, index, checksum) => visitor.data(segment, block, index, checksum),
    hole: (block, count) => visitor.hole(block, count),
  };
}

function readBatch(
  segment: FoundSegment,
  position: number,
  sequence: number,
  options: ReplayOptions,
): { header: BatchHeader; bytes: Uint8Array<ArrayBuffer> } | undefined {
  const first = segment.file.read(position, 1);
  if (first.length < blockBytes) return undefined;
  const header = decodeHeader(first, options.volumeId, versionOf(options.seal));
  if (
    header === undefined || header.segment !== segment.number || header.position !== position ||
    header.sequence !== sequence || header.epoch !== segment.epoch
  ) return undefined;
  const stored = segment.file.read(position, 1 + header.dataCount);
  const bytes = options.seal?.openBatch(header, stored) ?? stored;
  return batchIsWhole(header, bytes, options.sizeBlocks) ? { header, bytes } : undefined;
}
