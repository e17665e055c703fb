/**
 * Crashes and damages beside a history that goes on: whenever something has changed of what a crash would leave, or of
 * what was promised, that is opened by the engine's own recovery and held against the same promises.
 *
 * It draws from chances of its own, so that looking changes nothing of the history.
 */
import { blockBytes, DamagedData } from "../../services/viperblock/format.ts";
import type { CrashKind } from "../../services/viperblock/machine/simulated_disk.ts";
import type { VolumeRow } from "../../services/viperblock/records.ts";
import { Random } from "../kit/random.ts";
import { type Found, openFound, salvageFound, type SoughtVolume } from "./crash_branch.ts";
import { loseMap, noMapLosses } from "./map_loss.ts";
import type { OpenedVolume } from "./opened_volume.ts";
import { type Promises, Violation } from "./promises.ts";
import { geometry, type SimulatedCloud } from "./simulated_cloud.ts";

export class BesideHistory {
  readonly #cloud: SimulatedCloud;
  readonly #promises: Promises;
  readonly #branching: Random;
  readonly #flipping: Random;
  readonly #losing: Random;
  /** What the last look was at. */
  #looked = "";
  #branches = 0;
  #damaged = 0;
  #refused = 0;
  #cut = 0;
  readonly #maps = noMapLosses();

  /** @param branching draws what a crash leaves */
  constructor(seed: number, branching: Random, cloud: SimulatedCloud, promises: Promises) {
    this.#cloud = cloud;
    this.#promises = promises;
    this.#branching = branching;
    this.#flipping = new Random(seed ^ 0x5bd1e995);
    this.#losing = new Random(seed ^ 0x27d4eb2f);
  }

  get report() {
    return {
      /** Crashes beside the history, at moments at which it went on. */
      branches: this.#branches,
      /** Bits and sectors that were damaged in the flushed log, and openings refused for that. */
      damaged: this.#damaged,
      refused: this.#refused,
      /** Of those, volumes that could only be shown as they were before the damage. */
      cut: this.#cut,
      /** Saved maps that were damaged, and how well they were made anew. */
      maps: this.#maps,
    };
  }

  /** Looks at what a crash would leave, if that or what was promised has changed. */
  look(opened: OpenedVolume): void {
    const { acknowledged, durable } = this.#promises.history;
    const now = `${this.#cloud.disk.version} ${acknowledged} ${durable}`;
    if (now === this.#looked || opened.ended) return;
    this.#looked = now;
    const must = this.#promises.now;
    this.#branch(opened, "process", must.process);
    this.#branch(opened, "power", must.power);
    if (this.#flipping.below(3) === 0) this.#damage(opened);
  }

  #sought({ volumeId }: OpenedVolume): SoughtVolume {
    const { history } = this.#promises;
    const encryption = this.#cloud.keys?.encryption(volumeId);
    return {
      volumeId,
      sizeBlocks: history.sizeBlocks,
      geometry,
      chunkOf: (key) => this.#cloud.chunk(key),
      zero: history.zero,
      ...(encryption === undefined ? {} : { encryption }),
    };
  }

  #branch(opened: OpenedVolume, kind: CrashKind, must: number): void {
    this.#branches++;
    const told = `in branch ${this.#branches} (${kind} ends at ${this.#cloud.world.now})`;
    let found: Found;
    try {
      found = openFound(opened.machine.ring.found(kind, this.#branching), this.#sought(opened));
    } catch (cause) {
      throw new Violation(`${told} the volume was not opened: ${cause}`, { cause });
    }
    const [unreadable] = found.unreadable;
    if (unreadable !== undefined) {
      throw new Violation(`${told} block ${unreadable} does not match its checksum`);
    }
    const wrong = found.wrong[0] ?? this.#promises.history.judge(found.contents, must);
    if (wrong !== undefined) throw new Violation(`${told} ${wrong}`);
  }

  /** The process ends, and something of what was flushed is not what was written. */
  #damage(opened: OpenedVolume): void {
    const damage = this.#cloud.disk.damageToLog(this.#flipping);
    if (damage === undefined) return;
    this.#damaged++;
    const { history, marked } = this.#promises;
    const told = `with ${JSON.stringify(damage)} damaged`;
    const disk = opened.machine.ring.found("process", this.#flipping);
    disk.damage(damage.path, damage);
    let found: Found;
    try {
      found = openFound(disk, this.#sought(opened));
    } catch (cause) {
      if (!(cause instanceof DamagedData)) throw new Violation(`${told}: ${cause}`, { cause });
      this.#refused++;
      const salvaged = salvageFound(disk, this.#sought(opened));
      found = salvaged;
      if (salvaged.isCut) {
        this.#cut++;
        // It is as it was before the damage, which may be before this history begins.
        const garbage = found.contents.findIndex((content) => !history.knows(content));
        if (garbage >= 0) throw new Violation(`${told}: block ${garbage} was never written so`);
        if (found.wrong.length > 0) throw new Violation(`${told}: ${found.wrong[0]}`);
        return;
      }
    }
    // What came after the last flush that any batch names may end there, as it may in a torn write.
    const wrong = found.wrong[0] ?? history.judge(found.contents, marked);
    if (wrong !== undefined) throw new Violation(`${told}, ${this.#cloud.world.now}: ${wrong}`);
  }

  /** The volume's saved map is damaged, and made anew. */
  async loseMap({ map, size_bytes }: VolumeRow): Promise<void> {
    if (map === undefined) return;
    const wrong = await loseMap(
      this.#cloud.store.objects,
      (store) => this.#cloud.sealed(store),
      map,
      size_bytes / blockBytes,
      this.#cloud.rows.inheritedBy(map),
      this.#losing,
      this.#maps,
    );
    if (wrong !== undefined) throw new Violation(wrong);
  }
}
