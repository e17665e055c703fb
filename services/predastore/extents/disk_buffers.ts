/**
 * Memory that disks read into and write from, which goes round: fresh memory for each transfer costs as
 * much as all the rest of it, and more when it is collected.
 *
 * Long buffers are places in slabs of huge pages, which is what makes transfers past the page cache
 * quick (`ffi/huge_pages.ts`). Lengths are rounded up to few sizes, each of which has slabs of its own. A
 * slab in which nobody has anything is freed at once, but for the few that are kept.
 *
 * Who cannot know whether a transfer still goes on in a buffer never gives it back. Then its place is lost, and
 * the collector takes the slab once all its places are lost, or given back and wanted no more.
 */
import { alignedBuffer } from "../../../ffi/direct_io.ts";
import { hugePages } from "../../../ffi/huge_pages.ts";
import { BufferPool } from "./buffer_pool.ts";
import { freeMemory } from "./piece_memory.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const slab_bytes = 8 << 20;
/** Slabs that nobody uses now. */
const keptSlabs = 2;
/** Shorter ones are memory of their own: a huge page for each of many lengths would be wasted. */
const shortest_bytes = 128 * 1024;
const keptShort = 64;

interface Slab {
  readonly memory: Bytes;
  readonly place_bytes: number;
  readonly places: number;
  readonly free: number[];
}

/** Eight sizes between each power of two and the next. */
function sizeFor(length: number): number {
  const step = 2 ** Math.floor(Math.log2(length)) / 8;
  return Math.ceil(length / step) * step;
}

export class DiskBuffers {
  /** By the size of their places: those that have a free one, the oldest first, so that the newest fall idle. */
  readonly #roomy = new Map<number, Slab[]>();
  readonly #slabs = new WeakMap<ArrayBuffer, Slab>();
  #idle = 0;
  readonly #short = new BufferPool(keptShort);
  readonly #lentShort = new WeakMap<ArrayBuffer, Bytes>();

  /** Memory of exactly so many bytes, page-aligned, with anything in it. */
  take(length: number): Bytes {
    if (length > slab_bytes) return alignedBuffer(length);
    if (length < shortest_bytes) {
      const buffer = this.#short.take(length);
      this.#lentShort.set(buffer.buffer, buffer);
      return buffer;
    }
    const size = sizeFor(length);
    let roomy = this.#roomy.get(size);
    if (roomy === undefined) this.#roomy.set(size, roomy = []);
    let slab = roomy[0];
    if (slab === undefined) {
      const places = Math.floor(slab_bytes / size);
      const free = Array.from({ length: places }, (_, at) => places - 1 - at);
      slab = { memory: hugePages(slab_bytes), place_bytes: size, places, free };
      this.#slabs.set(slab.memory.buffer, slab);
      roomy.push(slab);
    } else if (slab.free.length === slab.places) this.#idle--;
    const start = (slab.free.pop() ?? 0) * size;
    if (slab.free.length === 0) roomy.shift();
    return slab.memory.subarray(start, start + length);
  }

  /** What `bytes` stands in may be used again. Giving back twice, or what was never taken, does nothing. */
  give({ buffer, byteOffset }: Bytes): void {
    const short = this.#lentShort.get(buffer);
    if (short !== undefined) {
      this.#lentShort.delete(buffer);
      this.#short.give(short);
      return;
    }
    const slab = this.#slabs.get(buffer);
    if (slab === undefined) return;
    const place = Math.floor((byteOffset - slab.memory.byteOffset) / slab.place_bytes);
    if (slab.free.includes(place)) return;
    slab.free.push(place);
    const roomy = this.#roomy.get(slab.place_bytes) as Slab[];
    if (slab.free.length === 1) roomy.push(slab);
    if (slab.free.length < slab.places) return;
    this.#idle++;
    if (this.#idle <= keptSlabs) return;
    this.#idle--;
    roomy.splice(roomy.indexOf(slab), 1);
    freeMemory(slab.memory);
  }
}
