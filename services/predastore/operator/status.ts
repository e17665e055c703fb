/** What the operator sees of the store: each directory, how much is redundant, what background work does. */
import type { BlobDirectory } from "../segments/blob_directory.ts";
import { toldCode } from "./bucket_code.ts";
import type { DirectoryStatus, StoreStatus } from "../contract.ts";
import type { Store } from "../store.ts";
import { remedyOf } from "./remedies.ts";

/** Buckets with a code of their own that are told by name. */
const namedCodes = 20;

function ownCodes(store: Store): StoreStatus["own_codes"] {
  const own = store.index.buckets.all().filter(({ settings }) => settings.code !== undefined)
    .sort((a, b) => a.name < b.name ? -1 : 1);
  return {
    count: own.length,
    buckets: own.slice(0, namedCodes).map((bucket) => toldCode(store, bucket)),
  };
}

async function segmentBytes(directory: BlobDirectory): Promise<number> {
  let sum = 0;
  for (const segment of await directory.segments()) sum += await directory.segmentSize(segment);
  return sum;
}

/** Why a directory is away or takes no writes, in words. */
function told(reason: unknown): Pick<DirectoryStatus, "reason" | "remedy"> {
  const remedy = remedyOf(reason);
  return {
    ...(reason instanceof Error ? { reason: reason.message } : {}),
    ...(remedy === undefined ? {} : { remedy }),
  };
}

async function directoryStatus(store: Store, directory: BlobDirectory): Promise<DirectoryStatus> {
  const { path, number } = directory;
  const space = store.directories.spaceOf(directory);
  let used = 0;
  let reason = directory.reason;
  try {
    if (directory.online) used = await segmentBytes(directory);
  } catch (error) {
    reason = error;
  }
  if (space === undefined || reason !== undefined) {
    return {
      path,
      number,
      state: "away",
      free_bytes: 0,
      total_bytes: 0,
      used_bytes: 0,
      reclaimable_bytes: 0,
      ...told(reason),
    };
  }
  const { refusal } = directory;
  const hasNoRoom = refusal?.code === "ENOSPC" || refusal?.code === "EDQUOT";
  let live = 0;
  for (const bytes of store.index.segments.liveBytes(number).values()) live += bytes;
  return {
    path,
    number,
    state: hasNoRoom ? "full" : space.state,
    free_bytes: space.free,
    total_bytes: space.total,
    used_bytes: used,
    // Deleted and overwritten data that compaction has not given back yet.
    reclaimable_bytes: Math.max(0, used - live),
    // Where the disk itself says that it is full there is nothing to wonder about.
    ...(space.state === "full" ? {} : told(refusal)),
  };
}

export async function storeStatus(store: Store): Promise<Omit<StoreStatus, "requests">> {
  const { objects, bytes, buckets, missing } = store.index.buckets.totals();
  const { data_shards, parity_shards, reserve_bytes } = store.options;
  const { running, finished_ms, ...scrubbed } = store.scrub.state();
  return {
    code: `RS(${data_shards},${parity_shards})`,
    own_codes: ownCodes(store),
    objects,
    bytes,
    buckets,
    ...store.directories.capacity(),
    reserve_bytes,
    directories: await Promise.all(
      store.directories.all.map((one) => directoryStatus(store, one)),
    ),
    shards_missing: missing,
    repair: {
      running: store.repair.running,
      queued_extents: store.index.extents.countJournalled(),
      shards_repaired: store.repair.shards_repaired,
      records_repaired: store.repair.records_repaired,
      unrepaired: store.repair.unrepaired,
    },
    scrub: {
      running,
      ...(finished_ms === undefined ? {} : { finished_ms, age_ms: Date.now() - finished_ms }),
      ...scrubbed,
    },
    segments_compacted: store.compactor.segments_removed,
    bytes_compacted: store.compactor.bytes_freed,
    degraded_reads: store.degraded_reads,
    hedged_reads: store.reader.hedged_reads,
    events_waiting: store.index.outbox.count(),
  };
}
