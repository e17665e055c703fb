/** The configuration that a virtio disk shows its driver (struct virtio_blk_config). */
import { maximumQueues } from "./protocol.ts";

export const configBytes = 60;
/** Where the driver says whether it wants a write cache. */
export const writeCacheAt = 32;
/** Of one discard or zeroing: 2 GiB. */
export const maximumZeroSectors = 1 << 22;
/** Descriptors of one request's data, as QEMU's own disk has it for its usual queue of 128. */
const maximumSegments = 126;

/** Written out anew whenever it is asked for. */
export function diskConfig(sizeBytes: number, writeCache: boolean): Uint8Array {
  const bytes = new Uint8Array(configBytes);
  const view = new DataView(bytes.buffer);
  const sectors = Math.floor(sizeBytes / 512);
  view.setUint32(0, sectors >>> 0, true);
  view.setUint32(4, Math.floor(sectors / 4294967296), true);
  view.setUint32(12, maximumSegments, true);
  view.setUint32(20, 512, true);
  // A physical block is 2^3 logical ones, and the least that should be written at a time.
  bytes[24] = 3;
  view.setUint16(26, 8, true);
  bytes[writeCacheAt] = writeCache ? 1 : 0;
  view.setUint16(34, maximumQueues, true);
  view.setUint32(36, maximumZeroSectors, true);
  view.setUint32(40, 1, true);
  view.setUint32(44, 8, true);
  view.setUint32(48, maximumZeroSectors, true);
  view.setUint32(52, 1, true);
  bytes[56] = 1;
  return bytes;
}
