/**
 * Gives shards of an extent other places: compaction moves them, repair makes them anew.
 *
 * The shards stand already; a new revision of the extent's record names them. It becomes real when each
 * directory that holds a new shard has made both durable. Of those who come to one extent at once each waits for the one
 * before: who finds that it was changed meanwhile writes no record, which would have to be refused. The new shards are dead
 * space then.
 */
import { extentRecord } from "../objects/bodies.ts";
import type { Commits } from "../objects/commits.ts";
import type { Directories } from "../segments/directories.ts";
import type { Epochs } from "../segments/durability.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import type { ExtentRow } from "../index/rows.ts";
import type { ShardPlace } from "../extents/layout.ts";
import type { Progress } from "../index/progress.ts";

export interface ShardMove {
  readonly stripe: number;
  readonly shard: number;
  readonly to: ShardPlace;
}

/** What became of moves: the extent has them, or was deleted, or looks otherwise by now and has none. */
export type Relocation = "moved" | "gone" | "changed";

interface Surroundings {
  readonly index: ObjectIndex;
  readonly directories: Directories;
  readonly progress: Progress;
  readonly commits: Commits;
}

/** @param extent as it was when the shards were written */
export async function relocate(
  around: Surroundings,
  extent: ExtentRow,
  moves: readonly ShardMove[],
  epochs: Epochs,
): Promise<Relocation> {
  return await around.commits.locked([`extent ${extent.id}`], async () => {
    const known = around.index.extents.find(extent.id);
    if (known === undefined) return "gone";
    if (known.revision !== extent.revision) return "changed";
    return await move(around, extent, moves, epochs) ? "moved" : "gone";
  });
}

/** @returns false when the extent was deleted meanwhile */
async function move(
  { index, directories, progress }: Surroundings,
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
  try {
    if ([...targets].some((target) => !durable.has(target))) {
      throw new Error(`shards of extent ${extent.id} that were written anew are not durable`);
    }
    await index.write(() => {
      if (index.extents.find(extent.id) === undefined) return;
      index.extents.apply(moved, revision, copies[0] ?? []);
      applied = true;
    });
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
