/**
 * Opens what a volume left on the local disk: the checkpoint, then the log after it. Runs before the
 * ring does, with plain blocking reads, O_DIRECT as everything else that touches the log.
 */
import type { BlockMap } from "../maps/block_map.ts";
import { LogSeal } from "../encryption/log_seal.ts";
import { unsealedCheckpoint } from "../encryption/sealed_bytes.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import { DamagedData, hole, isChunk, UnreadableData } from "../format.ts";
import { isLost, lostCode } from "../machine/lost.ts";
import type { Machine } from "../machine/machine.ts";
import { type StoredBytes, wholeOf } from "../machine/stored_bytes.ts";
import { readMapFrom } from "../maps/map_reader.ts";
import { type MapHead, readMapHead } from "../maps/map_stream.ts";
import { replay } from "../log/replay.ts";
import { logWindowBytes, type OpenLogFile, readable } from "./log_files.ts";
import type { Places, Segment } from "./places.ts";

/** What an encrypted volume is opened with. */
export interface Encryption {
  readonly key: VolumeKey;
  readonly log: LogSeal;
}

/** What a volume with this key is opened with; undefined for one that is not encrypted. */
export function encryptionOf(
  key: VolumeKey | undefined,
  machine: Pick<Machine, "memory">,
): Encryption | undefined {
  if (key === undefined) return undefined;
  return { key, log: new LogSeal(key, (length) => machine.memory(length, { low: true })) };
}

export interface Recovered {
  readonly nextSequence: number;
  readonly nextSegment: number;
  readonly batches: number;
  /** What those batches take in the log. */
  readonly blocks: number;
}

/** A block that a checkpoint has in the log. */
export interface StoredPlace {
  readonly segment: number;
  readonly block: number;
  readonly index: number;
  readonly checksum: number;
}

/** The checkpoint, opened where it is sealed; undefined when there is none. @throws DamagedData */
function openedCheckpoint(
  disk: Pick<Machine["disk"], "checkpoint">,
  volumeId: string,
  encryption: Encryption | undefined,
): StoredBytes | undefined {
  const stored = disk.checkpoint();
  return stored === undefined || encryption === undefined
    ? stored
    : unsealedCheckpoint(encryption.key, volumeId, stored);
}

function mustBeOf(volumeId: string, { checkpointOf = volumeId }: MapHead): void {
  if (checkpointOf === volumeId) return;
  throw new DamagedData(`the checkpoint of ${volumeId} is that of ${checkpointOf}`);
}

/**
 * The volume's checkpoint as a whole, for who must know whether it can be relied on before using any of it.
 * @throws DamagedData when it is not its own
 */
export function ownCheckpoint(
  disk: Pick<Machine["disk"], "checkpoint">,
  volumeId: string,
  encryption: Encryption | undefined,
): Uint8Array<ArrayBuffer> | undefined {
  const opened = openedCheckpoint(disk, volumeId, encryption);
  if (opened === undefined) return undefined;
  const bytes = wholeOf(opened);
  mustBeOf(volumeId, readMapHead(bytes));
  return bytes;
}

/** What the disk does not do may be done when it is asked again. @throws UnreadableData */
function asked(sentence: string, call: () => void): void {
  try {
    call();
  } catch (cause) {
    if (!isLost(cause)) throw cause;
    throw new UnreadableData(`${sentence}: ${lostCode(cause)}`, { cause });
  }
}

/**
 * Fills the map and the places, which are worth nothing when it throws.
 * @throws DamagedData when data that was durable cannot be found
 */
export function recover(
  machine: Pick<Machine, "disk" | "memory" | "release">,
  volumeId: string,
  map: BlockMap,
  places: Places,
  encryption?: Encryption,
): Recovered {
  let head: Pick<MapHead, "volumeId" | "epoch" | "sequence" | "nextSegment"> = {
    volumeId,
    epoch: 0,
    sequence: 0,
    nextSegment: 1,
  };
  const inLog: StoredPlace[] = [];
  const { disk } = machine;
  using checkpoint = openedCheckpoint(disk, volumeId, encryption);
  if (checkpoint !== undefined) {
    head = readMapFrom(checkpoint, {
      head: (head) => mustBeOf(volumeId, head),
      chunk: (number, chunk) => places.restoreChunk(number, chunk?.name, chunk?.blocks ?? 0),
      run(first, count, container, index, checksums, at) {
        if (container === hole) return;
        if (isChunk(container)) {
          places.placeRun(first, count, container, index, checksums, at);
          return;
        }
        for (let i = 0; i < count; i++) {
          const checksum = checksums[at + i] as number;
          inLog.push({ segment: container, block: first + i, index: index + i, checksum });
        }
      },
    });
  }
  const files = disk.openAll();
  const open = new Set(files.map(({ fd }) => fd));
  const buffer = machine.memory(logWindowBytes, { populate: true });
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
    // It may have been a batch that was durable, or the word of one for others.
    const logFiles = readable(disk, files, buffer, ({ why }) => {
      throw new UnreadableData(why);
    });
    // Segments that the map needs are announced in order, those with newer batches among them last;
    // a first pass over the names alone lets the map's blocks be placed before newer ones.
    const pending: (() => void)[] = [];
    // The map may be that of a snapshot: then its id, epoch and size are another volume's.
    const result = replay(logFiles, {
      volumeId,
      sizeBlocks: map.sizeBlocks,
      epoch: head.volumeId === volumeId ? head.epoch : 0,
      sequence: head.sequence,
      nextSegment: head.nextSegment,
      needed,
      ...(encryption === undefined ? {} : { seal: encryption.log }),
    }, {
      segment(segment) {
        const file = segment.file as OpenLogFile;
        const made = places.addSegment(
          segment.number,
          file,
          segment.firstSequence,
          segment.epoch,
        );
        made.sealed = true;
        made.inherited = true;
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
    for (const segment of found.values()) {
      asked(`${segment.path} cannot be made durable`, () => disk.sync(segment.fd));
    }
    for (const { fd, path } of result.unused as OpenLogFile[]) {
      open.delete(fd);
      disk.close(fd);
      asked(`${path} cannot be removed`, () => disk.remove(path));
    }
    return result;
  } catch (error) {
    for (const fd of open) disk.close(fd);
    places.forgetSegments();
    throw error;
  } finally {
    machine.release(buffer);
  }
}
