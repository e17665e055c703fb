/**
 * Which of its own chunks a volume may not give up by itself when an engine begins with it: a checkpoint does not say
 * who else names them, and the snapshot that did may have gone since, while its clones live on.
 */
import { mapOwner, type SavedMap } from "../maps/map_objects.ts";
import type { SnapshotRow, VolumeRow } from "../records.ts";

interface Rows {
  readonly volumes: { list(): readonly { readonly value: VolumeRow }[] };
  readonly snapshots: { list(): readonly { readonly value: SnapshotRow }[] };
}

/** The epoch of a map, if the volume wrote it itself; else 0. */
export function ownEpoch(map: SavedMap | undefined, volumeId: string): number {
  return map !== undefined && mapOwner(map) === volumeId ? map.epoch : 0;
}

/**
 * The newest epoch of the volume's chunks that others than itself may name: snapshots of it, those on their way to the
 * store too, and whoever began with one, whether that is still there or not.
 * @param row as it was before its next mount: no chunk of it is of a later epoch
 */
export function sharedEpoch(row: VolumeRow, { volumes, snapshots }: Rows): number {
  const { volume_id: volumeId } = row;
  let newest = 0;
  const names = (map: SavedMap | undefined) => {
    if (map === undefined) return;
    // Which of them a map names that another volume wrote, only that map says: any of them.
    const isOthers = mapOwner(map) !== volumeId && map.owners.includes(volumeId);
    newest = Math.max(newest, isOthers ? row.epoch : ownEpoch(map, volumeId));
  };
  for (const { value } of snapshots.list()) {
    names(value.map);
    const isNamed = value.volume_id === volumeId || value.owners?.includes(volumeId);
    if (value.state === "pending" && isNamed) newest = Math.max(newest, row.epoch);
  }
  for (const { value } of volumes.list()) if (value.volume_id !== volumeId) names(value.map);
  return newest;
}
