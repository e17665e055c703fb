/**
 * Opens a volume that `recovery.ts` refuses, for reading only: the map as far as it can be known, and an
 * exact report of what cannot. Nothing on the disk is changed, so that whoever mends the cause loses nothing.
 *
 * - Blocks are where the last whole map and the log after it say. One that is not what was written fails when it is
 *   read, by its checksum, and so does one whose log file is missing.
 * - Where a batch of the log is missing with its list of blocks, nobody can tell which blocks it held. The volume is then
 *   shown as it was just before, which is a moment that it did go through: nothing older and newer is mixed.
 * - Where the local checkpoint is lost, the map in the object store takes its place, if the log goes on where
 *   that ends. If not, only what the rest of the log itself holds is known, and all else fails.
 * - Where the map in the object store is lost while no node has a log, it was made anew from the chunks.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import { type BlockMap, checksumAt, livesAt } from "../maps/block_map.ts";
import {
  type BlockRange,
  complement,
  DamageList,
  type DamageReport,
  perhapsTrimmedWhy,
  unknownWhy,
} from "../damage.ts";
import { DamagedLog, type LostBatches } from "../log/damaged_log.ts";
import { blockBytes, DamagedData, hole, isChunk } from "../format.ts";
import type { Machine } from "../machine/machine.ts";
import { loadMap } from "../maps/map_reader.ts";
import { logWindowBytes, type OpenLogFile, readable } from "./log_files.ts";
import { noBlock, type Places, type Segment } from "./places.ts";
import { type Encryption, ownCheckpoint, type StoredPlace } from "./recovery.ts";

/** The map that the volume began its mount with. */
export type SavedBase =
  | { readonly kind: "empty" }
  | { readonly kind: "saved"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "unreachable"; readonly why: string }
  /** It was lost, and made anew from the chunks (`rebuilt_map.ts`). */
  | {
    readonly kind: "rebuilt";
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly told: readonly string[];
    readonly unknown: readonly BlockRange[];
    readonly perhapsTrimmed: readonly BlockRange[];
  };

/** Places of the log that cannot be read and are named one by one. */
const toldPlaces = 1000;

export interface Rescue {
  /** Why the volume was not opened for writing. */
  readonly reason: string;
  readonly base: SavedBase;
  /** The disk did not give it: it may be whole when that does. */
  readonly mayPass?: true;
}

export interface Salvaged {
  readonly report: DamageReport;
  /** Whose content nobody can tell; in order, apart from each other. */
  readonly unknown: readonly BlockRange[];
}

interface Base {
  readonly sequence: number;
  readonly epoch: number;
  /** It is the newest checkpoint: nothing of the log before it is needed. */
  readonly isNewest: boolean;
}

/** What the log says, kept until it is settled what it counts for. */
interface Read {
  readonly apply: (() => void)[];
  readonly mentioned: BlockRange[];
  readonly lost: LostBatches[];
}

/** Fills the map and the places with what can be known. */
export function salvage(
  machine: Pick<Machine, "disk" | "memory" | "release">,
  volumeId: string,
  rescue: Rescue,
  map: BlockMap,
  places: Places,
  encryption?: Encryption,
): Salvaged {
  const damage = new DamageList();
  const inLog: StoredPlace[] = [];
  const base = findBase(machine, volumeId, rescue, damage, encryption, (bytes) =>
    loadMap(bytes, {
      chunk: (number, chunk) => places.restoreChunk(number, chunk?.name, chunk?.blocks ?? 0),
      block(block, container, index, checksum) {
        if (container === hole || block >= map.sizeBlocks) return;
        if (isChunk(container)) places.place(block, container, index, checksum);
        else inLog.push({ segment: container, block, index, checksum });
      },
    }));
  const buffer = machine.memory(logWindowBytes, { populate: true });
  const single = machine.memory(blockBytes, { low: true, populate: true });
  const open = new Set<number>();
  try {
    const lost = new Set<string>();
    const placeIn = (path: string, block: number) => `${path} ${block}`;
    const opened = machine.disk.openAll((why) => damage.say(why));
    const files = readable(machine.disk, opened, buffer, ({ path, block, why }) => {
      if (lost.has(placeIn(path, block))) return;
      lost.add(placeIn(path, block));
      if (lost.size <= toldPlaces) damage.say(why);
      else if (lost.size === toldPlaces + 1) damage.say("more of the log cannot be read");
    });
    for (const { fd } of files) open.add(fd);
    const log = new DamagedLog(files, {
      volumeId,
      sizeBlocks: map.sizeBlocks,
      ...(encryption === undefined ? {} : { seal: encryption.log }),
    });
    const byNumber = new Map<number, OpenLogFile>();
    for (const { file, number, epoch, firstSequence } of log.segments) {
      const open = file as OpenLogFile;
      byNumber.set(number, open);
      const made = places.addSegment(number, open, firstSequence, epoch);
      made.sealed = made.inherited = true;
    }
    const used = new Set(byNumber.values());
    for (const file of files) {
      if (used.has(file)) continue;
      open.delete(file.fd);
      machine.disk.close(file.fd);
    }
    const inLogOnly = applyLog(log, base, inLog, map, places, damage);
    const { base: from } = rescue;
    if (from.kind === "rebuilt") {
      for (const sentence of from.told) damage.say(sentence);
      damage.doubt(from.perhapsTrimmed, perhapsTrimmedWhy);
    }
    const unknown = from.kind === "rebuilt" ? from.unknown : inLogOnly;
    for (const sequence of log.mended) {
      damage.say(
        `the header of log batch ${sequence} had one wrong bit, and was read as it was meant`,
      );
    }
    for (const { block, segment, index } of inLog) {
      if (byNumber.has(segment) || !isAt(map, block, segment, index)) continue;
      damage.add(block, `log segment ${segment}, in which it is, is missing`);
    }
    for (const segment of places.segments.values()) {
      const file = byNumber.get(segment.number) as OpenLogFile;
      for (
        const block of wrongBlocks(segment, file, map, (index, bytes) => {
          // What cannot be read comes as zeros, and may have been zeros.
          if (lost.has(placeIn(file.path, index))) return undefined;
          single.bytes.set(bytes);
          encryption?.log.openBlock(single, 0, segment.epoch, segment.number, index);
          return single.bytes.subarray(0, blockBytes);
        })
      ) damage.add(block, `it is not what was written to log segment ${segment.number}`);
    }
    for (const { first, count } of unknown) {
      damage.add(first, unknownWhy, count);
    }
    return { report: damage.report(rescue.reason), unknown };
  } catch (error) {
    for (const fd of open) machine.disk.close(fd);
    places.forgetSegments();
    throw error;
  } finally {
    machine.release(buffer);
    machine.release(single);
  }
}

/** Loads the newest map there is; undefined when there is none. */
function findBase(
  { disk }: Pick<Machine, "disk">,
  volumeId: string,
  { base }: Rescue,
  damage: DamageList,
  encryption: Encryption | undefined,
  load: (bytes: Uint8Array<ArrayBuffer>) => { volumeId: string; sequence: number; epoch: number },
): Base | undefined {
  const opened = (bytes: Uint8Array<ArrayBuffer>, isNewest: boolean) => {
    const head = load(bytes);
    // The map of a snapshot has the epoch of another volume.
    return { ...head, epoch: head.volumeId === volumeId ? head.epoch : 0, isNewest };
  };
  try {
    const bytes = ownCheckpoint(disk, volumeId, encryption);
    if (bytes !== undefined) return opened(bytes, true);
  } catch (error) {
    if (!(error instanceof DamagedData)) throw error;
    damage.say(`the local checkpoint cannot be used: ${error.message}`);
  }
  if (base.kind === "empty") return { epoch: 0, sequence: 0, isNewest: false };
  const unusable = (why: string) =>
    damage.say(`the map in the object store cannot be used either: ${why}`);
  if (base.kind === "unreachable") {
    unusable(base.why);
    return undefined;
  }
  try {
    return opened(base.bytes, false);
  } catch (error) {
    if (!(error instanceof DamagedData)) throw error;
    unusable(error.message);
    return undefined;
  }
}

/** Lays the log over the map. Returns what nobody can tell. */
function applyLog(
  log: DamagedLog,
  base: Base | undefined,
  inLog: StoredPlace[],
  map: BlockMap,
  places: Places,
  damage: DamageList,
): readonly BlockRange[] {
  let read = readLog(log, base, places);
  const [first] = read.lost;
  // A map that is not the newest counts only when the log goes on right where it ends.
  const isLost = base === undefined || (!base.isNewest && first?.from === base.sequence + 1);
  if (isLost) {
    read = readLog(log, undefined, places);
    map.clear(0, map.sizeBlocks, () => {});
    for (const chunk of places.chunks) if (chunk !== undefined) chunk.live = 0;
    inLog.length = 0;
    damage.say("the log does not reach back to a map: only what it holds itself is known");
  }
  for (const { from, to } of read.lost) {
    const what = from === to
      ? `batch ${from} of the log is`
      : `batches ${from} to ${to} of the log are`;
    damage.say(
      `${what} missing or damaged; ${
        isLost
          ? "what was written before is not known"
          : "the volume is shown as it was before, without what was written since"
      }`,
    );
  }
  for (const { segment, block, index, checksum } of inLog) {
    const at = places.segments.get(segment);
    if (at !== undefined && index < at.blocks.length) at.blocks[index] = block;
    places.place(block, segment, index, checksum);
  }
  for (const apply of read.apply) apply();
  return isLost ? complement(read.mentioned, map.sizeBlocks) : [];
}

function readLog(log: DamagedLog, base: Base | undefined, places: Places): Read {
  const read: Read = { apply: [], mentioned: [], lost: [] };
  log.read(base, {
    data(segment, block, index, checksum) {
      if (base === undefined) read.mentioned.push({ first: block, count: 1 });
      read.apply.push(() => {
        (places.segments.get(segment) as Segment).blocks[index] = block;
        places.place(block, segment, index, checksum);
      });
    },
    hole(first, count) {
      if (base === undefined) read.mentioned.push({ first, count });
      read.apply.push(() => places.clear(first, count));
    },
    lost(batches) {
      read.lost.push(batches);
      if (base !== undefined) return false;
      // Without a map only what follows the last gap is certain.
      read.apply.length = read.mentioned.length = 0;
      return true;
    },
  });
  return read;
}

const isAt = (map: BlockMap, block: number, container: number, index: number) =>
  livesAt(map.leaf(block), block, container, index);

/** The blocks that live in the segment and do not match their checksums, in order. */
function wrongBlocks(
  segment: Segment,
  file: OpenLogFile,
  map: BlockMap,
  opened: (index: number, bytes: Uint8Array) => Uint8Array<ArrayBuffer> | undefined,
): number[] {
  const wrong: number[] = [];
  for (const [index, block] of segment.blocks.entries()) {
    if (block === noBlock || !isAt(map, block, segment.number, index)) continue;
    const bytes = file.read(index, 1);
    const checksum = checksumAt(map.leaf(block) as Uint32Array, block);
    const plain = bytes.length === blockBytes ? opened(index, bytes) : undefined;
    if (plain !== undefined && crc32c(plain) === checksum) continue;
    wrong.push(block);
  }
  return wrong.sort((a, b) => a - b);
}
