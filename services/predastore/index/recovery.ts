/**
 * Brings the index up to what stands in the segments: from a stored place after a crash, or from
 * nothing when the index is lost.
 *
 * What was acknowledged is durable, so it is found. What was not may be torn: an extent whose shards
 * are not all below the place that was known to be durable is read and checked, and left out with its
 * object when it cannot be read whole; the object's older version then stands. What was left out is
 * written down before anything is served, since records of later say that all before them is durable;
 * what was let in is synced, since an earlier process may not have come to it. What is refused is
 * read first, then buckets, uploads and extents, then objects; deletions leave marks, so the order among
 * directories does not matter.
 */
import { errorFields, type Log } from "../../log/log.ts";
import {
  before,
  type BlobDirectory,
  DirectoryOffline,
  IoError,
  type Location,
} from "../segments/blob_directory.ts";
import type { Code } from "../extents/code.ts";
import type { Directories } from "../segments/directories.ts";
import type { ExtentReader } from "../extents/extent_reader.ts";
import type { ObjectIndex } from "./object_index.ts";
import type {
  BucketRecord,
  ExtentRecord,
  ObjectRecord,
  PartRecord,
  RefusedMeta,
  SettingsRecord,
  UploadRecord,
} from "./rows.ts";
import { shardPayload, unpackLayout } from "../extents/layout.ts";
import {
  type Durable,
  type RecordHeader,
  type RecordType,
  recordTypes,
} from "../segments/record.ts";
import { refusedRecords } from "../segments/refused.ts";
import { behindAt } from "../segments/untold.ts";
import type { TombstoneMeta, UploadGoneMeta } from "./gone_meta.ts";
import { GoneRecords } from "./gone_records.ts";
import { markUntold } from "./untold_marks.ts";
import { Reading, type Tail } from "./reading.ts";
import { type ScannedRecord, scanSegment } from "../segments/segment_scan.ts";
import { hasMore } from "../segments/unread.ts";

const decoder = new TextDecoder();

export const readMeta = <T>(record: ScannedRecord): T =>
  JSON.parse(decoder.decode(record.meta)) as T;

/** An extent as its record has it: the layout packed, in base64. */
export type ExtentMeta = Omit<ExtentRecord, "stripes"> & { readonly layout: string };

export function extentOf(meta: ExtentMeta): ExtentRecord {
  const { layout, ...rest } = meta;
  return { ...rest, stripes: unpackLayout(Uint8Array.fromBase64(layout), meta.k + meta.m) };
}

export interface RecoveryReport {
  readonly records: number;
  readonly extents_refused: number;
  readonly objects_refused: number;
  readonly highest_sequence: number;
}

const batch = 1000;
/** What is read first: it says what of the others counts. */
const firstTypes = new Set<RecordType>([recordTypes.bucketGone, recordTypes.refused]);
const secondTypes = new Set<RecordType>([
  recordTypes.bucket,
  recordTypes.settings,
  recordTypes.upload,
  recordTypes.uploadGone,
  recordTypes.extent,
]);
const lastTypes = new Set<RecordType>([
  recordTypes.object,
  recordTypes.tombstone,
  recordTypes.part,
]);

/**
 * What the index may not have. A directory with segments of which it knows nothing, because it was made again while
 * that one was away, may hold what the others say is deleted; and so may one that was away at the last start, when the others
 * were read on, or is behind, with what it has beyond its place. Then all of them are read from their beginning, those that
 * are known first.
 */
async function unread(index: ObjectIndex, directories: Directories): Promise<{
  readonly tails: readonly Tail[];
  /** Whether events of what stands there were told, or are lost. */
  readonly isKnown: (location: Location) => boolean;
}> {
  const all = await Promise.all(directories.online.map(async (directory) => ({
    directory,
    segments: await directory.segments(),
    position: index.segments.position(directory.number),
  })));
  const present = index.value("recovered")?.split(",").map(Number);
  const wasAway = (number: number) => present !== undefined && !present.includes(number);
  // What it has to be told is not listed.
  const isBehind = (number: number) => index.value(behindAt(number)) !== undefined;
  let stranger = false;
  for (const { directory, segments, position } of all) {
    if (position === undefined) stranger ||= segments.length > 0;
    else if (wasAway(directory.number) || isBehind(directory.number)) {
      stranger ||= await hasMore(directory, segments, position);
    }
  }
  const start = { segment: 0, offset: 0 };
  const tails = all.toSorted((a, b) =>
    Number(a.position === undefined) - Number(b.position === undefined)
  )
    .map(({ directory, segments, position = start }): Tail => {
      const from = stranger ? start : position;
      return { directory, from, segments: segments.filter((id) => id >= from.segment) };
    });
  const positions = new Map(all.map(({ directory, position }) => [directory.number, position]));
  return {
    tails,
    isKnown: (location) => {
      const position = positions.get(location.directory);
      return position === undefined || before(location, position);
    },
  };
}

/**
 * A directory that cannot be read is as good as away, where all that was acknowledged has a copy in another too.
 * @throws the error, where it has not
 */
function doWithout(
  directories: Directories,
  directory: BlobDirectory,
  { k }: Code,
  error: unknown,
): void {
  const left = directories.online.length - 1;
  if (!(error instanceof IoError) || left < k || directories.all.length - left >= k) throw error;
  directory.goOffline(error);
}

export async function recover(
  index: ObjectIndex,
  directories: Directories,
  reader: ExtentReader,
  usual: Code,
  log: Log,
  onProgress: () => void = () => {},
): Promise<RecoveryReport> {
  const durable = new Map<number, Durable>();
  let records = 0;
  let extents_refused = 0;
  let objects_refused = 0;
  let highest_sequence = index.highestSequence();
  /** Numbers of records, revisions of extents among them. */
  const refused = new Set<number>();
  const newlyRefused: number[] = [];
  /** By the numbers of the records that say so. */
  const goneBuckets = new Map<number, number>();
  /** Extents that are sound enough, and not whole. */
  const short = new Set<number>();
  const { tails, isKnown } = await unread(index, directories);
  const gone = new GoneRecords(
    index.heard,
    tails,
    () => directories.all.some(({ online }) => !online),
  );

  const reading = await Reading.of(tails, log, onProgress);
  const pass = async (
    types: ReadonlySet<RecordType>,
    apply: (record: ScannedRecord) => (() => void) | undefined | Promise<void>,
    hear: (header: RecordHeader, directory: number) => void = () => {},
  ) => {
    let waiting: { readonly record: ScannedRecord; readonly work: () => void }[] = [];
    const flush = () => {
      const now = waiting;
      waiting = [];
      if (now.length === 0) return;
      index.transaction(() => {
        for (const { record, work } of now) {
          index.outbox.muted = isKnown(record.location);
          work();
        }
      });
    };
    const readTail = async ({ directory, segments, from }: Tail) => {
      for (const segment of segments) {
        const start = segment === from.segment ? from.offset : 0;
        const wanted = (header: RecordHeader) => {
          hear(header, directory.number);
          return types.has(header.type);
        };
        reading.begins(start);
        for await (const record of scanSegment(directory, segment, start, wanted)) {
          try {
            const work = apply(record);
            if (typeof work === "function") waiting.push({ record, work });
            else if (work !== undefined) await work;
          } catch (error) {
            log.error("record_unreadable", { ...record.location, ...errorFields(error) });
          }
          if (waiting.length < batch) continue;
          flush();
          reading.cameTo(record.location.offset);
        }
        reading.ended(directory.number, segment);
      }
    };
    for (const tail of tails) {
      if (!tail.directory.online) continue;
      try {
        await readTail(tail);
      } catch (error) {
        doWithout(directories, tail.directory, usual, error);
      }
    }
    flush();
  };

  const refuse = ({ revisions }: RefusedMeta) => {
    for (const revision of revisions) {
      refused.add(revision);
      // A number that was refused is never given again, also where nothing else of it is left.
      highest_sequence = Math.max(highest_sequence, revision);
    }
  };
  // Of those no directory may have heard yet.
  for (const { meta } of index.untold.ofType(recordTypes.refused)) {
    refuse(JSON.parse(decoder.decode(meta)) as RefusedMeta);
  }
  // And of those that one may have lost since.
  for (const { meta } of index.refused.all()) {
    refuse(JSON.parse(decoder.decode(meta)) as RefusedMeta);
  }

  /** Whether a record was durable where it stands before others were written there. */
  const isSure = ({ location }: ScannedRecord) => {
    const upTo = durable.get(location.directory);
    return upTo !== undefined && before(location, upTo);
  };

  index.marks.begin();
  index.heard.clear();
  try {
    await pass(firstTypes, (record) => {
      const { sequence, type } = record.header;
      switch (type) {
        case recordTypes.bucketGone: {
          const { id } = readMeta<{ id: number }>(record);
          goneBuckets.set(sequence, id);
          return gone.found(record, isSure(record));
        }
        case recordTypes.refused:
          refuse(readMeta<RefusedMeta>(record));
          return gone.found(record, isSure(record));
        default:
          return undefined;
      }
    }, (header, directory) => {
      records++;
      highest_sequence = Math.max(highest_sequence, header.sequence);
      const known = durable.get(directory);
      if (known === undefined || before(known, header.durable)) {
        durable.set(directory, header.durable);
      }
    });

    // One whose deletion failed may have been written into since.
    const reallyGone = [...goneBuckets].filter(([sequence, id]) =>
      !refused.has(sequence) && !index.objects.hasAfter(id, sequence)
    );
    for (let at = 0; at < reallyGone.length; at += batch) {
      index.transaction(() => {
        for (const [, id] of reallyGone.slice(at, at + batch)) index.buckets.applyGone(id);
      });
      await reading.breathe();
    }

    index.transaction(() => markUntold(index));
    const surely = (extent: ExtentRecord) =>
      extent.stripes.every((stripe) =>
        stripe.shards.every((place) => {
          if (place === undefined) return true;
          const upTo = durable.get(place.directory) ?? index.segments.position(place.directory);
          return upTo !== undefined && before(place, upTo);
        })
      );
    /** Directories that did not answer once: they are not asked again. */
    const silent = new Set<number>();
    const whole = async (extent: ExtentRecord): Promise<boolean> => {
      for (const [at, stripe] of extent.stripes.entries()) {
        let sound = 0;
        let away = 0;
        let never = 0;
        for (let shard = 0; shard < extent.k + extent.m; shard++) {
          const bytes = shardPayload(stripe, extent.k, shard);
          if (bytes === 0) {
            sound++;
            continue;
          }
          const directory = stripe.shards[shard]?.directory;
          try {
            if (directory !== undefined && silent.has(directory)) throw new DirectoryOffline();
            await reader.readShard(extent, at, shard, 0, bytes);
            sound++;
          } catch (error) {
            if (directory !== undefined && error instanceof IoError && error.code === "ETIMEDOUT") {
              silent.add(directory);
            }
            if (directory === undefined) never++;
            else if (silent.has(directory) || directories.byNumber(directory)?.online !== true) {
              away++;
            }
          }
        }
        // With more missing than the code survives, those that were never written among them, nothing can be
        // said of it: what was acknowledged must not be refused for good, and may be read when they come back.
        const mayBeRead = away + never > extent.m && sound + away >= extent.k;
        if (sound < extent.k && !mayBeRead) return false;
        if (sound < extent.k + extent.m) short.add(extent.id);
      }
      return true;
    };
    const checked = new Set<number>();
    // Of a directory that was away at the last start what others lost at the crash before it may be left; they have gone on
    // since, and all that they have now is durable.
    const present = index.value("recovered");
    const isLate = ({ location: { directory }, header }: ScannedRecord, { id }: ExtentRecord) =>
      present !== undefined && !present.split(",").includes(String(directory)) &&
      index.extents.find(id)?.revision !== header.sequence;
    const applyExtent = (record: ScannedRecord) => {
      const extent = extentOf(readMeta<ExtentMeta>(record));
      const apply = () => {
        index.marks.markReplayed(extent.id);
        index.extents.apply(extent, record.header.sequence, [record.location]);
      };
      if (checked.has(record.header.sequence)) return apply;
      if (surely(extent) && !isLate(record, extent)) return apply;
      // Where it stood before it was moved nobody looks any more.
      const known = index.extents.find(extent.id)?.revision ?? 0;
      if (known > record.header.sequence) return apply;
      return whole(extent).then((sound) => {
        if (sound) {
          checked.add(record.header.sequence);
          index.transaction(apply);
        } else {
          // Another revision may stand; without any, its object goes too.
          refused.add(record.header.sequence);
          newlyRefused.push(record.header.sequence);
          extents_refused++;
          log.warn("extent_refused", { extent: extent.id, key: extent.key });
        }
      });
    };
    await pass(secondTypes, (record) => {
      const { sequence, type } = record.header;
      if (refused.has(sequence)) return undefined;
      switch (type) {
        case recordTypes.bucket: {
          const bucket = readMeta<BucketRecord>(record);
          return () => index.buckets.apply(bucket, sequence, [record.location]);
        }
        case recordTypes.settings: {
          const settings = readMeta<SettingsRecord>(record);
          return () => index.settings.apply(settings, sequence, [record.location]);
        }
        case recordTypes.upload: {
          const upload = readMeta<UploadRecord>(record);
          return () => index.uploads.apply(upload, [record.location]);
        }
        case recordTypes.uploadGone: {
          const noteHeard = gone.found(record, isSure(record));
          const { upload } = readMeta<UploadGoneMeta>(record);
          return () => {
            noteHeard();
            index.uploads.applyGone(upload, sequence);
          };
        }
        case recordTypes.extent:
          return applyExtent(record);
        default:
          return undefined;
      }
    });

    await pass(lastTypes, (record) => {
      const { sequence, type } = record.header;
      if (refused.has(sequence)) return undefined;
      switch (type) {
        case recordTypes.object: {
          const object = readMeta<ObjectRecord>(record);
          const { revision = 0, upload } = object;
          if (refused.has(revision)) return undefined;
          const noteHeard = upload === undefined || isSure(record)
            ? undefined
            : gone.foundEnd(record, upload);
          highest_sequence = Math.max(highest_sequence, revision);
          return () => {
            noteHeard?.();
            if (object.extents?.some(([id]) => index.extents.find(id) === undefined)) {
              const known = index.objects.findLatest(object.bucket, object.key);
              // A newer one in the index has already taken its extents away.
              if (known === undefined || known.sequence < sequence) objects_refused++;
              index.objects.applyLost(object, sequence);
              return;
            }
            index.objects.apply(object, sequence, [record.location]);
          };
        }
        case recordTypes.tombstone: {
          const { bucket, key, version, lifecycle } = readMeta<TombstoneMeta>(record);
          const noteHeard = gone.found(record, isSure(record));
          return () => {
            noteHeard();
            index.objects.applyTombstone(bucket, key, sequence, version, lifecycle === true);
          };
        }
        case recordTypes.part: {
          const part = readMeta<PartRecord>(record);
          return () => {
            if (index.extents.find(part.extent) !== undefined) {
              index.uploads.applyPart(part, sequence, [record.location]);
            }
          };
        }
        default:
          return undefined;
      }
    });

    for (const { directory, segments } of tails) {
      if (!directory.online) continue;
      try {
        for (const segment of segments) await directory.syncSegment(segment);
        directory.leftIsSynced();
      } catch (error) {
        // It has been read whole, and all that was acknowledged is durable in it.
        if (!(error instanceof IoError) || directories.online.length <= usual.k) throw error;
        directory.goOffline(error);
      }
    }
    for (const record of refusedRecords(newlyRefused, () => ++highest_sequence)) {
      const copies = await directories.commit(usual, directories.online, [record]);
      directories.applied(copies);
      const heard = new Set(copies[0]?.map(({ directory }) => directory));
      index.transaction(() => directories.tellLater(record, heard));
    }
    index.transaction(() => index.sweepRecovered());
    for (const some of gone.all(refused)) {
      index.transaction(() => {
        for (const [record, heard] of some) directories.tellLater(record, heard);
      });
      await reading.breathe();
    }
    const isOnline = (number: number) => directories.byNumber(number)?.online === true;
    for (let ids = index.marks.replayed(batch); ids.length > 0;) {
      index.transaction(() => {
        for (const id of ids) {
          const extent = index.extents.find(id);
          if (extent !== undefined && !index.extents.isReferenced(extent)) index.extents.remove(id);
          else if (
            extent !== undefined && (short.has(id) || index.extents.mayBeTorn(extent, isOnline))
          ) index.extents.noteDamaged(id);
        }
      });
      ids = index.marks.replayed(batch, ids.at(-1));
      if (ids.length > 0) await reading.breathe();
    }
    index.transaction(() => {
      for (const { directory } of tails) {
        if (!directory.online) continue;
        index.segments.setPosition(directory.number, directory.activeSegment, 0);
      }
      const present = tails.filter(({ directory }) => directory.online);
      index.setValue("sequence", String(highest_sequence));
      index.setValue("recovered", present.map(({ directory }) => directory.number).join());
      index.marks.clear();
      index.heard.clear();
    });
    directories.noteUnread();
  } finally {
    index.marks.end();
    index.outbox.muted = false;
  }
  return { records, extents_refused, objects_refused, highest_sequence };
}
