/**
 * A volume's directory on the node that mounts it, filled from the object store: the saved map as its first checkpoint,
 * then a mark that says that all is there. Without the mark there is no log of the volume here.
 *
 * A saved map that is not what was written is made anew from the chunks, for reading only; then the directory
 * stays empty but for the mark, and each mount begins with the object store again.
 */
import { join } from "node:path";
import { AwsError, unavailable } from "../../aws/errors.ts";
import { CheckpointSeal } from "../encryption/sealed_bytes.ts";
import type { VolumeKey } from "../encryption/volume_key.ts";
import type { Rescue } from "../engine/salvage.ts";
import { blockBytes, checkpointName, DamagedData } from "../format.ts";
import { linuxFileSystem } from "../machine/file_system.ts";
import { asCheckpointOf } from "../maps/checkpoint_copy.ts";
import { type BlockStore, mapParts, type SavedMap } from "../maps/map_objects.ts";
import { rebuildMap } from "../maps/rebuilt_map.ts";
import { storedMapBytes } from "../maps/stored_map.ts";
import type { VolumeRow } from "../records.ts";
import { clearDirectory } from "./left_caches.ts";

const markName = "mounted.json";

interface Filled {
  readonly row: VolumeRow;
  readonly directory: string;
  readonly key: VolumeKey | undefined;
  /** What the map's writer began with. */
  readonly inherited: SavedMap | "unknown" | undefined;
}

/**
 * @returns how the volume is to be opened when its saved map is damaged
 * @throws AwsError when the object store does not answer
 */
export async function fillDirectory(
  store: BlockStore,
  { row, directory, key, inherited }: Filled,
): Promise<Rescue | undefined> {
  // What a volume kept of chunks when it was mounted here before is found again by its engine.
  await clearDirectory(directory);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const { map } = row;
  let rescue: Rescue | undefined;
  if (map !== undefined) {
    try {
      const damage = await copyMap(store, row, map, directory, key);
      if (damage !== undefined) {
        const reason = `its map ${map.key} in the object store is damaged: ${damage.message}`;
        rescue = await rescueOf(store, map, row.size_bytes / blockBytes, inherited, reason);
      }
    } catch (cause) {
      throw unavailable(`The object store, asked for map ${map.key},`, cause);
    }
  }
  await writeDurably(
    join(directory, markName),
    new TextEncoder().encode(JSON.stringify({ volume_id: row.volume_id, version: 1 })),
  );
  await linuxFileSystem.syncDirectory(directory);
  await linuxFileSystem.syncDirectory(join(directory, ".."));
  return rescue;
}

/** @returns what is wrong with the map; then nothing of it is in the directory */
async function copyMap(
  store: BlockStore,
  { volume_id }: VolumeRow,
  map: SavedMap,
  directory: string,
  key: VolumeKey | undefined,
): Promise<DamagedData | undefined> {
  const path = join(directory, checkpointName);
  const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  const seal = key === undefined ? undefined : new CheckpointSeal(key, volume_id);
  try {
    let first = true;
    for await (const part of asCheckpointOf(volume_id, mapParts(store, map))) {
      await writeAll(file, seal?.next(part, first) ?? part);
      first = false;
    }
    await file.sync();
    return undefined;
  } catch (error) {
    if (!(error instanceof DamagedData)) throw error;
    await Deno.remove(path);
    return error;
  } finally {
    seal?.close();
    file.close();
  }
}

async function rescueOf(
  store: BlockStore,
  map: SavedMap,
  sizeBlocks: number,
  inherited: Filled["inherited"],
  reason: string,
): Promise<Rescue> {
  const made = await rebuildMap(store, map, sizeBlocks, inherited);
  const { told, unknown, perhapsTrimmed } = made;
  const bytes = storedMapBytes(map, made);
  return { reason, base: { kind: "rebuilt", bytes, told, unknown, perhapsTrimmed } };
}

/** @throws AwsError when the directory is not what a mount left */
export async function checkMark({ volume_id }: VolumeRow, directory: string): Promise<void> {
  try {
    await Deno.stat(join(directory, markName));
  } catch (cause) {
    throw new AwsError(
      "IncorrectState",
      `The log of '${volume_id}' is not in ${directory}. Bring the disk back that held it.`,
      { cause },
    );
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await Deno.open(path, { write: true, create: true, truncate: true, mode: 0o600 });
  try {
    await writeAll(file, bytes);
    await file.sync();
  } finally {
    file.close();
  }
}
