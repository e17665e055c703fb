/**
 * Records that say that something is gone, or none, and that some directory may not have heard of, as they are read back: who
 * was to be told is not known any more where the index is lost, or older than they are.
 *
 * These are the ones of which that is known as they are written, and all that the index may not have had: as the store ended
 * they may have been on their way, and by now what they say is seen. A directory that has heard of one already hears of it
 * once more where it is not read from its beginning, which changes nothing.
 */
import { recordTypes, type SmallRecord } from "../segments/record.ts";
import type { ScannedRecord } from "../segments/segment_scan.ts";
import type { HeardTable } from "./heard.ts";
import type { Tail } from "./reading.ts";

const decoder = new TextDecoder();
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

  constructor(heard: HeardTable, tails: readonly Tail[]) {
    this.#heard = heard;
    this.#readInPart = new Set(
      tails.filter(({ from }) => from.segment > 0 || from.offset > 0)
        .map(({ directory }) => directory.number),
    );
  }

  /** @returns what is to be done inside a transaction */
  found({ header, meta, location: { directory } }: ScannedRecord): () => void {
    const { partial, upTo } = JSON.parse(decoder.decode(meta)) as GoneMeta;
    if (partial !== true && (upTo !== undefined || !this.#readInPart.has(directory))) {
      return () => {};
    }
    return () => this.#heard.add(header.type, header.sequence, meta, directory);
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
