/**
 * Reads the records of a segment one after the other, for recovery and compaction.
 *
 * What is torn or rotten is stepped over: it was never acknowledged, or stands in another directory too. Of what
 * follows it in the same page nothing is lost.
 * Memory is bounded by a window and the largest small record.
 */
import { alignedBuffer, pageBytes } from "../../../ffi/direct_io.ts";
import { crc32c } from "../../../ffi/libisal.ts";
import type { BlobDirectory, Location } from "./blob_directory.ts";
import {
  headerBytes,
  mayBegin,
  readHeader,
  recordAlign,
  type RecordHeader,
  recordSpan,
  recordTypes,
  roundUp,
} from "./record.ts";

const maximumScan = 64 << 20;

export interface ScannedRecord {
  readonly header: RecordHeader;
  readonly meta: Uint8Array<ArrayBuffer>;
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly location: Location;
}

/**
 * Every whole record of a segment from `from` on, in order. What is torn or rotten is stepped over. Small records come with their payload, checked; a shard's payload is not read.
 * @param wanted hears of each record, and says whether it is to be read
 */
export async function* scanSegment(
  directory: BlobDirectory,
  segment: number,
  from = 0,
  wanted: (header: RecordHeader) => boolean = () => true,
): AsyncGenerator<ScannedRecord> {
  const { storeId, number } = directory;
  const size = await directory.segmentSize(segment);
  let window = alignedBuffer(Math.min(256 * 1024, roundUp(size, pageBytes)));
  let start = 0;
  let held = 0;
  for (let at = from; at + headerBytes <= size;) {
    let need = headerBytes;
    let header: RecordHeader | undefined;
    let bytes = window.subarray(0, 0);
    for (;;) {
      if (at < start || at + need > start + held) {
        start = at - at % pageBytes;
        const wanted = roundUp(at + need - start, pageBytes);
        if (wanted > window.length) window = alignedBuffer(wanted);
        held = await directory.readInTime(segment, window, start);
        if (at + need > start + held) break;
      }
      bytes = window.subarray(at - start, held);
      const place = { storeId, segment, offset: at };
      const found = readHeader(bytes, place);
      if (found === undefined) break;
      if ("short" in found) {
        need = found.short;
        continue;
      }
      const inside = found.type === recordTypes.shard
        ? headerBytes + found.metaBytes
        : headerBytes + found.metaBytes + found.payloadBytes;
      if (inside > maximumScan) break;
      if (at + inside > start + held) {
        need = inside;
        continue;
      }
      header = found;
      break;
    }
    if (header === undefined) {
      at = Math.floor(at / recordAlign + 1) * recordAlign;
      // Most of what is stepped over is the rest of a page, or pages without anything.
      while (at + headerBytes <= start + held && !mayBegin(window, at - start)) at += recordAlign;
      continue;
    }
    const span = recordSpan(header);
    if (!wanted(header)) {
      at += span;
      continue;
    }
    const metaEnd = headerBytes + header.metaBytes;
    const payload = header.type === recordTypes.shard
      ? undefined
      : bytes.slice(metaEnd, metaEnd + header.payloadBytes);
    if (payload === undefined || crc32c(payload) === header.payloadCrc) {
      yield {
        header,
        meta: bytes.slice(headerBytes, metaEnd),
        payload: payload ?? new Uint8Array(0),
        location: { directory: number, segment, offset: at, bytes: span },
      };
    }
    at += span;
  }
}
