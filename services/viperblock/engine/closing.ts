/**
 * The end of a mount: connections go, the log is synced, and for an unmount all data and the map are
 * stored before the end is told.
 *
 * Each step begins when the one before it is over; nothing is waited for in between, the volume's loop
 * comes by at every turn. An unmount that the store cannot take all of is given up, and the volume is
 * served again: nothing is lost. A stop needs the log alone, which is replayed at the next mount.
 *
 * What always holds: when the end is told nothing of the volume is in the ring that refers to memory, since that is given
 * back then, and the kernel would read or write whatever has its place by that time.
 */
import type { BlockMap } from "../maps/block_map.ts";
import type { FromWorker } from "../mounts/mailbox.ts";
import type { Checkpointer } from "./checkpoint.ts";
import type { Door } from "./door.ts";
import type { Drainer } from "./drainer.ts";
import type { LogWriter } from "./log_writer.ts";
import type { PartialWrites } from "./partial_writes.ts";
import type { Places } from "./places.ts";
import type { Snapshotter } from "./snapshotter.ts";

export interface ClosingParts {
  readonly door: Door;
  readonly partial: PartialWrites;
  readonly log: LogWriter;
  readonly drainer: Drainer;
  readonly checkpointer: Checkpointer;
  readonly map: BlockMap;
  readonly places: Places;
  readonly snapshotter: Snapshotter;
  readonly chunkCache: { readonly idle: boolean } | undefined;
  readonly maintenance: { dropSpares(): void };
  /** Where the map goes at an unmount, and at each further attempt, from 1. */
  readonly mapKey: (attempt: number) => string;
  readonly post: (message: FromWorker) => void;
}

export class Closing {
  readonly #door: Door;
  readonly #partial: PartialWrites;
  readonly #log: LogWriter;
  readonly #drainer: Drainer;
  readonly #checkpointer: Checkpointer;
  readonly #map: BlockMap;
  readonly #places: Places;
  readonly #snapshotter: Snapshotter;
  readonly #chunkCache: ClosingParts["chunkCache"];
  readonly #maintenance: ClosingParts["maintenance"];
  readonly #mapKey: ClosingParts["mapKey"];
  /** Attempts to store the map. */
  #attempts = 0;
  readonly #post: (message: FromWorker) => void;
  #underWay = false;
  #finished = false;
  #for: "unmount" | "stop" = "stop";
  /** It is to be stopped, should the unmount come to nothing. */
  #stopsThen = false;
  #step: "connections" | "flush" | "drain" | "save" | "quiet" | "over" = "over";
  /** What is told when all is quiet. */
  #end: () => void = () => {};

  constructor(parts: ClosingParts) {
    this.#door = parts.door;
    this.#partial = parts.partial;
    this.#log = parts.log;
    this.#drainer = parts.drainer;
    this.#checkpointer = parts.checkpointer;
    this.#map = parts.map;
    this.#places = parts.places;
    this.#snapshotter = parts.snapshotter;
    this.#chunkCache = parts.chunkCache;
    this.#maintenance = parts.maintenance;
    this.#mapKey = parts.mapKey;
    this.#post = parts.post;
  }

  get underWay(): boolean {
    return this.#underWay;
  }

  /** The volume is closed, and its loop ends. */
  get finished(): boolean {
    return this.#finished;
  }

  begin(how: "unmount" | "stop"): void {
    if (this.#underWay) {
      // The log of a stop stays as it is, with blocks that no map in the store may name.
      this.#stopsThen ||= how === "stop";
      return;
    }
    this.#underWay = true;
    this.#stopsThen = false;
    this.#for = how;
    this.#step = "connections";
    this.#door.stopListening();
  }

  /** Returns whether it moved on, so that the loop does not wait. */
  advance(): boolean {
    switch (this.#step) {
      case "connections": {
        this.#door.dropClients();
        if (this.#door.anyOpen || !this.#partial.idle) return false;
        if (this.#chunkCache?.idle === false) return false;
        if (this.#for === "unmount") this.#log.sealSegment();
        this.#step = "flush";
        let synced = false;
        const stopped = () => this.#stopped();
        this.#log.flushThen(() => {
          synced = true;
          if (this.#for === "unmount") this.#step = "drain";
          // The log that stays behind says itself that all of it was durable.
          else if (this.#log.markAtEnd()) this.#log.flushThen(() => this.#whenQuiet(stopped));
          else this.#whenQuiet(stopped);
        });
        this.#log.advance();
        return synced;
      }
      case "drain": {
        if (this.#drainer.running || this.#checkpointer.running) return false;
        if (!this.#snapshotter.idle) {
          // It tries again for as long as the volume is served; an unmount does not.
          if (this.#snapshotter.isFailing) this.#endUnmount(false);
          return false;
        }
        const more = this.#drainer.start((ok) => {
          if (!ok) this.#endUnmount(false);
        });
        if (more) return true;
        this.#step = "save";
        this.#checkpointer.start(this.#mapKey(++this.#attempts), (ok) => {
          if (ok) this.#whenQuiet(() => this.#endUnmount(true));
          else this.#endUnmount(false);
        });
        this.#log.advance();
        return true;
      }
      case "quiet": {
        if (!this.#log.idle || this.#drainer.reading || this.#chunkCache?.idle === false) {
          return false;
        }
        this.#step = "over";
        this.#finished = true;
        this.#end();
        return true;
      }
      default:
        return false;
    }
  }

  #whenQuiet(end: () => void): void {
    this.#end = end;
    this.#step = "quiet";
  }

  #stopped(): void {
    this.#maintenance.dropSpares();
    this.#post({ kind: "stopped" });
  }

  #endUnmount(ok: boolean): void {
    const owners = new Set<string>();
    for (const chunk of this.#places.chunks) {
      if (chunk !== undefined && chunk.live > 0) owners.add(chunk.name.owner);
    }
    this.#post({
      kind: "unmounted",
      ok,
      key: this.#mapKey(this.#attempts),
      mapped_blocks: this.#map.mappedBlocks,
      owners: [...owners],
    });
    if (ok) return;
    this.#step = "over";
    if (this.#stopsThen) {
      this.#for = "stop";
      this.#step = "connections";
      return;
    }
    // The store could not take it all: the volume is served again, and nothing is lost.
    this.#underWay = false;
    this.#door.listenAgain();
  }
}
