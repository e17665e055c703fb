/** `hive s3 status`: how the object store is, in words. */
import type { StoreStatus } from "../../../services/predastore/contract.ts";
import { bytes, duration, table } from "../../terminal/table.ts";

const words: Readonly<Record<string, string>> = {
  roomy: "well",
  near_full: "nearly full",
  full: "full",
  away: "away",
};

/** What is wrong, each with what to do; empty when nothing is. */
export function concerns(status: StoreStatus): string[] {
  const found: string[] = [];
  for (const { path, state, reason, remedy } of status.directories) {
    if (state === "away") {
      found.push(
        `${path} is away${reason === undefined ? "" : ` (${reason})`}. ` +
          (remedy ??
            "Bring the disk back, or put an empty one in its place: it is filled by itself."),
      );
    } else if (reason !== undefined) {
      found.push(`${path} takes no writes (${reason}). ${remedy ?? ""}`.trimEnd());
    } else if (state === "full") {
      found.push(`${path} is full. Delete objects, or add a disk.`);
    } else if (state === "near_full") found.push(`${path} is nearly full.`);
  }
  if (status.shards_missing > 0) {
    found.push(`${status.shards_missing} shards are missing; repair works on them.`);
  }
  if (status.repair.unrepaired > 0) {
    found.push(`${status.repair.unrepaired} shards or records have nowhere to be repaired to.`);
  }
  return found;
}

function ownCodes({ count, buckets }: StoreStatus["own_codes"]): string[] {
  if (count === 0) return [];
  const named = buckets.map(({ bucket, code }) => `${bucket} ${code}`).join(", ");
  const more = count - buckets.length;
  return [`buckets with a code of their own: ${named}${more > 0 ? ` and ${more} more` : ""}`];
}

export function describeStatus(status: StoreStatus): string {
  const { repair, scrub, requests } = status;
  const reclaimable = status.directories.reduce((sum, one) => sum + one.reclaimable_bytes, 0);
  const bad = concerns(status);
  return [
    `${status.code}: ${status.objects} objects in ${status.buckets} buckets, ${
      bytes(status.bytes)
    }`,
    ...ownCodes(status.own_codes),
    `room for ${bytes(status.free_bytes)} more above the reserve of ${
      bytes(status.reserve_bytes)
    } a disk; compaction will give back ${bytes(reclaimable)}`,
    "",
    table(
      ["DIRECTORY", "STATE", "FREE", "OF", "STORED", "TO COMPACT"],
      status.directories.map((one) => [
        one.path,
        words[one.state] ?? one.state,
        bytes(one.free_bytes),
        bytes(one.total_bytes),
        bytes(one.used_bytes),
        bytes(one.reclaimable_bytes),
      ]),
    ),
    "",
    `repair: ${
      repair.running ? "at work" : "idle"
    }, ${repair.queued_extents} bodies wait; since the start ${repair.shards_repaired} shards and ${repair.records_repaired} records`,
    `scrub:  ${
      scrub.running
        ? `at work, ${bytes(scrub.bytes_checked)} checked`
        : scrub.age_ms === undefined
        ? "never ended"
        : `ended ${duration(scrub.age_ms)} ago`
    }, ${scrub.damaged} damaged in the last`,
    `reads:  ${status.degraded_reads} computed from other shards, ${status.hedged_reads} from a quicker disk`,
    `calls:  ${requests.count} since the start, ${
      requests.per_second.toFixed(1)
    } a second, ${requests.errors} failed; median ${requests.p50_ms.toFixed(1)} ms, 99 % under ${
      requests.p99_ms.toFixed(1)
    } ms; ${bytes(requests.bytes_in)} in, ${bytes(requests.bytes_out)} out`,
    `events: ${status.events_waiting} wait to be told`,
    "",
    ...bad.length === 0 ? ["All is well."] : bad,
  ].join("\n");
}
