/**
 * How much of a node's memory and disk the engine takes, from a board with 2 GiB and a memory card to a
 * server. Pure functions; they decide when a volume is mounted, and a volume keeps what it got.
 */
import { segmentBytes } from "./format.ts";

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
