/**
 * Gives the space of deleted and overwritten data back: a segment that is mostly dead has what lives
 * copied into the active one, and is removed.
 *
 * A copy is durable and in the index before the old one goes, and the old segment stays until every
 * reader that may look into it is done: at each moment one whole copy is named by the index, and a
 * crash at any point leaves at worst a segment to be compacted again. Segments that a running write has
 * begun to write into are left alone, and so is a directory that the index has not read. A tombstone is carried on while an
 * older segment, which may hold what it deletes, is still in its directory, and while a directory that
 * was replaced may be put back. So is what completed an upload (`ended_uploads.ts`).
 */
import { alignedBuffer, pageBytes } from "../../../ffi/direct_io.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { BlobDirectory, Location } from "../segments/blob_directory.ts";
import type { Commits } from "../objects/commits.ts";
import type { Directories } from "../segments/directories.ts";
import { epochsOf } from "../segments/durability.ts";
import type { ExtentReader } from "../extents/extent_reader.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { RecordOwner } from "../index/records.ts";
import type {
  BucketRecord,
  ExtentRow,
  ObjectRecord,
  PartRecord,
  UploadRecord,
} from "../index/rows.ts";
import { sameLocation, shardPayload, type ShardPlace } from "../extents/layout.ts";
import type { Objects } from "../objects/objects.ts";
import type { Progress } from "../index/progress.ts";
import { readMeta } from "../index/recovery.ts";
import { readShardPage, recordTypes, roundUp, type SmallRecord } from "../segments/record.ts";
import { type ScannedRecord, scanSegment } from "../segments/segment_scan.ts";
import { EndedUploads } from "./ended_uploads.ts";
import { relocate, type ShardMove } from "./relocation.ts";

/** A segment is worth compacting when less than this part of it lives. */
const liveLimit = 0.4;
/** Records that are copied at once, and what they may take of memory: a segment may be full of small ones that live. */
const mostHeld = 256;
const mostHeld_bytes = 4 << 20;

/** What compaction needs of the store that it works in. */
export interface CompactedStore {
  readonly options: { readonly log: Log };
  readonly storeId: bigint;
  readonly index: ObjectIndex;
  readonly directories: Directories;
  readonly reader: ExtentReader;
  readonly progress: Progress;
  readonly commits: Commits;
  readonly objects: Objects;
}

export class Compactor {
  readonly #store: CompactedStore;
  #running: Promise<void> | undefined;
  #stopped = false;
  /** Since the start. */
  segments_removed = 0;
  bytes_freed = 0;

  constructor(store: CompactedStore) {
    this.#store = store;
  }

  /** Looks through all directories once; returns at once when it is already at it. */
  run(limit = liveLimit): Promise<void> {
    return this.#running ??= this.#all(limit)
      .catch((error) => this.#store.options.log.error("compaction_failed", errorFields(error)))
      .finally(() => this.#running = undefined);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #all(limit: number): Promise<void> {
    const { options: { log } } = this.#store;
    for (const directory of this.#store.directories.online) {
      // What is in no index yet looks dead.
      if (this.#store.directories.isUnread(directory)) continue;
      const live = this.#store.index.segments.liveBytes(directory.number);
      const active = directory.activeSegment;
      for (const segment of await directory.segments()) {
        // What a running write has put there is in no row yet, and looks dead.
        if (segment >= active || segment >= this.#store.commits.pinnedFrom(directory.number)) {
          continue;
        }
        if (this.#stopped || !directory.online) break;
        try {
          const size = await directory.segmentSize(segment);
          if ((live.get(segment) ?? 0) <= size * limit) await this.compact(directory, segment);
        } catch (error) {
          // It stays, and with it what lives there; the others are not to wait for it.
          const { path } = directory;
          log.error("segment_not_compacted", { path, segment, ...errorFields(error) });
        }
      }
    }
  }

  /** Moves what lives out of one segment and removes it. */
  async compact(directory: BlobDirectory, segment: number): Promise<void> {
    const { index, directories, progress, options: { log } } = this.#store;
    const size = await directory.segmentSize(segment);
    const oldest = (await directory.segments())[0] === segment;
    const epochs = epochsOf([directory]);
    const mayReturn = directories.mayReturn(progress.now());
    const ended = await EndedUploads.of(directories, mayReturn, directory, segment);
    const shards = new Map<number, CompactedShard[]>();
    let small: LivingRecord[] = [];
    let held_bytes = 0;
    for await (const record of scanSegment(directory, segment)) {
      if (this.#stopped) return;
      if (record.header.type === recordTypes.shard) {
        const moved = await this.#moveShard(directory, record);
        if (moved === undefined) continue;
        const list = shards.get(moved.extent) ?? [];
        list.push(moved.move);
        shards.set(moved.extent, list);
        continue;
      }
      const owned = ownerOf(record);
      const usesIt = owned !== undefined && index.records.uses(owned, record.location);
      const end = usesIt ? undefined : ended.endOf(record, index);
      const lives = usesIt || end?.counts === true || owned === undefined && end === undefined &&
          (!oldest || mayReturn || directories.online.length < directories.all.length ||
            isPartial(record));
      if (!lives) continue;
      const owner = end === undefined ? owned : undefined;
      small.push({
        owner,
        lock: owner === undefined ? undefined : lockOf(owner, index),
        from: record.location,
        record: end?.record ?? {
          type: record.header.type,
          sequence: record.header.sequence,
          meta: record.meta,
          payload: record.payload,
        },
      });
      held_bytes += record.location.bytes;
      if (small.length < mostHeld && held_bytes < mostHeld_bytes) continue;
      await this.#moveSmall(directory, small);
      small = [];
      held_bytes = 0;
    }
    // Extents whose shards moved get a record with their new places, in every directory that has one.
    for (const [id, moves] of shards) {
      const extent = index.extents.find(id);
      const still = extent === undefined ? [] : stillThere(extent, moves);
      if (extent !== undefined && still.length > 0) {
        await relocate(this.#store, extent, still, epochs);
      }
    }
    await this.#moveSmall(directory, small);
    await this.#store.objects.readersDone();
    if (this.#stopped) return;
    const left = index.segments.liveBytes(directory.number).get(segment) ?? 0;
    if (left > 0) {
      log.error("segment_still_in_use", { path: directory.path, segment, live_bytes: left });
      return;
    }
    // An index that is found after a power cut must not name what is removed now.
    await index.makeDurable();
    await directory.removeSegment(segment);
    await index.write(() => index.segments.forget(directory.number, segment));
    this.segments_removed++;
    this.bytes_freed += size;
    log.info("segment_compacted", { path: directory.path, segment, bytes: size });
  }

  async #moveSmall(directory: BlobDirectory, candidates: readonly LivingRecord[]): Promise<void> {
    const { index, commits } = this.#store;
    // A copy must not come to stand behind the tombstone of what it copies: nobody deletes meanwhile.
    await commits.locked(candidates.flatMap(({ lock }) => lock ?? []), async () => {
      const batch = candidates.filter(({ owner, from }) =>
        owner === undefined || index.records.uses(owner, from)
      );
      if (batch.length === 0) return;
      await commits.rewrite(
        directory,
        batch.map(({ record }) => record),
        (locations) => {
          for (const [at, { owner, from }] of batch.entries()) {
            const to = locations[at];
            if (owner !== undefined && to !== undefined) index.records.move(owner, from, to);
          }
        },
      );
    });
  }

  async #moveShard(
    directory: BlobDirectory,
    record: ScannedRecord,
  ): Promise<{ readonly extent: number; readonly move: CompactedShard } | undefined> {
    const { index, reader, storeId } = this.#store;
    const { location, header } = record;
    const extent = index.extents.find(header.sequence);
    if (extent === undefined) return undefined;
    const page = alignedBuffer(pageBytes);
    await directory.readInTime(location.segment, page, location.offset);
    const found = readShardPage(page, { storeId, ...location });
    if (found === undefined) return undefined;
    const { meta } = found;
    const place = extent.stripes[meta.stripe]?.shards[meta.shard];
    if (place === undefined || !sameLocation(place, location)) return undefined;
    const bytes = shardPayload(
      extent.stripes[meta.stripe] ?? { bytes: 0, shardBytes: 0 },
      extent.k,
      meta.shard,
    );
    let payload: Uint8Array<ArrayBuffer>;
    try {
      payload = await reader.readShard(extent, meta.stripe, meta.shard, 0, bytes);
    } catch (error) {
      // Rot is mended on the way where the others allow it.
      payload = await reader.reconstruct(extent, meta.stripe, meta.shard, error);
    }
    const buffer = alignedBuffer(pageBytes + roundUp(bytes, pageBytes));
    buffer.set(payload.subarray(0, bytes), pageBytes);
    const to = await directory.writeShard(buffer, bytes, meta);
    const { stripe, shard } = meta;
    return { extent: extent.id, move: { stripe, shard, from: location, to } };
  }
}

/** A small record that is to be copied. */
interface LivingRecord {
  readonly record: SmallRecord;
  readonly owner: RecordOwner | undefined;
  readonly lock: string | undefined;
  readonly from: Location;
}

interface CompactedShard extends ShardMove {
  readonly from: ShardPlace;
}

/** Moves of shards that nobody else has moved meanwhile. */
function stillThere(extent: ExtentRow, moves: readonly CompactedShard[]): CompactedShard[] {
  return moves.filter(({ stripe, shard, from }) => {
    const place = extent.stripes[stripe]?.shards[shard];
    return place !== undefined && sameLocation(place, from);
  });
}

/** Whose deletion must wait while a record of it is copied. */
function lockOf(owner: RecordOwner, index: ObjectIndex): string | undefined {
  switch (owner.kind) {
    case "object":
      return `${owner.bucket}/${owner.key}`;
    case "upload":
    case "part": {
      const upload = index.uploads.find(owner.kind === "upload" ? owner.id : owner.upload);
      return upload === undefined ? undefined : `${upload.bucket}/${upload.key}`;
    }
    default:
      return undefined;
  }
}

/** Whether some directory that may hold what this deletes did not hear of it. */
function isPartial(record: ScannedRecord): boolean {
  return record.header.type === recordTypes.bucketGone ||
    readMeta<{ partial?: true }>(record).partial === true;
}

/** Which row a record belongs to; undefined for those that only say that something is gone. */
function ownerOf(record: ScannedRecord): RecordOwner | undefined {
  switch (record.header.type) {
    case recordTypes.bucket:
      return { kind: "bucket", id: readMeta<BucketRecord>(record).id };
    case recordTypes.settings:
      return { kind: "settings", bucket: readMeta<{ bucket: number }>(record).bucket };
    case recordTypes.object: {
      const { bucket, key } = readMeta<ObjectRecord>(record);
      return { kind: "object", bucket, key, sequence: record.header.sequence };
    }
    case recordTypes.extent:
      return { kind: "extent", id: readMeta<{ id: number }>(record).id };
    case recordTypes.upload:
      return { kind: "upload", id: readMeta<UploadRecord>(record).id };
    case recordTypes.part: {
      const { upload, number } = readMeta<PartRecord>(record);
      return { kind: "part", upload, number };
    }
    default:
      return undefined;
  }
}
