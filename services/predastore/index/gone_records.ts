/**
 * Records that say that something is gone, or none, and that some directory may not have heard of, as they are read back: who
 * was to be told is not known any more where the index is lost, or older than they are.
 *
 * These are the ones of which that is known as they are written, and all that the index may not have had: as the store ended
 * they may have been on their way, and by now what they say is seen. So may those that stand last in a directory: a crash may
 * have left them in that alone, and were it lost next, what they took away would be there again. A directory that has heard of
 * one already hears of it once more where it is not read from its beginning, which changes nothing.
 */
import { type RecordType, recordTypes, type SmallRecord } from "../segments/record.ts";
import type { ScannedRecord } from "../segments/segment_scan.ts";
import type { UploadGoneMeta } from "./gone_meta.ts";
import type { HeardTable } from "./heard.ts";
import type { Tail } from "./reading.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
/** No directory has this number. */
const nobody = -1;
const atOnce = 1000;

interface GoneMeta {
  readonly partial?: true;
  /** Of what compaction writes into one directory: it counts there. */
  readonly upTo?: unknown;
}

export class GoneRecords {
  readonly #heard: HeardTable;
  /** Directories that are read from somewhere behind their beginning. */
  readonly #readInPart: ReadonlySet<number>;

  readonly #isAway: () => boolean;

  /** @param isAway whether some directory is not read: what it may not have heard of is kept for good by the others */
  constructor(heard: HeardTable, tails: readonly Tail[], isAway: () => boolean) {
    this.#heard = heard;
    this.#isAway = isAway;
    this.#readInPart = new Set(
      tails.filter(({ from }) => from.segment > 0 || from.offset > 0)
        .map(({ directory }) => directory.number),
    );
  }

  /**
   * @param isSure whether it was durable there before others were written
   * @returns what is to be done inside a transaction
   */
  found({ header, meta, location: { directory } }: ScannedRecord, isSure: boolean): () => void {
    const { type, sequence } = header;
    const told = JSON.parse(decoder.decode(meta)) as GoneMeta;
    if (told.partial === true) return () => this.#heard.add(type, sequence, meta, directory);
    if (told.upTo !== undefined) return () => {};
    if (!isSure) return this.#unsure(type, sequence, told, directory);
    if (!this.#readInPart.has(directory)) return () => {};
    return () => this.#heard.add(type, sequence, meta, directory);
  }

  /**
   * An object was made of an upload, by a write that may have been broken off.
   * @returns what is to be done inside a transaction
   */
  foundEnd({ header, location: { directory } }: ScannedRecord, upload: string): () => void {
    const meta: UploadGoneMeta = { upload, upTo: {} };
    return this.#unsure(recordTypes.uploadGone, header.sequence, meta, directory);
  }

  #unsure(type: RecordType, sequence: number, meta: object, directory: number): () => void {
    const [told, by] = this.#isAway() ? [{ ...meta, partial: true }, nobody] : [meta, directory];
    return () => this.#heard.add(type, sequence, encoder.encode(JSON.stringify(told)), by);
  }

  /** Each of the records that counts, with who has heard of it; some at once. */
  *all(
    refused: ReadonlySet<number>,
  ): Generator<(readonly [SmallRecord, ReadonlySet<number>])[]> {
    let some = this.#heard.after(undefined, atOnce);
    while (some.length > 0) {
      yield some
        .filter(({ type, sequence }) => type === recordTypes.refused || !refused.has(sequence))
        .map(({ type, sequence, meta, directories }) => [
          { type: type as SmallRecord["type"], sequence, meta, payload: new Uint8Array(0) },
          directories,
        ]);
      some = this.#heard.after(some.at(-1), atOnce);
    }
  }
}
