/**
 * Damage to a saved map, on a copy of the store: parts go, bits flip, sectors become zeros, and now and then a chunk's
 * header is damaged too. What `rebuilt_map.ts` makes of the rest is held against the map as it was: what it says is
 * known must be so, and what it says may have been trimmed must be as it was or be a hole.
 */
import type { Random } from "../kit/random.ts";
import { hole } from "../../services/viperblock/format.ts";
import { checksumAt, containerAt } from "../../services/viperblock/maps/block_map.ts";
import {
  type BlockStore,
  mapPartKey,
  type SavedMap,
} from "../../services/viperblock/maps/map_objects.ts";
import { rebuildMap } from "../../services/viperblock/maps/rebuilt_map.ts";
import {
  placeOf,
  readBlocks,
  readStoredMap,
  type StoredMap,
} from "../../services/viperblock/maps/stored_map.ts";

export interface MapLosses {
  lost: number;
  exact: number;
  /** With blocks that are unknown, or perhaps trimmed. */
  partly: number;
}

export const noMapLosses = (): MapLosses => ({ lost: 0, exact: 0, partly: 0 });

type Objects = Map<string, Uint8Array<ArrayBuffer>>;

/** Objects that answer at once. */
class Copy implements BlockStore {
  constructor(readonly objects: Objects) {}
  put(): Promise<void> {
    return Promise.reject(new Error("whoever makes a map anew changes nothing"));
  }
  delete(): Promise<void> {
    return this.put();
  }
  get(key: string, range?: { readonly offset: number; readonly length: number }) {
    const bytes = this.objects.get(key);
    return Promise.resolve(
      range === undefined
        ? bytes?.slice()
        : bytes?.slice(range.offset, range.offset + range.length),
    );
  }
  async *list(prefix: string): AsyncGenerator<string> {
    yield* [...this.objects.keys()].filter((key) => key.startsWith(prefix));
  }
}

function flip(objects: Objects, key: string, random: Random, within = Infinity): void {
  const bytes = objects.get(key)?.slice();
  if (bytes === undefined) return;
  const at = random.below(Math.min(within, bytes.length));
  bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  objects.set(key, bytes);
}

/** @returns what was done */
function damage(objects: Objects, map: SavedMap, random: Random): string {
  const key = mapPartKey(map.key, random.below(map.parts));
  switch (random.below(5)) {
    case 0:
      for (let part = 0; part < map.parts; part++) objects.delete(mapPartKey(map.key, part));
      return "all of it gone";
    case 1:
      objects.delete(key);
      return `${key} gone`;
    case 2:
      flip(objects, key, random);
      return `a bit of ${key} flipped`;
    case 3: {
      // Behind the head, where there is more than that.
      const bytes = objects.get(key)?.slice();
      if (bytes === undefined || bytes.length < 4200) return "nothing";
      const at = 4096 + random.below(bytes.length - 4096);
      bytes.fill(0, at, at + 512);
      objects.set(key, bytes);
      return `512 bytes of ${key} zeros from ${at} on`;
    }
    default: {
      const bytes = objects.get(key);
      if (bytes === undefined) return "nothing";
      objects.set(key, bytes.slice(0, random.below(bytes.length)));
      return `${key} cut off`;
    }
  }
}

const at = ({ blocks }: StoredMap, block: number) => {
  const leaf = blocks.leaf(block);
  return leaf === undefined || containerAt(leaf, block) === hole
    ? undefined
    : checksumAt(leaf, block);
};

/** @returns what is wrong */
export async function loseMap(
  objects: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  opened: (store: BlockStore) => BlockStore,
  map: SavedMap,
  sizeBlocks: number,
  inherited: SavedMap | "unknown" | undefined,
  random: Random,
  losses: MapLosses,
): Promise<string | undefined> {
  const was = await readStoredMap(opened(new Copy(new Map(objects))), map, sizeBlocks);
  for (let i = 0; i < 4; i++) {
    const copy: Objects = new Map(objects);
    let told = `with map ${map.key} damaged: ${damage(copy, map, random)}`;
    const chunks = [...copy.keys()].filter((key) => key.startsWith("chunks/"));
    let chunk = chunks[random.below(chunks.length)];
    if (random.below(4) > 0) chunk = undefined;
    if (chunk !== undefined) {
      flip(copy, chunk, random, 12288);
      told += `, and the header of ${chunk}`;
    }
    const store = opened(new Copy(copy));
    const made = await rebuildMap(store, map, sizeBlocks, inherited);
    losses.lost++;
    if (made.isExact) losses.exact++;
    else losses.partly++;
    const wrong = await compare(store, made, was, sizeBlocks, chunk);
    if (wrong !== undefined) return `${told}: ${wrong}; told: ${made.told.join("; ")}`;
  }
  return undefined;
}

async function compare(
  store: BlockStore,
  made: Awaited<ReturnType<typeof rebuildMap>>,
  was: StoredMap,
  sizeBlocks: number,
  damagedChunk: string | undefined,
): Promise<string | undefined> {
  const isIn = (ranges: typeof made.unknown, block: number) =>
    ranges.some(({ first, count }) => block >= first && block < first + count);
  for (let block = 0; block < sizeBlocks; block++) {
    if (isIn(made.unknown, block)) continue;
    const [before, now] = [at(was, block), at(made, block)];
    if (before === now || (before === undefined && isIn(made.perhapsTrimmed, block))) {
      // Sealed, the first blocks go with the header, which is not looked at where an inherited map says the places.
      const isSpoilt = damagedChunk !== undefined &&
        placeOf(made, block)?.startsWith(`${damagedChunk}#`);
      if (now !== undefined && isSpoilt !== true) await readBlocks(store, made, block, 1);
      continue;
    }
    return `block ${block} was ${before} at ${placeOf(was, block)} and is ${now} at ${
      placeOf(made, block)
    }`;
  }
  return undefined;
}
