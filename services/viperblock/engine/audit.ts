/**
 * Holds a volume's books against its map: every container's count of live blocks, and that no place is
 * owned twice. Costs a pass over the whole map; for the simulation and for checks by hand.
 */
import { containerAt, indexAt, leafBlocks } from "../maps/block_map.ts";
import { chunkNumber, hole, isChunk, segmentBlocks } from "../format.ts";
import type { Places } from "./places.ts";

/** What is wrong, in sentences; empty when nothing is. */
export function audit(places: Places): string[] {
  const wrong: string[] = [];
  const live = new Map<number, number>();
  const owned = new Map<number, number>();
  let mapped = 0;
  for (let block = 0; block < places.map.sizeBlocks;) {
    const leaf = places.map.leaf(block);
    if (leaf === undefined) {
      block += leafBlocks;
      continue;
    }
    for (let i = 0; i < leafBlocks; i++, block++) {
      const container = containerAt(leaf, i);
      const index = indexAt(leaf, i);
      if (container === hole) continue;
      mapped++;
      if (block >= places.map.sizeBlocks) wrong.push(`block ${block} lies beyond the end`);
      live.set(container, (live.get(container) ?? 0) + 1);
      const place = container * segmentBlocks + index;
      const other = owned.get(place);
      if (other !== undefined) {
        wrong.push(`blocks ${other} and ${block} share the place ${container}:${index}`);
      }
      owned.set(place, block);
      if (isChunk(container)) {
        const chunk = places.chunks[chunkNumber(container)];
        if (chunk === undefined) wrong.push(`block ${block} is in a chunk that is not known`);
        else if (index >= chunk.blocks) wrong.push(`block ${block} is beyond its chunk's end`);
      } else if (places.segment(container)?.blocks[index] !== block) {
        wrong.push(`segment ${container} does not know that it holds block ${block}`);
      }
    }
  }
  if (mapped !== places.map.mappedBlocks) {
    wrong.push(`${mapped} blocks are mapped, ${places.map.mappedBlocks} are counted`);
  }
  for (const segment of places.segments.values()) {
    const count = live.get(segment.number) ?? 0;
    if (segment.live !== count) {
      wrong.push(`segment ${segment.number} holds ${count} blocks, ${segment.live} are counted`);
    }
  }
  for (const [number, chunk] of places.chunks.entries()) {
    if (chunk === undefined) continue;
    const count = live.get((number | 0x8000_0000) >>> 0) ?? 0;
    if (chunk.live !== count) {
      wrong.push(`chunk ${chunk.key} holds ${count} blocks, ${chunk.live} are counted`);
    }
  }
  return wrong;
}
