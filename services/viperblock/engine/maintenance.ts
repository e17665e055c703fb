/**
 * Keeps the log in room: asks for new segment files while the budget allows, drains and checkpoints
 * when the log grows, gives freed files back to the log, and says when the disk is full.
 *
 * Under pressure writes wait (they find no segment); when they have waited longer than the patience
 * and nothing was freed, `full` is set and they fail with ENOSPC until there is room again. Data
 * that was acknowledged is never touched by any of this.
 */
import { blockBytes } from "../format.ts";
import type { Machine, OpenFile } from "../machine/machine.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { Checkpointer } from "./checkpoint.ts";
import type { Drainer } from "./drainer.ts";
import type { LogWriter } from "./log_writer.ts";
import type { Places, Segment } from "./places.ts";

/** Files that are kept ready, so that the log never waits for one under load. */
const wantedSpares = 3;
/**
 * Until this part of a segment was written one is enough: it is only set aside, which takes no time, and what was never written
 * costs the next opening nothing, while each file of zeros is read by it from end to end.
 */
const firstPart = 1 / 8;
/** Freed files beyond these, and beyond a quarter of the budget, are removed. */
const minimumKept = 4;
/** A checkpoint is worth it when it frees this many times its own bytes. */
const worthwhile = 8;
/** Bytes of a checkpoint for each mapped block, when blocks are scattered. */
const checkpointBytesPerBlock = 20;
/**
 * After so many segments of log a checkpoint is taken: the next opening reads what came after it, and a guest
 * waits for that. At least one in `seldom` bytes written is then one of a checkpoint.
 */
const fewestBetween = 2;
const mostBetween = 16;
const seldom = 32;
/** Nor more often than this: reading the log again takes about as long as writing it did. */
const leastBetweenMs = 250;

export interface MaintenanceOptions {
  readonly machine: Machine;
  readonly places: Places;
  readonly log: LogWriter;
  readonly drainer: Drainer;
  readonly checkpointer: Checkpointer;
  readonly segmentBudget: number;
  readonly spacePatienceMs: number;
  readonly post: (message: FromWorker) => void;
}

export class Maintenance {
  readonly #o: MaintenanceOptions;
  readonly #retiring: Segment[] = [];
  #asked = false;
  #refusedAt = 0;
  #starvedSince = 0;
  #drainFailedAt = 0;
  #checkpointAt = -Infinity;
  /** Writes have waited too long for space. */
  full = false;

  constructor(options: MaintenanceOptions) {
    this.#o = options;
  }

  /** Something here waits for time to pass. */
  get wantsTick(): boolean {
    return this.#retiring.length > 0 || this.#drainFailedAt > 0 || this.#refusedAt > 0;
  }

  /** Asks the main thread for a log file. */
  wantSegment(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#o.post({ kind: "segment_wanted" });
  }

  segmentCame(file: OpenFile): void {
    this.#asked = false;
    this.#refusedAt = 0;
    this.#addSpare(file);
  }

  segmentRefused(): void {
    this.#asked = false;
    this.#refusedAt = this.#o.machine.now();
    if (this.#starvedSince === 0) this.#starvedSince = this.#refusedAt;
  }

  #addSpare(file: OpenFile): void {
    this.#o.log.spares.push(file);
    this.#starvedSince = 0;
    this.full = false;
  }

  /** Moves on when time has passed; used while the log has not begun yet. */
  tick(): void {
    const now = this.#o.machine.now();
    if (this.#refusedAt > 0 && now - this.#refusedAt > 500) {
      this.#refusedAt = 0;
      this.wantSegment();
    }
    if (this.#starvedSince > 0 && now - this.#starvedSince > this.#o.spacePatienceMs) {
      this.full = true;
    }
  }

  /** These segments hold nothing that any durable map refers to. */
  retire(segments: readonly Segment[]): void {
    for (const segment of segments) {
      // A reader may hold a segment for so long that the next checkpoint frees it once more; given
      // back twice, its file would become two segments.
      const known = this.#o.places.segments.get(segment.number) === segment;
      if (known && !this.#retiring.includes(segment)) this.#retiring.push(segment);
    }
    this.#recycle();
  }

  #recycle(): void {
    const { places, log, post, machine } = this.#o;
    for (let i = this.#retiring.length - 1; i >= 0; i--) {
      const segment = this.#retiring[i] as Segment;
      if (segment.readers > 0) continue;
      this.#retiring.splice(i, 1);
      const file = places.removeSegment(segment);
      // A file that was written once is worth more than its space while the log is busy.
      // One that an earlier process may still be writing to is worth nothing.
      const wanted = log.spares.length < Math.max(minimumKept, this.#o.segmentBudget >> 2);
      if (wanted && !segment.inherited) {
        this.#addSpare(file);
      } else {
        machine.disk.close(file.fd);
        post({ kind: "drop_file", path: file.path });
      }
    }
  }

  /** The volume is stopped: the next opening would only read and remove them. */
  dropSpares(): void {
    for (const { fd, path } of this.#o.log.spares.splice(0)) {
      this.#o.machine.disk.close(fd);
      this.#o.post({ kind: "drop_file", path });
    }
  }

  /** Once each turn. @param stalled something waits for room */
  advance(stalled: boolean): void {
    const { log, places, segmentBudget } = this.#o;
    if (this.#retiring.length > 0) this.#recycle();
    const starving = stalled && log.starved && log.spares.length === 0;
    if (starving && this.#starvedSince === 0) this.#starvedSince = this.#o.machine.now();
    if (!starving && log.spares.length > 0) {
      this.#starvedSince = 0;
      this.full = false;
    }
    if (this.#refusedAt > 0 || this.#starvedSince > 0) this.tick();
    const segments = places.segments.size;
    const isYoung = log.writtenBytes < firstPart * places.segmentLength * blockBytes;
    if (log.spares.length < (isYoung ? 1 : wantedSpares) && !this.#reuse()) {
      if (this.#refusedAt === 0 && segments + log.spares.length < segmentBudget) {
        this.wantSegment();
      }
    }
    // A file that is being made ends the hunger sooner than a chunk that is stored, and what has been
    // drained is read from the object store from then on.
    const noneComes = this.#refusedAt > 0 || (starving && !this.#asked);
    if (segments > segmentBudget >> 1 || noneComes) this.#makeRoom();
    const { checkpointer, machine } = this.#o;
    if (checkpointer.running) return;
    if (log.writtenBytes - checkpointer.lastAtBytes <= this.#between()) return;
    const now = machine.now();
    if (now - this.#checkpointAt < leastBetweenMs) return;
    this.#checkpointAt = now;
    checkpointer.start(undefined);
  }

  /** Bytes of the log between two checkpoints. */
  #between(): number {
    const { map, segmentLength } = this.#o.places;
    const segmentBytes = segmentLength * blockBytes;
    const wanted = seldom * checkpointBytesPerBlock * map.mappedBlocks;
    return Math.max(fewestBetween * segmentBytes, Math.min(mostBetween * segmentBytes, wanted));
  }

  #dead(): number {
    let dead = 0;
    for (const segment of this.#o.places.segments.values()) {
      if (segment.sealed && segment.live === 0 && !this.#retiring.includes(segment)) dead++;
    }
    return dead;
  }

  /** Frees dead segments when there are enough of them; returns whether that is under way. */
  #reuse(): boolean {
    const { places, checkpointer } = this.#o;
    if (checkpointer.running) return true;
    const cost = worthwhile * checkpointBytesPerBlock * places.map.mappedBlocks;
    if (this.#drainFailedAt > 0 || this.#dead() * places.segmentLength * blockBytes <= cost) {
      return false;
    }
    checkpointer.start(undefined, (ok) => this.#settled(ok));
    return true;
  }

  #makeRoom(): void {
    const { places, drainer, checkpointer, log } = this.#o;
    if (drainer.running || checkpointer.running) return;
    if (this.#drainFailedAt > 0) {
      if (this.#o.machine.now() - this.#drainFailedAt < 1000) return;
      this.#drainFailedAt = 0;
    }
    const dead = this.#dead();
    // A checkpoint is worth its bytes when it frees several segments, or when nothing else is left.
    if (dead >= Math.max(1, places.segments.size >> 3) || (dead > 0 && log.spares.length === 0)) {
      checkpointer.start(undefined, (ok) => this.#settled(ok));
      return;
    }
    drainer.start((ok) => this.#settled(ok));
  }

  #settled(ok: boolean): void {
    this.#drainFailedAt = ok ? 0 : this.#o.machine.now();
  }
}
