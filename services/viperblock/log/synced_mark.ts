/**
 * Tells damage from a torn end. Where the log ends, nothing can be seen of why it does: a write that the
 * power cut tore looks like a durable one in which a bit has flipped. But every batch says in its header up
 * to which batch everything was durable when it was written, so any sound header behind the end that
 * names what is missing there is proof that it was durable once.
 *
 * Only headers are believed that are whole and stand where they say; and of those only what an epoch wrote that is
 * not older than the one in which the log ends: what an older epoch called durable under the
 * same numbers has been given up, knowingly, by the one after it. A later epoch's header also says where that
 * began: what an older one has from there on is void, and must not fill the place of the later one's first batches
 * when these are lost. An older life of a file does no harm: what
 * it names is older than what it holds, and that is in the checkpoint.
 */
import { batchMagic, blockBytes, segmentBlocks } from "../format.ts";
import type { LogFile } from "./log_file.ts";
import type { BatchHeader } from "./log_record.ts";

export interface SyncedSearch {
  /** The first sequence that was not found. */
  readonly expected: number;
  /** The epoch in which the log ends. */
  readonly epoch: number;
  readonly decode: (block: Uint8Array<ArrayBuffer>) => BatchHeader | undefined;
}

/** Blocks of one look into the file. */
const step = 256;
const blockWords = blockBytes >> 2;

/** Batches that were durable and are not what was found. */
export interface MissingBatches {
  readonly from: number;
  readonly to: number;
}

/**
 * What headers in these blocks of the file say was durable and was not found; undefined when none says so.
 * @param first the first block that may be a header
 */
export function syncedMark(
  file: LogFile,
  first: number,
  { expected, epoch, decode }: SyncedSearch,
  end: number = segmentBlocks,
): MissingBatches | undefined {
  let missing: MissingBatches | undefined;
  for (let position = first; position < end;) {
    // What was never written holds no header, and most of a young log is that.
    const written = file.written(position);
    if (written > position) {
      position = written;
      continue;
    }
    const bytes = file.read(position, Math.min(step, end - position));
    const count = Math.floor(bytes.length / blockBytes);
    if (count === 0) return missing;
    let next = position + count;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, count * blockWords);
    for (let i = 0; i < count; i++) {
      // Nearly all are no header, and an opening looks at tens of thousands.
      if (words[i * blockWords] !== batchMagic) continue;
      const header = decode(bytes.subarray(i * blockBytes, (i + 1) * blockBytes));
      if (header === undefined || header.position !== position + i) continue;
      if (header.epoch < epoch) continue;
      const isLater = header.epoch > epoch && header.began > 0;
      const from = isLater ? Math.min(expected, header.began) : expected;
      if (header.sequence < from) continue;
      if (header.synced >= from) {
        missing = {
          from: Math.min(from, missing?.from ?? from),
          to: Math.max(header.synced, missing?.to ?? 0),
        };
      }
      if (header.dataCount === 0) continue;
      // Its data is a guest's, and may look like anything.
      next = position + i + 1 + header.dataCount;
      break;
    }
    position = next;
  }
  return missing;
}
