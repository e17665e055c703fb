/**
 * Records that say that something is gone, or none, and that some directory did not hear of, as they are read back: who
 * was to be told is not known any more where the index is lost, or older than they are.
 *
 * What a directory has heard of shows only where it is read from its beginning; one of which the rest is read is told
 * nothing, since the index knows what waits for it.
 */
import { recordTypes, type SmallRecord } from "../segments/record.ts";
import type { ScannedRecord } from "../segments/segment_scan.ts";
import type { Tail } from "./reading.ts";

const decoder = new TextDecoder();

export class GoneRecords {
  /** Directories that are read from somewhere behind their beginning. */
  readonly #readInPart: readonly number[];
  /** By type and number. */
  readonly #found = new Map<
    string,
    { readonly record: SmallRecord; readonly heard: Set<number> }
  >();

  constructor(tails: readonly Tail[]) {
    this.#readInPart = tails.filter(({ from }) => from.segment > 0 || from.offset > 0)
      .map(({ directory }) => directory.number);
  }

  found({ header, meta, location }: ScannedRecord): void {
    const name = `${header.type}/${header.sequence}`;
    const known = this.#found.get(name);
    if (known !== undefined) {
      known.heard.add(location.directory);
      return;
    }
    const { partial } = JSON.parse(decoder.decode(meta)) as { partial?: true };
    if (partial !== true) return;
    this.#found.set(name, {
      record: {
        type: header.type as SmallRecord["type"],
        sequence: header.sequence,
        meta,
        payload: new Uint8Array(0),
      },
      heard: new Set([...this.#readInPart, location.directory]),
    });
  }

  /** Each of the records that counts, with who has heard of it. */
  *all(refused: ReadonlySet<number>): Generator<readonly [SmallRecord, ReadonlySet<number>]> {
    for (const { record, heard } of this.#found.values()) {
      if (record.type !== recordTypes.refused && refused.has(record.sequence)) continue;
      yield [record, heard];
    }
  }
}
