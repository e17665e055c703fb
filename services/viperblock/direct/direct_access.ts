/**
 * Snapshots read and written block by block from outside, in blocks of 512 KiB, without a mounted
 * volume: what the EBS direct APIs stand on.
 *
 * A snapshot that is being written is a volume of its own, a clone of its parent, that is marked as
 * mounted so that nobody else may write to it. Every block that comes is one chunk in the store that
 * names its blocks and its place in the order, and nothing else is kept: whoever seals the snapshot
 * reads the chunks' headers, lays them over the parent's map in their order, saves the map and freezes
 * the volume. So a restart in between loses nothing that was acknowledged, and a repeated call changes
 * nothing. The volume goes when the snapshot is sealed or deleted.
 *
 * No name is given twice, whatever becomes of what was stored under it: a put that a dead process, or a sealing that failed,
 * left under way may land at any time. So each process writes in an epoch of its own, each sealing takes another for its map,
 * and what is newer has the later epoch.
 */
import { createHash } from "node:crypto";
import { crc32c } from "../../../ffi/crc32c.ts";
import { AwsError, internalError } from "../../aws/errors.ts";
import { containerAt } from "../maps/block_map.ts";
import { readChunkHeader, writeChunkHeader } from "../chunks/chunk_record.ts";
import {
  type BlockSnapshot,
  type ChangedBlock,
  directBlockBytes,
  type DirectBlocks,
  type DirectBlocksQuestion,
  type OpenSnapshotRequest,
  type SealSnapshotRequest,
} from "../contract.ts";
import {
  blockBytes,
  chunkContainer,
  chunkHeaderBytes,
  chunkKey,
  type ChunkName,
  DamagedData,
  hole,
  parseChunkKey,
} from "../format.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { ownEpoch } from "../mounts/shared_chunks.ts";
import {
  checkSize,
  checkSnapshotId,
  isSnapshot,
  snapshotNotFound,
  type SnapshotRow,
  type Tables,
  Turns,
  type VolumeRow,
} from "../records.ts";
import {
  placeOf,
  readBlocks,
  readStoredMap,
  saveStoredMap,
  type StoredMap,
} from "../maps/stored_map.ts";
import type { Snapshots } from "../snapshots.ts";
import type { Volumes } from "../volumes.ts";

/** Blocks of the engine in a block of the direct APIs. */
const blocksEach = directBlockBytes / blockBytes;
/** What stands where a node's name would: no node, and no volume to mount. */
const writer = "direct-access";
/** Maps that are kept in memory; a comparison needs two. */
const keptMaps = 2;

const notWritten = (snapshotId: string) =>
  new AwsError("IncorrectState", `The snapshot '${snapshotId}' is not being written.`);

/** The volume behind a snapshot that is being written. */
const writtenBy = (snapshotId: string) => `vol-direct-${snapshotId.slice("snap-".length)}`;

export interface DirectAccessOptions {
  readonly tables: Tables;
  readonly store: BlockStore;
  readonly volumes: Volumes;
  readonly snapshots: Snapshots;
  /** Makes the key of an encrypted volume known to the store. @throws KeyGone */
  readonly keyOf: (volumeId: string) => Promise<unknown>;
}

export class DirectAccess {
  readonly #o: DirectAccessOptions;
  readonly #turns = new Turns();
  /** By volume, the name that was given last, in an epoch that is this process's own. */
  readonly #lastNames = new Map<string, ChunkName>();
  readonly #taking = new Turns();
  readonly #maps = new Map<string, Promise<StoredMap>>();
  /** By snapshot, writes that are under way. */
  readonly #writing = new Map<string, Set<Promise<unknown>>>();
  /** Snapshots that are being sealed, and when that is over. */
  readonly #sealing = new Map<string, Promise<unknown>>();

  constructor(options: DirectAccessOptions) {
    this.#o = options;
  }

  /** Begins a snapshot, empty or on top of another. */
  async open(request: OpenSnapshotRequest): Promise<BlockSnapshot> {
    const snapshotId = checkSnapshotId(request.snapshot_id);
    // Whoever seals or gives it up meanwhile would find it half begun.
    return await this.#turns.take(snapshotId, () => this.#open(snapshotId, request));
  }

  async #open(snapshotId: string, request: OpenSnapshotRequest): Promise<BlockSnapshot> {
    const size_bytes = checkSize(request.size_bytes);
    const { snapshots, tables, volumes } = this.#o;
    const volume_id = writtenBy(snapshotId);
    const there = await tables.snapshots.read(snapshotId);
    if (there !== undefined) return await snapshots.describe(snapshotId);
    // One write makes it: none may fail that would leave a volume which is nobody's.
    await volumes.create({
      volume_id,
      size_bytes,
      ...(request.parent_id === undefined ? {} : { snapshot_id: request.parent_id }),
      ...(request.encrypted === undefined ? {} : { encrypted: request.encrypted }),
    }, writer);
    // One that was sealed and not frozen yet is written on.
    await tables.volumes.modify(volume_id, (row) => {
      if (row === undefined) throw snapshotNotFound(snapshotId);
      return row.mounted_on === writer ? row : { ...row, mounted_on: writer, epoch: row.epoch + 1 };
    });
    return await this.describe(snapshotId);
  }

  async #written(snapshotId: string): Promise<VolumeRow> {
    const row = await this.#o.tables.volumes.read(writtenBy(snapshotId));
    if (row?.value.mounted_on !== writer) throw notWritten(snapshotId);
    return row.value;
  }

  /** How many blocks of the direct APIs a size has. */
  static count(size_bytes: number): number {
    return Math.ceil(size_bytes / directBlockBytes);
  }

  /** Takes the next epoch of what is being written: nobody has given a name in it. */
  async #takeEpoch(snapshotId: string): Promise<VolumeRow> {
    const volumeId = writtenBy(snapshotId);
    const { value } = await this.#o.tables.volumes.modify(volumeId, (row) => {
      if (row?.mounted_on !== writer) throw notWritten(snapshotId);
      return { ...row, epoch: row.epoch + 1 };
    });
    // Another node may have made the key just now; until it is known here, what is stored would not be sealed.
    if (value.encrypted === true) await this.#o.keyOf(volumeId);
    this.#lastNames.set(volumeId, { owner: volumeId, epoch: value.epoch, sequence: 0 });
    return value;
  }

  async #nextName(snapshotId: string, { volume_id, epoch }: VolumeRow): Promise<ChunkName> {
    const isOurs = () => (this.#lastNames.get(volume_id)?.epoch ?? 0) >= epoch;
    if (!isOurs()) {
      await this.#taking.take(volume_id, async () => {
        // Whoever asked meanwhile may have taken it.
        if (!isOurs()) await this.#takeEpoch(snapshotId);
      });
    }
    const last = this.#lastNames.get(volume_id);
    if (last === undefined) throw notWritten(snapshotId);
    const name = { ...last, sequence: last.sequence + 1 };
    this.#lastNames.set(volume_id, name);
    return name;
  }

  /** Writes one block; it is durable when this answers, and in the snapshot that is sealed. */
  async write(id: unknown, blockIndex: number, data: Uint8Array): Promise<null> {
    const snapshotId = checkSnapshotId(id);
    // What comes while it is being sealed would be answered and not be in it.
    while (this.#sealing.has(snapshotId)) await this.#sealing.get(snapshotId)?.catch(() => {});
    const writing = this.#writing.get(snapshotId) ?? new Set();
    this.#writing.set(snapshotId, writing);
    const mine = this.#write(snapshotId, blockIndex, data);
    writing.add(mine);
    try {
      return await mine;
    } finally {
      writing.delete(mine);
      if (writing.size === 0 && this.#writing.get(snapshotId) === writing) {
        this.#writing.delete(snapshotId);
      }
    }
  }

  async #write(snapshotId: string, blockIndex: number, data: Uint8Array): Promise<null> {
    const volume = await this.#written(snapshotId);
    if (
      !Number.isInteger(blockIndex) || blockIndex < 0 ||
      blockIndex >= DirectAccess.count(volume.size_bytes) || data.length !== directBlockBytes
    ) {
      throw new AwsError(
        "InvalidParameterValue",
        `A block has ${directBlockBytes} bytes and an index within the snapshot.`,
      );
    }
    const first = blockIndex * blocksEach;
    const count = Math.min(blocksEach, volume.size_bytes / blockBytes - first);
    const chunk = new Uint8Array(chunkHeaderBytes + count * blockBytes);
    chunk.set(data.subarray(0, count * blockBytes), chunkHeaderBytes);
    const blocks = new Uint32Array(count);
    const checksums = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const at = chunkHeaderBytes + i * blockBytes;
      blocks[i] = first + i;
      checksums[i] = crc32c(chunk.subarray(at, at + blockBytes));
    }
    const name = await this.#nextName(snapshotId, volume);
    writeChunkHeader(chunk, name, blocks, checksums, count);
    await this.#o.store.put(chunkKey(name), chunk);
    return null;
  }

  /** Ends the writing: the snapshot is complete and cannot change any more. */
  async seal(request: SealSnapshotRequest): Promise<BlockSnapshot> {
    const snapshotId = checkSnapshotId(request.snapshot_id);
    return await this.#turns.take(snapshotId, async () => {
      const sealing = this.#seal(snapshotId, request);
      this.#sealing.set(snapshotId, sealing);
      try {
        return await sealing;
      } finally {
        this.#sealing.delete(snapshotId);
      }
    });
  }

  async #seal(snapshotId: string, request: SealSnapshotRequest): Promise<BlockSnapshot> {
    await Promise.allSettled(this.#writing.get(snapshotId) ?? []);
    const { snapshots, store, tables, volumes } = this.#o;
    const volumeId = writtenBy(snapshotId);
    const done = await tables.snapshots.read(snapshotId);
    if (done === undefined) {
      const found = (await tables.volumes.read(volumeId))?.value;
      if (found === undefined) throw snapshotNotFound(snapshotId);
      if (found.mounted_on === writer) {
        const row = await this.#takeEpoch(snapshotId);
        const { map, written } = await this.#laidOver(row);
        await this.#checkWritten(request, map, written);
        const saved = await saveStoredMap(store, volumeId, row.epoch, map);
        await tables.volumes.modify(volumeId, (value) => {
          // Somebody else has taken it on, and may have written more since it was looked at.
          if (value?.mounted_on !== writer || value.epoch !== row.epoch) {
            throw notWritten(snapshotId);
          }
          const { mounted_on: _, ...rest } = value;
          return { ...rest, map: saved };
        });
      }
      await snapshots.freeze(volumeId, snapshotId);
    }
    // The snapshot has the map now, by which the collector keeps what it needs.
    await volumes.delete(volumeId);
    this.#lastNames.delete(volumeId);
    return await snapshots.describe(snapshotId);
  }

  /** The parent's map with what was written laid over it, in the order in which it came. */
  async #laidOver(
    row: VolumeRow,
  ): Promise<{ readonly map: StoredMap; readonly written: ReadonlySet<number> }> {
    const { store } = this.#o;
    const map = await readStoredMap(store, row.map, row.size_bytes / blockBytes);
    const written = new Set<number>();
    const keys: string[] = [];
    const copied = ownEpoch(row.map, row.volume_id);
    for await (const key of store.list(`chunks/${row.volume_id}/`)) {
      if ((parseChunkKey(key)?.epoch ?? 0) > copied) keys.push(key);
    }
    // A key ends with epoch and sequence in hex of one width: the order of names is the order of writes.
    for (const key of keys.sort()) {
      const bytes = await store.get(key, { offset: 0, length: chunkHeaderBytes });
      if (bytes === undefined) throw new DamagedData(`${key} is not in the object store`);
      const header = readChunkHeader(bytes);
      const number = map.chunks.length;
      const [block] = header.blocks;
      if (block !== undefined) written.add(Math.floor(block.block / blocksEach));
      map.chunks.push({ name: header.name, blocks: header.blocks.length, live: 0 });
      for (const [index, { block, checksum }] of header.blocks.entries()) {
        map.blocks.set(block, chunkContainer(number), index, checksum);
      }
    }
    return { map, written };
  }

  /** What a writer says of its blocks is held against what is there, before anything is changed. */
  async #checkWritten(
    { changed_blocks, checksum }: SealSnapshotRequest,
    map: StoredMap,
    written: ReadonlySet<number>,
  ): Promise<void> {
    if (changed_blocks !== undefined && changed_blocks !== written.size) {
      throw new AwsError(
        "InvalidParameterValue",
        `${written.size} blocks were written, not ${changed_blocks}.`,
      );
    }
    if (checksum === undefined) return;
    const all = createHash("sha256");
    for (const index of [...written].sort((a, b) => a - b)) {
      const bytes = await readBlocks(this.#o.store, map, index * blocksEach, blocksEach);
      all.update(createHash("sha256").update(bytes).digest());
    }
    const found = all.digest("base64");
    if (found !== checksum) {
      throw new AwsError(
        "InvalidParameterValue",
        `The checksum of the written blocks is ${found}, not ${checksum}.`,
      );
    }
  }

  /** Gives up a snapshot that is being written. What is not there is no error. */
  async abandon(id: unknown): Promise<null> {
    const snapshotId = checkSnapshotId(id);
    return await this.#turns.take(snapshotId, async () => {
      const { tables, volumes } = this.#o;
      const volumeId = writtenBy(snapshotId);
      if (await tables.volumes.read(volumeId) === undefined) return null;
      await tables.volumes.modify(volumeId, (value) => {
        if (value === undefined) throw snapshotNotFound(snapshotId);
        const { mounted_on: _, ...rest } = value;
        return rest;
      });
      // What lands after the rest was removed would stay, and that of an encrypted one be sealed by no key.
      await Promise.allSettled(this.#writing.get(snapshotId) ?? []);
      await volumes.delete(volumeId);
      this.#lastNames.delete(volumeId);
      return null;
    });
  }

  /** A snapshot, also one that is still being written. */
  async describe(id: unknown): Promise<BlockSnapshot> {
    const snapshotId = checkSnapshotId(id);
    const { snapshots, tables } = this.#o;
    if (await tables.snapshots.read(snapshotId) === undefined) {
      const row = (await tables.volumes.read(writtenBy(snapshotId)))?.value;
      if (row?.mounted_on === writer) {
        const { size_bytes, volume_id } = row;
        return {
          snapshot_id: snapshotId,
          size_bytes,
          stored_bytes: 0,
          state: "pending",
          volume_id,
          ...(row.encrypted === true ? { encrypted: true } : {}),
        };
      }
    }
    return await snapshots.describe(snapshotId);
  }

  /** Deletes a snapshot, whether it is complete or still being written. */
  async delete(id: unknown): Promise<null> {
    await this.abandon(id);
    return await this.#o.snapshots.delete(id);
  }

  async #completed(id: unknown): Promise<SnapshotRow> {
    const snapshotId = checkSnapshotId(id);
    const row = await this.#o.tables.snapshots.read(snapshotId);
    if (row === undefined || !isSnapshot(row.value)) throw snapshotNotFound(snapshotId);
    if (row.value.state !== "ok") {
      throw new AwsError(
        "IncorrectState",
        `The snapshot '${snapshotId}' is ${row.value.state}.`,
      );
    }
    return row.value;
  }

  /** A map never changes under its key, so it may be kept. */
  #mapOf(row: SnapshotRow): Promise<StoredMap> {
    const key = `${row.map?.key ?? ""} ${row.size_bytes}`;
    const known = this.#maps.get(key);
    this.#maps.delete(key);
    const map = known ?? readStoredMap(this.#o.store, row.map, row.size_bytes / blockBytes);
    this.#maps.set(key, map);
    map.catch(() => this.#maps.delete(key));
    for (const oldest of this.#maps.keys()) {
      if (this.#maps.size <= keptMaps) break;
      this.#maps.delete(oldest);
    }
    return map;
  }

  /** The blocks that a snapshot has, or in which two differ, from an index on. */
  async list(question: DirectBlocksQuestion): Promise<DirectBlocks> {
    const row = await this.#completed(question.snapshot_id);
    const map = await this.#mapOf(row);
    const first = question.first_id === undefined
      ? undefined
      : await this.#completed(question.first_id);
    const before = first === undefined ? undefined : await this.#mapOf(first);
    const end = DirectAccess.count(Math.max(row.size_bytes, first?.size_bytes ?? 0));
    const blocks: ChangedBlock[] = [];
    let index = Math.max(0, Math.trunc(question.from));
    for (; index < end && blocks.length < question.most; index++) {
      const at = index * blocksEach;
      const inSecond = map.blocks.anyMapped(at, blocksEach);
      if (before === undefined) {
        if (inSecond) blocks.push({ index, first: false, second: true });
        continue;
      }
      const inFirst = before.blocks.anyMapped(at, blocksEach);
      if ((inFirst || inSecond) && differ(before, map, at)) {
        blocks.push({ index, first: inFirst, second: inSecond });
      }
    }
    return {
      size_bytes: row.size_bytes,
      blocks,
      ...(index < end ? { next: index } : {}),
    };
  }

  /** One block of a snapshot; zeros where it has none. */
  async read(id: unknown, blockIndex: number): Promise<Uint8Array<ArrayBuffer>> {
    const row = await this.#completed(id);
    if (
      !Number.isInteger(blockIndex) || blockIndex < 0 ||
      blockIndex >= DirectAccess.count(row.size_bytes)
    ) {
      throw new AwsError("InvalidParameterValue", "There is no block of that index.");
    }
    const map = await this.#mapOf(row);
    const first = blockIndex * blocksEach;
    const count = Math.min(blocksEach, row.size_bytes / blockBytes - first);
    try {
      const bytes = await readBlocks(this.#o.store, map, first, count);
      if (count === blocksEach) return bytes;
      const whole = new Uint8Array(directBlockBytes);
      whole.set(bytes);
      return whole;
    } catch (error) {
      throw error instanceof DamagedData ? internalError(error) : error;
    }
  }
}

/** Whether any of the blocks lives elsewhere, or only in one of the maps. */
function differ(a: StoredMap, b: StoredMap, first: number): boolean {
  for (let block = first; block < first + blocksEach; block++) {
    const inA = a.blocks.leaf(block);
    const inB = b.blocks.leaf(block);
    if (
      (inA === undefined || containerAt(inA, block) === hole) &&
      (inB === undefined || containerAt(inB, block) === hole)
    ) continue;
    if (placeOf(a, block) !== placeOf(b, block)) return true;
  }
  return false;
}
