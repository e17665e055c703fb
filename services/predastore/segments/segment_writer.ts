/**
 * The segments of one directory that this process writes: the active one, and those before it that are not synced yet.
 *
 * Room is reserved at the end of the active segment, any number of writes at once; where it is full the next is begun, once for
 * all who need room. A sync covers what was written when it began: what is still on its way is left to the next.
 */
import type { DiskFile } from "../disk/disk.ts";
import { before } from "./location.ts";
import type { Durable } from "./record.ts";

interface Active {
  readonly id: number;
  readonly file: DiskFile;
  end: number;
  /** Whether something was written into it. */
  isUsed: boolean;
}

export interface Place {
  readonly file: DiskFile;
  readonly segment: number;
  readonly offset: number;
}

interface SegmentWriterOptions {
  readonly segmentBytes: number;
  /** Segment ids below this have been used here before. */
  readonly firstSegment: number;
  /** Makes the file of a segment, durably. */
  readonly open: (id: number) => Promise<DiskFile>;
  /**
   * Called by who begins to write. What it returns throws when the directory was offline since.
   * @throws DirectoryOffline
   */
  readonly begun: () => () => void;
  /** Nothing is known any more of what was written. */
  readonly onSyncFailed: (error: unknown) => void;
}

export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  #active: Active | undefined;
  /** The next segment, while its file is being made: all who need room in it wait for the same one. */
  #opening: { readonly id: number; readonly done: Promise<void> } | undefined;
  #nextSegment: number;
  /** Where the next record would stand, had it no new segment. */
  #end: Durable;
  #durable: Durable;
  /** Writes on their way. */
  readonly #inFlight = new Set<Place>();
  readonly #dirty = new Map<number, DiskFile>();

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#nextSegment = options.firstSegment;
    this.#durable = this.#end = { segment: options.firstSegment, offset: 0 };
  }

  /** Goes on behind the segments that are there. */
  startBehind(segments: readonly number[]): void {
    for (const id of segments) this.#nextSegment = Math.max(this.#nextSegment, id + 1);
    this.#durable = this.#end = { segment: this.#nextSegment, offset: 0 };
  }

  /** The segment that is written now. */
  get activeSegment(): number {
    return this.#active?.id ?? this.#opening?.id ?? this.#nextSegment;
  }

  /** The place before which everything is durable. */
  get durable(): Durable {
    return this.#durable;
  }

  /** The first segment into which something was written that is not known to be durable; Infinity where all is. */
  get firstUnsynced(): number {
    return Math.min(...this.#dirty.keys());
  }

  /** The file of a segment, if it is the active one. */
  activeFile(segment: number): DiskFile | undefined {
    return this.#active?.id === segment ? this.#active.file : undefined;
  }

  /** Reserves room and has `work` write into it. In the same turn: a sync that begins then must know of it. */
  async append<T>(bytes: number, work: (place: Place) => Promise<T>): Promise<T> {
    const check = this.#options.begun();
    let place = this.#place(bytes);
    while (place === undefined) {
      await this.#begin();
      check();
      place = this.#place(bytes);
    }
    this.#inFlight.add(place);
    try {
      const done = await work(place);
      if (this.#active?.id === place.segment) this.#active.isUsed = true;
      return done;
    } finally {
      this.#inFlight.delete(place);
    }
  }

  /** Reserves room in the active segment; undefined where another has to be begun first. */
  #place(bytes: number): Place | undefined {
    const active = this.#active;
    if (active === undefined) return undefined;
    if (active.end + bytes > this.#options.segmentBytes && active.end > 0) return undefined;
    const offset = active.end;
    active.end += bytes;
    this.#end = { segment: active.id, offset: active.end };
    this.#dirty.set(active.id, active.file);
    return { file: active.file, segment: active.id, offset };
  }

  /** Begins the next segment: it is the active one when this returns, unless others have filled it by then. */
  async #begin(): Promise<void> {
    if (this.#opening === undefined) {
      const id = this.#nextSegment++;
      const opening = { id, done: this.#open(id) };
      this.#opening = opening;
      const ended = () => {
        if (this.#opening === opening) this.#opening = undefined;
      };
      void opening.done.then(ended, ended);
    }
    await this.#opening.done;
  }

  async #open(id: number): Promise<void> {
    const check = this.#options.begun();
    const file = await this.#options.open(id);
    try {
      check();
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
    this.leaveActive();
    this.#active = { id, file, end: 0, isUsed: false };
  }

  async sync(): Promise<void> {
    // What is still being written, on any segment, is not covered by the syncs that start now.
    let covered = this.#end;
    const inFlight = [...this.#inFlight];
    const activeNow = this.#active?.id;
    for (const place of inFlight) if (before(place, covered)) covered = place;
    const dirty = [...this.#dirty];
    try {
      await Promise.all(dirty.map(([, file]) => file.sync()));
    } catch (error) {
      // Whatever it was, also want of room: what is lost is told once, and the next sync would know nothing of it.
      this.#options.onSyncFailed(error);
      throw error;
    }
    for (const [id, file] of dirty) {
      // Into what was active when the syncs began, more may have been written since.
      if (
        id === activeNow || id === this.#active?.id ||
        inFlight.some(({ segment }) => segment === id)
      ) continue;
      this.#dirty.delete(id);
      file[Symbol.dispose]();
    }
    const { segment, offset } = covered;
    if (before(this.#durable, covered)) this.#durable = { segment, offset };
  }

  /** The next write begins another segment, where one had no room. Of one that has nothing in it that would be a file for each such write. */
  leaveFull(): void {
    if (this.#active?.isUsed === true) this.leaveActive();
  }

  /** The next write begins another segment. What was written is synced with all else. */
  leaveActive(): void {
    if (this.#active !== undefined && !this.#dirty.has(this.#active.id)) {
      this.#active.file[Symbol.dispose]();
    }
    this.#active = undefined;
  }

  /** Forgets what was written and not synced. */
  drop(): void {
    this.leaveActive();
    this.#opening = undefined;
    for (const file of this.#dirty.values()) file[Symbol.dispose]();
    this.#dirty.clear();
  }
}
