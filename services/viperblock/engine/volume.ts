/**
 * One mounted volume, in its worker: the loop that blocks in the ring and everything that it turns.
 * There are no promises here: each turn reaps completions, moves every part on as far as it
 * goes, and waits for the next completion.
 *
 * A write is answered when it and all before it are in the log; a flush when the log is synced. A
 * failure of the log ends the loop by an exception: sockets are closed, the main thread starts a
 * new worker, and clients reconnect and repeat what they had no answer to.
 */
import { blockBytes, UnreadableData } from "../format.ts";
import type { Machine } from "../machine/machine.ts";
import type { FromWorker, ToWorker, VolumeStatistics } from "../mounts/mailbox.ts";
import { Audit } from "./audit.ts";
import type { Door } from "./door.ts";
import { Parts } from "./parts.ts";
import type { Places } from "./places.ts";
import type { Inside, VolumeOptions } from "./volume_options.ts";

/** Of the map, in one part of an audit: guests wait for it. */
const auditedLeaves = 4;

export class Volume {
  readonly #machine: Machine;
  readonly #post: (message: FromWorker) => void;
  readonly #parts: Parts;
  #phase: "opening" | "marking" | "serving" = "opening";
  /** What the disk said when it made no log file, though it may have room. */
  #refusal: string | undefined;
  #checkpointsWanted = 0;
  #audit: Audit | undefined;

  /** Recovers the volume from its directory. @throws DamagedData, RingUnavailable, SystemError */
  constructor(
    options: VolumeOptions,
    machine: Machine,
    post: (message: FromWorker) => void,
    openDoor: (inside: Inside) => Door,
  ) {
    this.#machine = machine;
    this.#post = post;
    this.#parts = new Parts(options, machine, post, openDoor);
    this.#parts.maintenance.wantSegment();
  }

  /** Told to stop or unmount, and done with it. */
  get finished(): boolean {
    return this.#parts.closing.finished;
  }

  /** What each container holds, for whoever checks the books. */
  get places(): Places {
    return this.#parts.places;
  }

  /** Everything that was under way is over and was seen to be. */
  release(): void {
    this.#parts.release();
  }

  /** Lets go of files, sockets and the ring. Memory stays: the kernel may still be using it. */
  close(): void {
    this.#parts.close();
  }

  /** Moves everything on as far as it goes, then waits for a completion if nothing else is to do. */
  turn(): void {
    if (this.#phase !== "serving") {
      this.#begin();
      return;
    }
    const {
      clock,
      log,
      partial,
      maintenance,
      door,
      fetcher,
      chunkCache,
      closing,
      drainer,
      snapshotter,
      compactor,
      ticker,
      reader,
    } = this.#parts;
    clock.expire();
    log.advance();
    let again = partial.advance(maintenance.full);
    again = door.advance(maintenance.full) || again;
    const stalled = partial.waiting || door.stalled;
    fetcher.advance();
    chunkCache.paused = closing.underWay;
    if (drainer.running) chunkCache.prepare();
    chunkCache.advance();
    snapshotter.advance();
    if (this.#checkpointsWanted > 0) this.#checkpoint();
    maintenance.advance(stalled);
    if (!closing.underWay) compactor.advance();
    // What the stages after it have put into the log must not wait for an unrelated event.
    log.advance();
    if (
      stalled || log.unmarked || maintenance.wantsTick || door.wantsTick ||
      snapshotter.wantsTick || compactor.wantsTick
    ) ticker.start(door.throttled);
    if (closing.underWay) again = closing.advance() || again;
    // Its memory is given back now: nothing may be begun in it any more.
    if (closing.finished) return;
    reader.advance();
    const mayWait = !again && !log.holding && !door.hasReplies;
    log.endHold();
    // What the wait brings is done when it is over.
    clock.expire();
    // Who writes is answered by one completion.
    const worthWaiting = log.idle ? reader.awaited : 1;
    this.#machine.ring.turn(mayWait ? worthWaiting : 0);
  }

  /** Gets a segment and states in it, durably, where this epoch's log begins; then serves. */
  #begin(): void {
    const { log, door, replayed, maintenance, ticker } = this.#parts;
    if (this.#phase === "opening" && log.spares.length > 0) {
      this.#phase = "marking";
      log.mark();
      log.flushThen(() => {
        this.#phase = "serving";
        door.listen();
        this.#post({ kind: "ready", replayed_batches: replayed });
      });
    }
    if (this.#phase === "opening") {
      // Room may come while it is waited for; whoever opens the volume asks such a disk again, and serves it for reading then.
      if (this.#refusal !== undefined) {
        throw new UnreadableData(`no log file can be made: ${this.#refusal}`);
      }
      if (maintenance.full) throw new Error("there is no disk space for a log segment");
      maintenance.tick();
      ticker.start(door.throttled);
    }
    log.advance();
    this.#machine.ring.turn((this.#phase as string) === "serving" ? 0 : 1);
  }

  /** A message of the main thread. */
  deliver(message: ToWorker): void {
    const parts = this.#parts;
    if (parts.closing.finished) return;
    switch (message.kind) {
      case "segment":
        parts.maintenance.segmentCame(this.#machine.disk.open(message.path));
        return;
      case "segment_refused":
        this.#refusal = message.isLost === true ? message.reason : undefined;
        parts.maintenance.segmentRefused();
        parts.chunkCache.giveWay();
        return;
      case "cache_file":
        parts.chunkCache.fileCame(message.path);
        return;
      case "cache_refused":
        parts.chunkCache.fileRefused();
        return;
      case "cache_allowed":
        parts.chunkCache.allow(message.files);
        return;
      case "fetched":
        if (message.id < 0) parts.compactor.fetched(message.id, message.ok);
        else parts.fetcher.finished(message.id, message.ok);
        return;
      case "stored":
        parts.drainer.storedChunk(message.ok);
        return;
      case "piece_written":
        parts.checkpointer.pieceWritten(message.ok);
        return;
      case "freeze":
        parts.snapshotter.freeze(message.key);
        return;
      case "resize":
        parts.map.sizeBlocks = message.size_bytes / blockBytes;
        parts.throttle.set(message.limits);
        parts.door.resized(message.size_bytes);
        this.#post({ kind: "resized", size_bytes: message.size_bytes });
        return;
      case "sync_mode":
        parts.commands.sync = message.sync;
        this.#post({ kind: "sync_mode_set" });
        return;
      case "checkpoint":
        this.#checkpointsWanted++;
        return;
      case "audit":
        this.#auditPart(message.begins);
        return;
      case "held":
        this.#post({ kind: "held", ...parts.holdings.held() });
        return;
      case "unshared":
        parts.holdings.unshare(message.chunks, message.freezes);
        this.#post({ kind: "unshared" });
        return;
      case "unmount":
        parts.closing.begin("unmount");
        return;
      case "stop":
        parts.closing.begin("stop");
        return;
      case "report":
        this.#post({ kind: "report", statistics: this.statistics() });
        return;
    }
  }

  /** For whoever asked by now, when none is under way; at the end of a mount there is none to be had. */
  #checkpoint(): void {
    const { checkpointer, closing } = this.#parts;
    if (checkpointer.running && !closing.underWay) return;
    const asked = this.#checkpointsWanted;
    this.#checkpointsWanted = 0;
    const answer = (ok: boolean) => {
      for (let i = 0; i < asked; i++) this.#post({ kind: "checkpointed", ok });
    };
    if (closing.underWay) answer(false);
    else checkpointer.start(undefined, answer);
  }

  #auditPart(begins: boolean): void {
    const audit = begins ? new Audit(this.#parts.places) : this.#audit;
    const isDone = audit?.step(auditedLeaves) ?? true;
    this.#audit = isDone ? undefined : audit;
    this.#post({ kind: "audited", wrong: isDone ? audit?.wrong ?? [] : undefined });
  }

  statistics(): VolumeStatistics {
    const parts = this.#parts;
    return {
      connections: parts.door.connected,
      mapped_blocks: parts.map.mappedBlocks,
      segments: parts.places.segments.size,
      ...parts.holdings.occupied(),
      chunks_compacted: parts.compactor.compacted,
      blocks_compacted: parts.compactor.moved,
      guest_read_bytes: parts.commands.readBytes,
      guest_written_bytes: parts.log.putBytes,
      throttle_waits: parts.throttle.waits,
      reads: parts.commands.reads,
      writes: parts.commands.writes,
      flushes: parts.commands.flushes,
      cache_hits: parts.cache.hits,
      cache_misses: parts.cache.misses,
      log_written_bytes: parts.log.writtenBytes,
      windows_fetched: parts.fetcher.fetches,
      ...parts.chunkCache.statistics(),
      chunks_stored: parts.drainer.stored,
      latencies: parts.latencies.report(),
    };
  }
}
