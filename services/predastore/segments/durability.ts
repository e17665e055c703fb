/** What a record needs for being real: its shards durable with it, in the epoch in which they were written. */
import type { Code } from "../extents/code.ts";
import { shardPayload, type Stripe } from "../extents/layout.ts";
import type { ObjectRecord } from "../index/rows.ts";
import type { BlobDirectory } from "./blob_directory.ts";
import { recordTypes, type SmallRecord } from "./record.ts";

export type Epochs = ReadonlyMap<BlobDirectory, number>;

/** Shards that records name. */
export interface NamedShards {
  /** Of the directories when the shards were written. */
  readonly epochs: Epochs;
  /** Of these each must have k durable shards; none are looked at where the caller does. */
  readonly stripes: readonly Stripe[];
}

/** The epochs of directories now: taken before shards are written. */
export function epochsOf(directories: readonly (BlobDirectory | undefined)[]): Epochs {
  const epochs = new Map<BlobDirectory, number>();
  for (const one of directories) if (one !== undefined) epochs.set(one, one.epoch);
  return epochs;
}

/** The number by which a record is refused: records of one version share its own, and have their revisions besides. */
export function numberOf({ type, sequence, meta }: SmallRecord): number {
  if (type !== recordTypes.object) return sequence;
  return (JSON.parse(new TextDecoder().decode(meta)) as ObjectRecord).revision ?? sequence;
}

/** Whether each stripe can be read of what stands in the directories that made it durable. */
export function isReadable(
  stripes: readonly Stripe[],
  { k, m }: Code,
  durable: Set<number>,
): boolean {
  return stripes.every((stripe) => {
    let sound = 0;
    for (let shard = 0; shard < k + m; shard++) {
      const place = stripe.shards[shard];
      if (shardPayload(stripe, k, shard) === 0) sound++;
      else if (place !== undefined && durable.has(place.directory)) sound++;
    }
    return sound >= k;
  });
}
