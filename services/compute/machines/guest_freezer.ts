/**
 * Holds the file systems of this node's guests still for the moment of a snapshot, through the agent that runs in
 * a guest, if one does.
 *
 * What always holds: a guest that was told to freeze is told to thaw, at the latest `frozen_ms` later, whatever became of
 * whoever asked. That it was told so stands in a file before it is; a compute that ends in between thaws it at its next
 * start. A guest without an agent costs one look, and one whose agent lies or is silent costs only whoever wants a
 * snapshot of it, and him `sync_ms`: nothing here waits for two guests in a row.
 */
import { join } from "node:path";
import { errorFields, type Log } from "../../log/log.ts";
import type { Paths } from "../../config/node_config.ts";
import { delay } from "../delay.ts";
import { GuestAgent } from "./guest_agent.ts";
import type { Machine } from "./hypervisor.ts";
import { machinePaths } from "./machine_paths.ts";

export interface FreezeBounds {
  /** How long an agent that is there may take to say so. */
  readonly sync_ms: number;
  /** From the moment that a guest is told to freeze until it is told to thaw. */
  readonly frozen_ms: number;
  /** How long one try to thaw waits for its answer. */
  readonly thaw_ms: number;
  /** How long one freeze of a guest waits for another one's end. */
  readonly turn_ms: number;
  /** How long a guest that does not answer is told to thaw again and again. */
  readonly patience_ms: number;
}

export const usualFreezeBounds: FreezeBounds = {
  sync_ms: 2_000,
  frozen_ms: 5_000,
  thaw_ms: 2_000,
  turn_ms: 8_000,
  patience_ms: 300_000,
};

const firstPause_ms = 250;
const lastPause_ms = 10_000;

/** Who asks for a freeze, so that only he ends it, and asking twice is asking once. */
export interface FreezeRequest {
  readonly instance_id: string;
  readonly token: string;
}

interface Freeze {
  readonly token: string;
  readonly ended: PromiseWithResolvers<void>;
  frozen: Promise<boolean>;
  /** It is frozen now, as far as its agent says, and has been since it was answered. */
  holds: boolean;
  agent?: GuestAgent;
  timer?: ReturnType<typeof setTimeout>;
  thawing?: Promise<void>;
}

export interface GuestFreezerOptions {
  readonly paths: Paths;
  readonly log: Log;
  readonly find: (instanceId: string) => Promise<Pick<Machine, "status" | "hasAgent"> | undefined>;
  readonly bounds?: FreezeBounds;
}

export class GuestFreezer {
  readonly #o: GuestFreezerOptions;
  readonly #bounds: FreezeBounds;
  readonly #guests = new Map<string, Freeze>();
  readonly #stop = new AbortController();
  readonly #stopped = Promise.withResolvers<void>();
  #isStopping = false;

  constructor(options: GuestFreezerOptions) {
    this.#o = options;
    this.#bounds = options.bounds ?? usualFreezeBounds;
  }

  /** @returns whether the guest's file systems stand still from now on; false where it has no agent that does that */
  async freeze({ instance_id, token }: FreezeRequest): Promise<boolean> {
    const limit = performance.now() + this.#bounds.turn_ms;
    for (;;) {
      const present = this.#guests.get(instance_id);
      if (present === undefined) break;
      if (present.token === token) return await present.frozen;
      const left_ms = limit - performance.now();
      if (left_ms <= 0 || this.#isStopping) return false;
      await Promise.race([present.ended.promise, delay(left_ms)]);
    }
    if (this.#isStopping) return false;
    const freeze = this.#enter(instance_id, token);
    freeze.frozen = this.#begin(instance_id, freeze);
    return await freeze.frozen;
  }

  /** @returns whether it stood still from the answer to `freeze` until now */
  async thaw({ instance_id, token }: FreezeRequest): Promise<boolean> {
    const freeze = this.#guests.get(instance_id);
    if (freeze?.token !== token) return false;
    // One that was not told to freeze is none of ours.
    if (!await freeze.frozen && this.#guests.get(instance_id) !== freeze) return false;
    const { holds } = freeze;
    await Promise.race([this.#thaw(instance_id, freeze), delay(this.#bounds.thaw_ms)]);
    return holds;
  }

  /** Thaws what an earlier run of this process has left frozen. Returns when all of it was looked for. */
  async recover(): Promise<void> {
    for await (const { name } of Deno.readDir(join(this.#o.paths.service("compute"), "machines"))) {
      if (this.#guests.has(name) || !await this.#isMarked(name)) continue;
      this.#o.log.warn("guest_left_frozen", { instance_id: name });
      void this.#thaw(name, this.#enter(name, ""));
    }
  }

  /** Thaws all, bounded; who does not answer is told again at the next start. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const thawed = [...this.#guests].map(async ([id, freeze]) => {
      await freeze.frozen;
      if (this.#guests.get(id) === freeze) await this.#thaw(id, freeze);
    });
    await Promise.race([Promise.all(thawed), delay(this.#bounds.thaw_ms)]);
    this.#stop.abort();
    this.#stopped.resolve();
    await Promise.all([...this.#guests.values()].map(({ thawing }) => thawing));
  }

  #enter(instance_id: string, token: string): Freeze {
    const freeze: Freeze = {
      token,
      ended: Promise.withResolvers<void>(),
      frozen: Promise.resolve(false),
      holds: false,
    };
    this.#guests.set(instance_id, freeze);
    return freeze;
  }

  #leave(instance_id: string, freeze: Freeze): void {
    freeze.agent?.[Symbol.dispose]();
    this.#guests.delete(instance_id);
    freeze.ended.resolve();
  }

  async #begin(instance_id: string, freeze: Freeze): Promise<boolean> {
    const { find, log, paths } = this.#o;
    const { sync_ms, frozen_ms } = this.#bounds;
    try {
      const machine = await find(instance_id);
      if (
        machine === undefined || await machine.status() !== "running" || !await machine.hasAgent()
      ) {
        this.#leave(instance_id, freeze);
        return false;
      }
      const { agentSocket, frozen } = machinePaths(paths, instance_id);
      freeze.agent = await GuestAgent.connect(agentSocket, sync_ms);
      await Deno.writeTextFile(frozen, "", { mode: 0o600 });
    } catch (error) {
      log.warn("guest_agent_silent", { instance_id, ...errorFields(error) });
      this.#leave(instance_id, freeze);
      return false;
    }
    const started = performance.now();
    try {
      const file_systems = await freeze.agent.freeze(frozen_ms);
      const duration_ms = Math.round(performance.now() - started);
      log.info("guest_frozen", { instance_id, file_systems, duration_ms });
    } catch (error) {
      log.warn("guest_not_frozen", { instance_id, ...errorFields(error) });
      freeze.agent[Symbol.dispose]();
      delete freeze.agent;
      // It may be frozen nevertheless, or be so in a moment.
      void this.#thaw(instance_id, freeze);
      return false;
    }
    freeze.holds = true;
    freeze.timer = setTimeout(() => {
      log.warn("guest_frozen_too_long", { instance_id, bound_ms: frozen_ms });
      void this.#thaw(instance_id, freeze);
    }, Math.max(0, started + frozen_ms - performance.now()));
    return true;
  }

  #thaw(instance_id: string, freeze: Freeze): Promise<void> {
    freeze.holds = false;
    return freeze.thawing ??= this.#thawNow(instance_id, freeze);
  }

  /** Tells the guest to thaw until it says that it has, or there is no such guest any more. */
  async #thawNow(instance_id: string, freeze: Freeze): Promise<void> {
    clearTimeout(freeze.timer);
    const { log, paths } = this.#o;
    const { agentSocket, frozen } = machinePaths(paths, instance_id);
    const limit = performance.now() + this.#bounds.patience_ms;
    for (let pause_ms = firstPause_ms;; pause_ms = Math.min(pause_ms * 2, lastPause_ms)) {
      try {
        // An agent that is still busy with freezing hears it as soon as it is not, even if we are gone by then.
        const { thaw_ms } = this.#bounds;
        freeze.agent ??= await GuestAgent.connect(agentSocket, thaw_ms, "guest-fsfreeze-thaw");
        await freeze.agent.thaw(thaw_ms);
        log.info("guest_thawed", { instance_id });
        await Deno.remove(frozen).catch(() => {});
        break;
      } catch (error) {
        freeze.agent?.[Symbol.dispose]();
        delete freeze.agent;
        log.warn("guest_thaw_delayed", { instance_id, ...errorFields(error) });
        if (await this.#isOff(instance_id)) {
          await Deno.remove(frozen).catch(() => {});
          break;
        }
        // What it was told waits in the guest for its agent; the file stays for the next start.
        if (performance.now() > limit || this.#stop.signal.aborted) break;
        await Promise.race([delay(pause_ms), this.#stopped.promise]);
      }
    }
    this.#leave(instance_id, freeze);
  }

  /** Whether the machine that was told to freeze is gone for certain, and its guest with it. */
  async #isOff(instance_id: string): Promise<boolean> {
    try {
      const machine = await this.#o.find(instance_id);
      return machine === undefined || await machine.status() === "powered_off";
    } catch {
      return false;
    }
  }

  async #isMarked(instance_id: string): Promise<boolean> {
    const { frozen } = machinePaths(this.#o.paths, instance_id);
    return await Deno.stat(frozen).then(() => true, () => false);
  }
}
