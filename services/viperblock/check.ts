/** A check of one volume or snapshot: what its row, its worker and the maps around it know, for `fsck.ts` to hold against the store. */
import type { CheckReport } from "./contract.ts";
import { checkMap, withLocalDamage } from "./fsck.ts";
import type { BlockStore } from "./maps/map_objects.ts";
import type { Mounts } from "./mounts/mounts.ts";
import {
  checkSnapshotId,
  checkVolumeId,
  inheritedBy,
  isSnapshot,
  snapshotNotFound,
  type Tables,
  volumeNotFound,
} from "./records.ts";

export async function checkStored(
  value: unknown,
  tables: Tables,
  mounts: Mounts,
  store: BlockStore,
): Promise<CheckReport> {
  if (typeof value === "string" && value.startsWith("snap-")) {
    const id = checkSnapshotId(value);
    const row = await tables.snapshots.read(id);
    if (row === undefined || !isSnapshot(row.value)) throw snapshotNotFound(id);
    const { map, size_bytes } = row.value;
    const inherited = map && inheritedBy(map, tables);
    return await checkMap(store, { id, size_bytes, map, inherited, isMounted: false, books: [] });
  }
  const id = checkVolumeId(value);
  const row = await tables.volumes.read(id);
  if (row === undefined || row.value.state !== "ok") throw volumeNotFound(id);
  const mounted = mounts.volumes.get(id);
  const { map, size_bytes, damage, map_lost, mounted_on } = row.value;
  const inherited = map && inheritedBy(map, tables);
  const isMounted = mounted_on !== undefined && map_lost === undefined;
  const report = await checkMap(store, {
    id,
    size_bytes,
    map,
    inherited,
    isMounted,
    live: await mounted?.liveMap(),
    log: () => mounted?.openLog(),
    liveAgain: async () => await mounted?.liveMap(),
    held: async () => {
      const held = await mounted?.held();
      return held === undefined ? undefined : new Set(held.keys);
    },
    books: await mounted?.audit() ?? [],
  });
  // Of a volume whose map is lost the report says the same already.
  return withLocalDamage(report, damage, map_lost === true ? undefined : mounted?.damage);
}
