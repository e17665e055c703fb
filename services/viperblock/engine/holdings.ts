/**
 * What a mounted volume has in the object store, as far as others must know: which chunks it needs, how full its own are,
 * and which of them nobody but it names any more.
 */
import { blockBytes, chunkKey } from "../format.ts";
import type { HeldChunks } from "../mounts/mailbox.ts";
import type { Drainer } from "./drainer.ts";
import type { Places } from "./places.ts";
import type { Snapshotter } from "./snapshotter.ts";

export interface HoldingsOptions {
  readonly volumeId: string;
  readonly epoch: number;
  readonly places: Places;
  readonly drainer: Pick<Drainer, "storing" | "lastSequence">;
  readonly snapshotter: Pick<Snapshotter, "freezes" | "holds">;
}

export class Holdings {
  readonly #o: HoldingsOptions;

  constructor(options: HoldingsOptions) {
    this.#o = options;
  }

  /** Chunks that the map or a checkpoint may name, and the last that this epoch has named so far. */
  held(): HeldChunks {
    const { drainer, epoch, places, snapshotter } = this.#o;
    const keys: string[] = [];
    for (const chunk of places.chunks) if (chunk !== undefined) keys.push(chunk.key);
    const { storing } = drainer;
    if (storing !== undefined) keys.push(chunkKey(storing));
    return { keys, epoch, sequence: drainer.lastSequence, freezes: snapshotter.freezes };
  }

  /** Nobody else named these (epoch and sequence) after so many freezes. */
  unshare(names: readonly (readonly [number, number])[], freezes: number): void {
    const { places, snapshotter, volumeId: owner } = this.#o;
    // What was asked before a snapshot was begun says nothing of what that names.
    if (freezes !== snapshotter.freezes) return;
    const keys = new Set(names.map(([epoch, sequence]) => chunkKey({ owner, epoch, sequence })));
    for (const [number, chunk] of places.chunks.entries()) {
      // One that is being frozen by now is somebody else's again.
      if (chunk === undefined || !keys.has(chunk.key) || snapshotter.holds(number)) continue;
      chunk.shared = false;
      chunk.isOwn = true;
    }
  }

  /** Blocks that its own chunks hold, and how many of them live: their ratio is the space amplification. */
  occupied() {
    const { places, volumeId } = this.#o;
    let chunks = 0;
    let chunk_blocks = 0;
    let live_chunk_blocks = 0;
    for (const chunk of places.chunks) {
      if (chunk === undefined) continue;
      chunks++;
      if (chunk.name.owner !== volumeId) continue;
      chunk_blocks += chunk.blocks;
      live_chunk_blocks += chunk.live;
    }
    let dirty_blocks = 0;
    for (const segment of places.segments.values()) dirty_blocks += segment.live;
    return { chunks, chunk_blocks, live_chunk_blocks, dirty_bytes: dirty_blocks * blockBytes };
  }
}
