/**
 * An object store that is slow, fails, is away for a time, and to which what a dead process sent may
 * arrive late. What it acknowledged is there for good.
 */
import type { BlockStore } from "../maps/map_objects.ts";
import { SimulatedError } from "./simulated_disk.ts";
import type { World } from "./simulated_world.ts";

export class SimulatedStore implements BlockStore {
  readonly objects = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Once in so many calls it fails; 0 never. */
  faults = 0;
  /** It answers nothing before this time. */
  awayUntil = 0;
  life = 0;

  constructor(readonly world: World) {}

  /** Runs the call's effect after some time, and its answer after some more. */
  async #call<T>(effect: () => T): Promise<T> {
    const { world } = this;
    const life = this.life;
    const never = () => new Promise<never>(() => {});
    await world.wait(world.chance.below(world.once(8) ? 300 : 20));
    if (world.now < this.awayUntil) {
      if (life !== this.life) await never();
      throw new SimulatedError("ECONNREFUSED");
    }
    // Whoever asked may be dead; the request was on its way, and may arrive all the same.
    if (life !== this.life && world.once(2)) await never();
    if (world.once(this.faults)) {
      if (life !== this.life) await never();
      throw new SimulatedError("ECONNRESET");
    }
    const result = effect();
    await world.wait(world.chance.below(5));
    if (life !== this.life) await never();
    // The effect has happened, the answer is lost.
    if (world.once(this.faults)) throw new SimulatedError("ECONNRESET");
    return result;
  }

  put(key: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const copy = body.slice();
    return this.#call(() => void this.objects.set(key, copy));
  }

  get(
    key: string,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#call(() => {
      const bytes = this.objects.get(key);
      if (bytes === undefined || range === undefined) return bytes?.slice();
      return bytes.slice(range.offset, range.offset + range.length);
    });
  }

  delete(key: string): Promise<void> {
    return this.#call(() => void this.objects.delete(key));
  }

  async *list(prefix: string): AsyncGenerator<string> {
    const keys = await this.#call(() =>
      [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort()
    );
    yield* keys;
  }
}
