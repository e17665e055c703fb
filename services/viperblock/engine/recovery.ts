/**
 * Opens what a volume left on the local disk: the checkpoint, then the log after it. Runs before the
 * ring does, with plain blocking reads, O_DIRECT as everything else that touches the log.
 */
import {
  closeFile,
  mapMemory,
  openFile,
  openFlags,
  readAt,
  syncFileData,
  unmap,
} from "../../../ffi/libc.ts";
import { join } from "node:path";
import type { BlockMap } from "../block_map.ts";
import { blockBytes, DamagedData, hole, isChunk } from "../format.ts";
import { loadMap } from "../map_stream.ts";
import { type LogFile, replay } from "../replay.ts";
import type { Places, Segment, SpareFile } from "./places.ts";

export const checkpointName = "map.ckpt";
export const logFilePattern = /^log-\d+\.seg$/;

/** Blocks of one read from a log file; much more than the longest batch. */
const windowBlocks = 1024;

export interface Recovered {
  readonly nextSequence: number;
  readonly nextSegment: number;
  readonly batches: number;
}

/** Opens a log file as the ring uses it. */
export function openLogFile(path: string): SpareFile {
  return { path, fd: openFile(path, openFlags.readWrite | openFlags.direct) };
}

interface StoredPlace {
  readonly segment: number;
  readonly block: number;
  readonly index: number;
  readonly checksum: number;
}

/** Fills the map and the places. @throws DamagedData when data that was durable cannot be found */
export function recover(
  directory: string,
  volumeId: string,
  map: BlockMap,
  places: Places,
): Recovered {
  let head = { epoch: 0, sequence: 0, nextSegment: 1 };
  const inLog: StoredPlace[] = [];
  const bytes = readCheckpoint(join(directory, checkpointName));
  if (bytes !== undefined) {
    head = loadMap(bytes, {
      chunk: (number, chunk) => places.restoreChunk(number, chunk?.name, chunk?.blocks ?? 0),
      block(block, container, index, checksum) {
        if (container === hole) return;
        if (isChunk(container)) places.place(block, container, index, checksum);
        else inLog.push({ segment: container, block, index, checksum });
      },
    });
  }
  const files = openFiles(directory);
  const buffer = mapMemory(windowBlocks * blockBytes, { populate: true });
  let window = { fd: -1, first: 0, count: 0 };
  try {
    const needed = new Set(inLog.map((each) => each.segment));
    const found = new Map<number, Segment>();
    let restored = false;
    const restore = () => {
      // Blocks that the checkpoint has in the log come before anything that was written after it.
      if (restored) return;
      restored = true;
      for (const { segment, block, index, checksum } of inLog) {
        const at = found.get(segment);
        if (at === undefined || index >= at.blocks.length) {
          throw new DamagedData(`log segment ${segment} of ${volumeId} is missing`);
        }
        at.blocks[index] = block;
        places.place(block, segment, index, checksum);
      }
    };
    const logFiles: (LogFile & SpareFile)[] = files.map((file) => ({
      ...file,
      read(firstBlock, count) {
        // Batches follow each other: one read brings many of them.
        const end = firstBlock + count;
        if (
          window.fd !== file.fd || firstBlock < window.first || end > window.first + window.count
        ) {
          const length = windowBlocks * blockBytes;
          const got = readAt(file.fd, buffer, 0, length, firstBlock * blockBytes);
          window = { fd: file.fd, first: firstBlock, count: Math.floor(got / blockBytes) };
        }
        const have = Math.min(count, window.first + window.count - firstBlock);
        const from = (firstBlock - window.first) * blockBytes;
        return buffer.bytes.subarray(from, from + have * blockBytes);
      },
    }));
    // Segments that the map needs are announced in order, those with newer batches among them last;
    // a first pass over the names alone lets the map's blocks be placed before newer ones.
    const pending: (() => void)[] = [];
    // The map may be that of a snapshot: then its id and size are another volume's.
    const result = replay(logFiles, {
      volumeId,
      sizeBlocks: map.sizeBlocks,
      epoch: head.epoch,
      sequence: head.sequence,
      nextSegment: head.nextSegment,
      needed,
    }, {
      segment(segment) {
        const file = segment.file as LogFile & SpareFile;
        const made = places.addSegment(segment.number, file, segment.firstSequence);
        made.sealed = true;
        found.set(segment.number, made);
        pending.push(() => made.lastSequence = segment.lastSequence);
      },
      data(segment, block, index, checksum) {
        pending.push(() => {
          (found.get(segment) as Segment).blocks[index] = block;
          places.place(block, segment, index, checksum);
        });
      },
      hole(block, count) {
        pending.push(() => places.clear(block, count));
      },
    });
    restore();
    for (const apply of pending) apply();
    for (const file of result.unused) {
      closeFile((file as LogFile & SpareFile).fd);
      Deno.removeSync(file.path);
    }
    for (const segment of found.values()) syncFileData(segment.fd);
    return result;
  } catch (error) {
    for (const file of files) closeFile(file.fd);
    places.segments.clear();
    throw error;
  } finally {
    unmap(buffer);
  }
}

function readCheckpoint(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function openFiles(directory: string): SpareFile[] {
  const files: SpareFile[] = [];
  try {
    for (const entry of Deno.readDirSync(directory)) {
      if (logFilePattern.test(entry.name)) files.push(openLogFile(join(directory, entry.name)));
    }
    return files;
  } catch (error) {
    for (const file of files) closeFile(file.fd);
    throw error;
  }
}
