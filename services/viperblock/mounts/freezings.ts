/** Snapshots that a volume's worker has begun: each has a moment, which is over soon, and a map that is stored in the background. */
import { frozenMapKey, type SavedMap } from "../maps/map_objects.ts";
import type { FromWorker } from "./mailbox.ts";
import { WorkerFailed } from "./mount_options.ts";

interface Freezing {
  readonly captured: PromiseWithResolvers<number>;
  readonly frozen: PromiseWithResolvers<SavedMap>;
}

export interface Frozen {
  readonly size_bytes: number;
  /** The frozen map, when the store has it. */
  readonly stored: Promise<SavedMap>;
}

export class Freezings {
  readonly #volumeId: string;
  readonly #epoch: number;
  readonly #underWay = new Map<string, Freezing>();
  #count = 0;

  constructor(volumeId: string, epoch: number) {
    this.#volumeId = volumeId;
    this.#epoch = epoch;
  }

  /**
   * The moment has passed when this returns.
   * @param order tells the worker to freeze under that key
   * @throws WorkerFailed
   */
  async begin(order: (key: string) => void): Promise<Frozen> {
    const key = frozenMapKey(this.#volumeId, this.#epoch, ++this.#count);
    const freezing: Freezing = {
      captured: Promise.withResolvers(),
      frozen: Promise.withResolvers(),
    };
    freezing.frozen.promise.catch(() => {});
    this.#underWay.set(key, freezing);
    order(key);
    const size_bytes = await freezing.captured.promise;
    return { size_bytes, stored: freezing.frozen.promise };
  }

  captured({ key, size_bytes }: FromWorker & { kind: "captured" }): void {
    this.#underWay.get(key)?.captured.resolve(size_bytes);
  }

  /** @param parts of the map, as it was stored */
  frozen(message: FromWorker & { kind: "frozen" }, parts: number): void {
    const { key, mapped_blocks, sequence, owners } = message;
    const freezing = this.#underWay.get(key);
    this.#underWay.delete(key);
    freezing?.frozen.resolve({ key, parts, epoch: this.#epoch, mapped_blocks, sequence, owners });
  }

  /** The engine has ended: what is not stored is lost. */
  end(): void {
    for (const { captured, frozen } of this.#underWay.values()) {
      const failed = new WorkerFailed("the engine ended before the snapshot was stored", false);
      captured.reject(failed);
      frozen.reject(failed);
    }
    this.#underWay.clear();
  }
}
