/**
 * Records that say that something is gone, or none, and that some directory did not hear of, as they are read back: who
 * was to be told is not known any more where the index is lost, or older than they are.
 *
 * What a directory has heard of shows only where it is read from its beginning. One of which the rest is read is told what
 * the index did not know: what stands in such a rest with a higher number than it knew. Of all else it knows whether it waits.
 */
import { recordTypes, type SmallRecord } from "../segments/record.ts";
import type { ScannedRecord } from "../segments/segment_scan.ts";
import type { Tail } from "./reading.ts";

const decoder = new TextDecoder();

export class GoneRecords {
  /** Directories that are read from somewhere behind their beginning. */
  readonly #readInPart: ReadonlySet<number>;
  readonly #known: number;
  /** By type and number. */
  readonly #found = new Map<
    string,
    { readonly record: SmallRecord; readonly heard: Set<number>; isNew: boolean }
  >();

  /** @param known the highest number that the index knew as the reading began */
  constructor(tails: readonly Tail[], known: number) {
    this.#known = known;
    this.#readInPart = new Set(
      tails.filter(({ from }) => from.segment > 0 || from.offset > 0)
        .map(({ directory }) => directory.number),
    );
  }

  found({ header, meta, location }: ScannedRecord): void {
    const name = `${header.type}/${header.sequence}`;
    const isNew = header.sequence > this.#known && this.#readInPart.has(location.directory);
    const known = this.#found.get(name);
    if (known !== undefined) {
      known.heard.add(location.directory);
      known.isNew ||= isNew;
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
      heard: new Set([location.directory]),
      isNew,
    });
  }

  /** Each of the records that counts, with who has heard of it. */
  *all(refused: ReadonlySet<number>): Generator<readonly [SmallRecord, ReadonlySet<number>]> {
    for (const { record, heard, isNew } of this.#found.values()) {
      if (record.type !== recordTypes.refused && refused.has(record.sequence)) continue;
      yield [record, isNew ? heard : heard.union(this.#readInPart)];
    }
  }
}
