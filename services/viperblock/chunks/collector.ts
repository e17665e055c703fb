/**
 * Deletes chunks and maps that nothing refers to any more.
 *
 * A chunk is deleted only when no saved map of any volume or snapshot refers to it. What a mounted
 * volume writes is its own business (its worker reports what it gave up): of its chunks only those are
 * looked at that are as old as its saved map. It is told which of its chunks nobody else names any more. Every chunk
 * names its owner, and every saved map lists the owners of its chunks, so that only maps that can matter are
 * read. While a map that names chunks of an owner is damaged, nothing of that owner is deleted: correctness
 * before space.
 */
import type { Log } from "../../log/log.ts";
import { chunkKey, type ChunkName, DamagedData, parseChunkKey } from "../format.ts";
import type { HeldChunks } from "../mounts/mailbox.ts";
import { type BlockStore, mapChunks, mapOwner, type SavedMap } from "../maps/map_objects.ts";
import type { SnapshotRow, VolumeRow } from "../records.ts";

/** The rows that say what is still needed. */
export interface Books {
  readonly volumes: {
    get(key: string): { readonly value: VolumeRow } | undefined;
    list(): readonly { readonly value: VolumeRow }[];
  };
  readonly snapshots: { list(): readonly { readonly value: SnapshotRow }[] };
}

/** Every volume whose objects a map keeps alive. */
export function keptBy(map: SavedMap | undefined): string[] {
  return map === undefined ? [] : [...new Set([...map.owners, mapOwner(map)])];
}

/** The newest epoch whose objects may be looked at. */
function newestSettled(row: VolumeRow | undefined): number {
  if (row === undefined || row.state === "deleting") return Infinity;
  if (row.mounted_on === undefined) return row.epoch;
  return row.map !== undefined && mapOwner(row.map) === row.volume_id ? row.map.epoch : 0;
}

/** Mounted volumes, which know what of their own they need. */
export interface MountedOwners {
  heldBy(volumeId: string): Promise<HeldChunks | undefined>;
  /** No saved map but the volume's own names these any more. */
  unshare(volumeId: string, chunks: readonly ChunkName[], freezes: number): Promise<void>;
}

/** Returns how many objects were deleted. */
export async function collect(
  owners: Iterable<string>,
  tables: Books,
  store: BlockStore,
  log: Log,
  mounted?: MountedOwners,
): Promise<number> {
  let deleted = 0;
  for (const owner of owners) {
    // First what is there, then who needs it: what comes to be in between is not looked at.
    const chunks = await Array.fromAsync(store.list(`chunks/${owner}/`));
    const mapParts = await Array.fromAsync(store.list(`maps/${owner}/`));
    const row = tables.volumes.get(owner)?.value;
    const held = row?.mounted_on === undefined ? undefined : await mounted?.heldBy(owner);
    if (willBeNamed(owner, tables)) continue;
    const maps = savedMaps(tables);
    const kept = new Set<string>();
    /** Of those, what others than the volume itself name. */
    const shared = new Set<string>();
    try {
      for (const map of maps.values()) {
        if (!map.owners.includes(owner)) continue;
        const named = await mapChunks(store, map);
        const isShared = map.key !== row?.map?.key || isNamedByOthers(map, owner, tables);
        for (const { name } of named) {
          if (name.owner !== owner) continue;
          kept.add(chunkKey(name));
          if (isShared) shared.add(chunkKey(name));
        }
      }
    } catch (error) {
      if (!(error instanceof DamagedData)) throw error;
      log.warn("objects_kept", { owner, because: error.message });
      continue;
    }
    const settled = { newest: newestSettled(row), held, heldKeys: new Set(held?.keys) };
    const dead = [
      ...chunks.filter((key) => !kept.has(key) && isSettled(key, settled)),
      ...mapParts.filter((key) => isOfDeadMap(key, settled, maps)),
    ];
    for (const key of dead) await store.delete(key);
    const unshared = [...settled.heldKeys].filter((key) => !shared.has(key)).map(parseChunkKey)
      .filter((name) => name !== undefined).filter((name) => name.owner === owner);
    if (held !== undefined && unshared.length > 0) {
      await mounted?.unshare(owner, unshared, held.freezes);
    }
    deleted += dead.length;
    if (dead.length > 0) log.info("objects_collected", { owner, count: dead.length });
  }
  return deleted;
}

/** What a snapshot that is not stored yet will name, nobody can say. */
function willBeNamed(owner: string, { snapshots }: Books): boolean {
  return snapshots.list().some(({ value }) =>
    value.state === "pending" && (value.volume_id === owner || value.owners?.includes(owner))
  );
}

/** By their keys. */
function savedMaps({ volumes, snapshots }: Books): Map<string, SavedMap> {
  const maps = new Map<string, SavedMap>();
  for (const { value } of [...volumes.list(), ...snapshots.list()]) {
    if (value.state === "ok" && value.map !== undefined) maps.set(value.map.key, value.map);
  }
  return maps;
}

function isNamedByOthers({ key }: SavedMap, owner: string, { volumes, snapshots }: Books): boolean {
  return snapshots.list().some(({ value }) => value.map?.key === key) ||
    volumes.list().some(({ value }) => value.volume_id !== owner && value.map?.key === key);
}

/** Up to where it is settled which objects of an owner a saved map names. */
interface Settled {
  readonly newest: number;
  /** What a mounted volume says of later ones. */
  readonly held: HeldChunks | undefined;
  readonly heldKeys: ReadonlySet<string>;
}

function isSettled(chunk: string, { newest, held, heldKeys }: Settled): boolean {
  const name = parseChunkKey(chunk);
  if (name === undefined) return false;
  if (name.epoch <= newest) return true;
  return held !== undefined && !heldKeys.has(chunk) &&
    (name.epoch < held.epoch || (name.epoch === held.epoch && name.sequence <= held.sequence));
}

/** Whether it is a part of a map that no row names, and none is going to. */
function isOfDeadMap(
  part: string,
  { newest, held }: Settled,
  maps: ReadonlyMap<string, SavedMap>,
): boolean {
  const [, map, epoch, frozen] = /^(maps\/[^/]+\/([0-9a-f]{8})(?:\.\d+)?(-\d+)?)\//.exec(part) ??
    [];
  if (map === undefined || epoch === undefined) return false;
  return parseInt(epoch, 16) <= (frozen === undefined ? newest : held?.epoch ?? newest) &&
    !maps.has(map);
}

/** Volumes whose objects, and so whose keys, somebody still needs. */
export function stillNeeded({ volumes, snapshots }: Omit<Books, "volumes"> & {
  readonly volumes: Pick<Books["volumes"], "list">;
}): Set<string> {
  const needed = new Set<string>();
  for (const { value } of volumes.list()) {
    if (value.state === "deleting") continue;
    needed.add(value.volume_id);
    for (const owner of keptBy(value.map)) needed.add(owner);
  }
  for (const { value } of snapshots.list()) {
    if (value.state === "deleting") continue;
    for (const owner of [...keptBy(value.map), ...value.owners ?? []]) needed.add(owner);
    // Of one that is not stored yet the volume's own chunks are on their way.
    if (value.state === "pending" && value.volume_id !== undefined) needed.add(value.volume_id);
  }
  return needed;
}
