/**
 * How much of a node's memory and disk the engine takes, from a board with 2 GiB and a memory card to a
 * server. Pure functions; they decide when a volume is mounted, and a volume keeps what it got.
 */
import { cacheFileBytes, segmentBytes } from "./format.ts";

const mebibyte = 1 << 20;

/** An eighth of the memory for all read caches, divided among the volumes; 16 to 128 MiB for one. */
export function readCacheBytes(memory_bytes: number, mounted: number): number {
  const share = Math.floor(memory_bytes / 8 / Math.max(8, mounted + 1) / mebibyte) * mebibyte;
  return Math.min(128 * mebibyte, Math.max(16 * mebibyte, share));
}

/** With fewer, what is drained and what is written to get in each other's way. */
const fewestLogFiles = 8;
const mostLogFiles = 32;
/** The part of the disk that one volume's log may take. */
const logShare = 64;

/**
 * Files that a volume's log may have: 1 GiB of them, and less on a small disk such as a memory card,
 * where eight volumes under load would otherwise fill the card with what is about to leave the log.
 * Files are filled with zeros when they are made, so fewer of them are fewer writes of the card too.
 */
export function logFiles(disk_bytes: number): number {
  const share = Math.floor(disk_bytes / logShare / segmentBytes);
  return Math.min(mostLogFiles, Math.max(fewestLogFiles, share));
}

/** Of what is free beside the reserve, the chunk caches of all volumes take so much unless the node says otherwise. */
const cacheShare = 4;
/** The caches leave room for so many bytes of log files beside the reserve. */
const logRoom = 8 * segmentBytes;
/** Each is a file descriptor, and a block that is read at the start: 128 GiB. */
const mostCacheFiles = 1024;

export interface CacheSpace {
  /** What the node is to spend on all volumes, if it says so. */
  readonly wanted_bytes?: number;
  /** Free beside the reserve; less than none when that is eaten into. */
  readonly free_bytes: number;
  /** What the caches have of the disk by now. */
  readonly kept_bytes: number;
  readonly volumes: number;
}

/**
 * Files that one volume's chunks may be kept in: an equal share of a quarter of what is free, counting the caches
 * themselves as free, so that they shrink when others need the disk. What the node wants to spend is spent as far as it is there.
 */
export function cacheFiles(space: CacheSpace): number {
  const there = Math.max(0, space.free_bytes + space.kept_bytes - logRoom);
  const all = Math.min(there, space.wanted_bytes ?? there / cacheShare);
  return Math.min(mostCacheFiles, Math.floor(all / space.volumes / cacheFileBytes));
}
