/**
 * What is carried on of uploads that were completed, when their objects are gone or have other records by now.
 *
 * The object's record says that its upload has ended. Were it removed as it is dead, while records of the upload and its
 * parts stand elsewhere, an index that is made again would have the upload wait once more, with parts that may
 * belong to an object. So a record takes its place that says only that; it goes when all segments are gone
 * in which anything of the upload may stand. That is dead since the upload ended, so none of it is ever copied
 * into later ones.
 */
import type { BlobDirectory } from "../segments/blob_directory.ts";
import type { Directories } from "../segments/directories.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { UploadGoneMeta } from "../index/gone_meta.ts";
import { readMeta } from "../index/recovery.ts";
import type { ObjectRecord } from "../index/rows.ts";
import { recordTypes, type SmallRecord, smallRecord } from "../segments/record.ts";
import type { ScannedRecord } from "../segments/segment_scan.ts";

/** What is to be written in place of a record, if that still counts. */
interface UploadEnd {
  readonly counts: boolean;
  readonly record: SmallRecord;
}

export class EndedUploads {
  /** The oldest segment that will be left of each directory; 0 where one cannot tell. */
  readonly #oldest: ReadonlyMap<number, number>;
  readonly #upTo: Readonly<Record<string, number>>;
  readonly #mayReturn: boolean;

  private constructor(
    oldest: ReadonlyMap<number, number>,
    upTo: Readonly<Record<string, number>>,
    mayReturn: boolean,
  ) {
    this.#oldest = oldest;
    this.#upTo = upTo;
    this.#mayReturn = mayReturn;
  }

  /** For the compaction of one segment. */
  static async of(
    directories: Directories,
    mayReturn: boolean,
    compacted: BlobDirectory,
    segment: number,
  ): Promise<EndedUploads> {
    const oldest = new Map<number, number>();
    const upTo: Record<string, number> = {};
    for (const one of directories.all) {
      const ids = one.online ? await one.segments().catch(() => undefined) : undefined;
      const left = ids?.filter((id) => one !== compacted || id !== segment);
      oldest.set(one.number, left === undefined ? 0 : left[0] ?? Infinity);
      upTo[one.number] = one.activeSegment;
    }
    const isKnown = !mayReturn && directories.online.length === directories.all.length;
    return new EndedUploads(oldest, isKnown ? upTo : {}, mayReturn);
  }

  /** @returns undefined for a record that tells of no completed upload */
  endOf(record: ScannedRecord, index: ObjectIndex): UploadEnd | undefined {
    const { type, sequence } = record.header;
    if (type === recordTypes.object) {
      const { upload } = readMeta<ObjectRecord>(record);
      if (upload === undefined) return undefined;
      // An upload that is there was not completed by this.
      return { counts: !index.uploads.exists(upload), record: this.#record(upload, sequence) };
    }
    if (type !== recordTypes.uploadGone) return undefined;
    const { upload, upTo, partial } = readMeta<UploadGoneMeta>(record);
    // What some directory did not hear of is kept as it is, for good.
    if (upTo === undefined || partial === true) return undefined;
    const known = Object.entries(upTo);
    if (known.length === 0) return { counts: true, record: this.#record(upload, sequence) };
    const counts = known.some(([number, last]) =>
      (this.#oldest.get(Number(number)) ?? (this.#mayReturn ? 0 : Infinity)) <= last
    );
    const { meta, payload } = record;
    return { counts, record: { type, sequence, meta, payload } };
  }

  #record(upload: string, sequence: number): SmallRecord {
    const meta: UploadGoneMeta = { upload, upTo: this.#upTo };
    return smallRecord(recordTypes.uploadGone, sequence, meta);
  }
}
