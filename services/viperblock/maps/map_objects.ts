/**
 * Maps in the object store: immutable, in parts of about 1 MiB, under a key that names the volume and the
 * epoch that wrote them. A map is complete when a record in the state tables names it and its number
 * of parts; parts that no record names are left-overs of a crash.
 */
import { joined } from "../../aws/bytes.ts";
import { DamagedData } from "../format.ts";
import { loadMap } from "./map_reader.ts";
import { chunkTableEnd, readChunkTable, readMapHead, type StoredChunk } from "./map_stream.ts";

/** What the engine needs of an object store. */
export interface BlockStore {
  put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void>;
  get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined>;
  delete(key: string): Promise<void>;
  list(prefix: string): AsyncIterable<string>;
}

/** The store for who waits for no answer once the signal has come. */
export function untilAborted(store: BlockStore, signal: AbortSignal): BlockStore {
  const orAborted = async <T>(asked: Promise<T>): Promise<T> => {
    const { promise, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    try {
      return await Promise.race([asked, promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  };
  return {
    put: (key, body) => orAborted(store.put(key, body)),
    get: (key, range) => orAborted(store.get(key, range)),
    delete: (key) => orAborted(store.delete(key)),
    async *list(prefix) {
      const keys = store.list(prefix)[Symbol.asyncIterator]();
      let isOver = false;
      try {
        while (!isOver) {
          const next = await orAborted(keys.next());
          isOver = next.done === true;
          if (!isOver) yield next.value;
        }
      } finally {
        // What it holds of the store is let go of. A question that nobody waits for any more is answered first, if ever.
        const closed = isOver ? undefined : keys.return?.();
        if (signal.aborted) closed?.catch(() => {});
        else await closed;
      }
    },
  };
}

export interface SavedMap {
  /** Prefix of the parts' keys. */
  readonly key: string;
  readonly parts: number;
  /** The epoch that wrote it. */
  readonly epoch: number;
  /** Blocks that are not holes. */
  readonly mapped_blocks: number;
  /** The last log sequence that it contains, of one that was frozen while its volume was written to. */
  readonly sequence?: number;
  /** Volumes whose chunks it refers to. */
  readonly owners: readonly string[];
}

/** The volume that wrote a map. */
export function mapOwner(map: SavedMap): string {
  return map.key.split("/")[1] ?? "";
}

/**
 * The map with which a mount ends. Each attempt has a key of its own: what the store was sent in one that it did not take all
 * of may land during the next, or after it.
 */
export const mapKey = (volumeId: string, epoch: number, attempt = 1) =>
  `maps/${volumeId}/${epoch.toString(16).padStart(8, "0")}${attempt === 1 ? "" : `.${attempt}`}`;

/** A map that was frozen while the volume was mounted in that epoch. */
export const frozenMapKey = (volumeId: string, epoch: number, number: number) =>
  `${mapKey(volumeId, epoch)}-${number.toString().padStart(6, "0")}`;

export const mapPartKey = (key: string, part: number) =>
  `${key}/${part.toString().padStart(6, "0")}`;

async function part(store: BlockStore, map: SavedMap, number: number) {
  const bytes = await store.get(mapPartKey(map.key, number));
  if (bytes === undefined) {
    throw new DamagedData(`part ${number} of map ${map.key} is not in the object store`);
  }
  return bytes;
}

/** The parts of a map in order. */
export async function* mapParts(
  store: BlockStore,
  map: SavedMap,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let number = 0; number < map.parts; number++) yield await part(store, map, number);
}

/** A whole map. */
export async function readMap(store: BlockStore, map: SavedMap): Promise<Uint8Array<ArrayBuffer>> {
  const parts = await Array.fromAsync(mapParts(store, map));
  return joined(parts);
}

/**
 * The chunks that a map refers to; reads no more of it than its table, where that has a checksum of its own.
 * @throws DamagedData when the table is not what was written
 */
export async function mapChunks(store: BlockStore, map: SavedMap): Promise<StoredChunk[]> {
  let bytes = await part(store, map, 0);
  const head = readMapHead(bytes);
  if (head.tableChecksum === 0) {
    const chunks: StoredChunk[] = [];
    loadMap(await readMap(store, map), {
      chunk: (_, chunk) => chunk === undefined ? undefined : chunks.push(chunk),
      block() {},
    });
    return chunks;
  }
  for (let number = 1; number < map.parts && bytes.length < chunkTableEnd(head); number++) {
    bytes = joined([bytes, await part(store, map, number)]);
  }
  return readChunkTable(bytes, head).filter((chunk) => chunk !== undefined);
}
