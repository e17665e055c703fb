/**
 * Gives shards of an extent other places: compaction moves them, repair makes them anew.
 *
 * The shards stand already; a new revision of the extent's record names them. It becomes real when each
 * directory that holds a new shard has made both durable, and nothing else has changed the extent
 * meanwhile; otherwise the new shards are dead space and the extent is as it was.
 */
import { extentRecord } from "../objects/bodies.ts";
import type { Directories, Epochs } from "../segments/directories.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { ExtentRow } from "../index/rows.ts";
import type { ShardPlace } from "../extents/layout.ts";
import type { Progress } from "../index/progress.ts";

export interface ShardMove {
  readonly stripe: number;
  readonly shard: number;
  readonly to: ShardPlace;
}

/** @returns whether the extent now names the new places */
export async function relocate(
  { index, directories, progress }: {
    readonly index: ObjectIndex;
    readonly directories: Directories;
    readonly progress: Progress;
  },
  extent: ExtentRow,
  moves: readonly ShardMove[],
  epochs: Epochs,
): Promise<boolean> {
  const moved = withMoves(extent, moves);
  const targets = new Set(moves.map(({ to }) => to.directory));
  const to = [
    ...[...targets, ...extent.locations.map(({ directory }) => directory)]
      .map((number) => directories.byNumber(number)),
    ...directories.place(extent.bucket, extent.key, extent),
  ];
  const revision = progress.nextSequence();
  const records = [extentRecord(moved, revision)];
  // Whether they are durable where they are new is looked at below.
  const copies = await directories.commit(extent, to, records, { epochs, stripes: [] });
  const durable = new Set(copies[0]?.map(({ directory }) => directory));
  let applied = false;
  let isOutdone = false;
  try {
    if ([...targets].some((target) => !durable.has(target))) {
      throw new Error(`shards of extent ${extent.id} that were written anew are not durable`);
    }
    await index.write(() => {
      // It may have been deleted meanwhile, or changed by somebody else.
      const known = index.extents.find(extent.id);
      isOutdone = known !== undefined && known.revision !== extent.revision;
      if (known?.revision !== extent.revision) return;
      index.extents.apply(moved, revision, copies[0] ?? []);
      applied = true;
    });
    // Its number may be the higher one, and its shards go with compaction.
    if (isOutdone) await directories.refuse(records);
  } catch (error) {
    await directories.refuse(records);
    throw error;
  } finally {
    directories.applied(copies);
  }
  return applied;
}

function withMoves(extent: ExtentRow, moves: readonly ShardMove[]): ExtentRow {
  const byShard = new Map(moves.map((move) => [`${move.stripe}/${move.shard}`, move.to]));
  return {
    ...extent,
    stripes: extent.stripes.map((stripe, at) => ({
      ...stripe,
      shards: stripe.shards.map((place, shard) => {
        const to = byShard.get(`${at}/${shard}`);
        return to === undefined
          ? place
          : { directory: to.directory, segment: to.segment, offset: to.offset };
      }),
    })),
  };
}
