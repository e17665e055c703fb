/**
 * Brings every instance of this node from what it is to what is wanted.
 *
 * The record in KV says what is wanted, the machine says what is; this loop is the only one that
 * changes an instance's state, one piece of work at a time for each instance and all instances at
 * once. It is woken by the record's changes, by the machine's events and by a slow clock, and looks
 * at everything anew each time, so that a wake-up too many or too few does no harm. What fails for
 * now is tried again; what fails for good ends in a state that says why.
 *
 * A machine that is gone while it was wanted is started again: after a power cut, after a crash of
 * QEMU, or after the stack was stopped. One that keeps dying is stopped instead.
 */
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import { Conflict } from "../../state/table.ts";
import type { InstanceRecord, Progress } from "../contract.ts";
import type { Machine } from "../machines/hypervisor.ts";
import {
  type InstanceDependencies,
  type Launch,
  launchSteps,
  releaseForGood,
  releaseMachine,
} from "./launch.ts";
import { MachineRegistry } from "../machines/machine_registry.ts";
import { Pulse } from "../pulse.ts";
import { runSaga } from "./saga.ts";
import { shutDown } from "../machines/shutdown.ts";

export interface Bounds {
  /** How long a guest may take to shut down before its machine is ended. */
  readonly shutdown_ms: number;
  /** How long what a launch needs may be away before the launch is given up. */
  readonly launch_ms: number;
  readonly clock_ms: number;
  /** A machine that dies this often within `crashWindow_ms` is not started again. */
  readonly crashes: number;
  readonly crashWindow_ms: number;
  /** Terminated instances are shown for this long. */
  readonly terminated_ms: number;
}

export const usualBounds: Bounds = {
  shutdown_ms: 120_000,
  launch_ms: 300_000,
  clock_ms: 15_000,
  crashes: 5,
  crashWindow_ms: 600_000,
  terminated_ms: 3600_000,
};

const firstRetry_ms = 500;
const lastRetry_ms = 10_000;
/** How often a guest that stands still for a disk is asked to go on. */
const resume_ms = 2_000;

/** The record changed so that the work under way is not wanted any more. */
class Superseded extends Error {
  override readonly name = "Superseded";
}

interface Worker {
  readonly account: string;
  readonly pulse: Pulse;
  readonly crashes: number[];
  /** Whether this process has seen the machine run: only then is its absence a crash. */
  seen: boolean;
  running: Promise<void>;
}

export class Reconciler {
  readonly machines: MachineRegistry;
  readonly #workers = new Map<string, Worker>();
  readonly #stop = new AbortController();
  #quiescing = false;

  constructor(readonly dependencies: InstanceDependencies, readonly bounds: Bounds = usualBounds) {
    this.machines = new MachineRegistry(dependencies.hypervisor, (id) => this.wake(id));
  }

  /** Takes up every instance of this node and follows the records from now on. */
  start(): void {
    const { instances, config } = this.dependencies;
    const unwatch = instances.table.watch(({ row }) => {
      if (row?.value.node_id === config.node_id) this.#attend(row.value);
    });
    for (const instance of instances.all()) {
      if (instance.node_id === config.node_id) this.#attend(instance);
    }
    this.#stop.signal.addEventListener("abort", unwatch);
  }

  /** Lets go of everything and leaves every guest as it is. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const worker of this.#workers.values()) worker.pulse.notify();
    await Promise.allSettled([...this.#workers.values()].map((worker) => worker.running));
    await this.machines.release();
  }

  /** Whether guests are being shut down for a stop of the stack. */
  get isQuiescing(): boolean {
    return this.#quiescing;
  }

  /** While quiescing, a machine that is gone stays gone and what the record wants is kept. */
  setQuiescing(quiescing: boolean): void {
    this.#quiescing = quiescing;
    for (const worker of this.#workers.values()) worker.pulse.notify();
  }

  wake(instanceId: string): void {
    this.#workers.get(instanceId)?.pulse.notify();
  }

  #attend(instance: InstanceRecord): void {
    const id = instance.instance_id;
    const present = this.#workers.get(id);
    if (present !== undefined) return present.pulse.notify();
    if (this.#stop.signal.aborted) return;
    const worker: Worker = {
      account: instance.account_id,
      pulse: new Pulse(),
      crashes: [],
      seen: false,
      running: Promise.resolve(),
    };
    this.#workers.set(id, worker);
    worker.running = this.#work(id, worker).finally(() => this.#workers.delete(id));
  }

  #record(account: string, id: string): InstanceRecord | undefined {
    const { instances } = this.dependencies;
    return instances.table.get(instances.keyOf(account, id))?.value;
  }

  /** The life of one instance on this node, until its record is gone. */
  async #work(id: string, worker: Worker): Promise<void> {
    const { log, config } = this.dependencies;
    let retry_ms = firstRetry_ms;
    while (!this.#stop.signal.aborted) {
      const instance = this.#record(worker.account, id);
      if (instance === undefined || instance.node_id !== config.node_id) return;
      let look_ms = this.bounds.clock_ms;
      try {
        look_ms = await this.#bring(instance, worker) ?? look_ms;
        retry_ms = firstRetry_ms;
      } catch (error) {
        if (error instanceof Superseded || error instanceof Conflict) continue;
        log.warn("instance_work_delayed", { instance_id: id, retry_ms, ...errorFields(error) });
        look_ms = retry_ms;
        retry_ms = Math.min(retry_ms * 2, lastRetry_ms);
      }
      await worker.pulse.wait(look_ms);
    }
  }

  /** One look. @returns when to look again even if nothing wakes us */
  async #bring(instance: InstanceRecord, worker: Worker): Promise<number | void> {
    if (instance.wanted === "running") {
      if (this.#quiescing) return;
      if (instance.state === "pending") return await this.#launch(instance, worker);
      if (instance.state === "running") return await this.#keepRunning(instance, worker);
      return;
    }
    worker.seen = false;
    if (instance.state !== instance.wanted) return await this.#bringDown(instance, instance.wanted);
    if (instance.state === "terminated") return await this.#expire(instance);
  }

  async #change(
    instance: InstanceRecord,
    change: (now: InstanceRecord) => InstanceRecord,
  ): Promise<InstanceRecord> {
    return await this.dependencies.instances.modify(
      instance.account_id,
      instance.instance_id,
      (now) => {
        if (now.wanted !== instance.wanted) throw new Superseded();
        return change(now);
      },
    );
  }

  #launchOf(instance: InstanceRecord): Launch {
    return {
      dependencies: this.dependencies,
      instance,
      machine: () => this.machines.find(instance.instance_id),
      adopt: (machine) => this.machines.adopt(machine),
      notePort: async (ssh_port) => {
        await this.#change(instance, (now) => {
          const { ssh_port: _old, ...network } = now.network;
          return {
            ...now,
            network: ssh_port === undefined ? network : { ...network, ssh_port },
          };
        });
      },
    };
  }

  async #launch(instance: InstanceRecord, worker: Worker): Promise<void> {
    const { log } = this.dependencies;
    const isFirst = instance.planned_volumes !== undefined;
    const failure = await runSaga<Launch, NonNullable<Progress["failed"]>>({
      steps: launchSteps,
      context: this.#launchOf(instance),
      progress: instance.progress ?? { done: [] },
      record: async (progress) => {
        await this.#change(instance, (now) => ({ ...now, progress }));
      },
      failureOf: (error, step) => {
        if (error instanceof Superseded) return undefined;
        const waited_ms = Date.now() - Date.parse(instance.state_time);
        const isPassing = error instanceof Conflict ||
          (error instanceof AwsError && error.status === 503);
        if (isPassing && waited_ms < this.bounds.launch_ms) return undefined;
        log.error("launch_failed", {
          instance_id: instance.instance_id,
          step,
          ...errorFields(error),
        });
        return reasonOf(error);
      },
      cancelled: () => {
        const now = this.#record(instance.account_id, instance.instance_id);
        if (now?.wanted !== "running" || this.#quiescing) throw new Superseded();
        return undefined;
      },
    });
    if (failure !== undefined) return await this.#abandon(instance, isFirst, failure);
    worker.seen = true;
    await this.#change(instance, (now) => {
      if (now.state !== "pending") return now;
      const { progress: _done, planned_volumes: _made, state_reason: _past, ...rest } = now;
      return {
        ...rest,
        state: "running",
        state_time: new Date().toISOString(),
        attachments: now.attachments.map((attachment) =>
          attachment.status === "attaching" && isFirst
            ? { ...attachment, status: "attached" }
            : attachment
        ),
      };
    });
    log.info("instance_running", {
      instance_id: instance.instance_id,
      duration_ms: Date.now() - Date.parse(instance.state_time),
    });
  }

  /** A first launch that failed leaves nothing; a start that failed leaves a stopped instance. */
  async #abandon(
    instance: InstanceRecord,
    isFirst: boolean,
    state_reason: NonNullable<Progress["failed"]>,
  ): Promise<void> {
    await this.#change(instance, ({ progress: _undone, ...now }) => ({
      ...now,
      wanted: isFirst ? "terminated" : "stopped",
      state: isFirst ? "shutting-down" : "stopping",
      state_time: new Date().toISOString(),
      state_reason,
      state_transition_reason: state_reason.code,
    }));
  }

  async #keepRunning(instance: InstanceRecord, worker: Worker): Promise<number | void> {
    const machine = await this.machines.find(instance.instance_id);
    if (machine === undefined) return await this.#startAgain(instance, worker);
    worker.seen = true;
    const status = await machine.status();
    if (status === "powered_off" && instance.rebooting !== true) {
      return await this.#shutDownFromInside(instance);
    }
    if (instance.rebooting === true) return await this.#reboot(instance, machine, worker);
    if (status === "io_error" || status === "disk_away") {
      await this.#impaired(instance, "A volume does not answer; the guest waits for it.");
      if (status === "io_error") await machine.resume();
      return resume_ms;
    }
    if (status === "paused") {
      await machine.resume();
      return resume_ms;
    }
    await this.#impaired(instance, undefined);
  }

  async #impaired(instance: InstanceRecord, impaired: string | undefined): Promise<void> {
    if (instance.impaired === impaired) return;
    await this.#change(instance, ({ impaired: _old, ...now }) => ({
      ...now,
      ...(impaired === undefined ? {} : { impaired }),
    }));
  }

  /** The machine is gone and nobody asked for that. */
  async #startAgain(instance: InstanceRecord, worker: Worker): Promise<void> {
    const { log } = this.dependencies;
    const now_ms = Date.now();
    if (worker.seen) worker.crashes.push(now_ms);
    worker.seen = false;
    const recent = worker.crashes.filter((at) => now_ms - at < this.bounds.crashWindow_ms);
    log.warn("machine_gone", { instance_id: instance.instance_id, crashes: recent.length });
    const givenUp = recent.length >= this.bounds.crashes;
    if (givenUp) worker.crashes.length = 0;
    await this.#change(instance, ({ progress: _old, impaired: _none, ...now }) =>
      givenUp
        ? {
          ...now,
          wanted: "stopped",
          state: "stopping",
          state_time: new Date().toISOString(),
          state_reason: {
            code: "Server.InternalError",
            message: `Server.InternalError: the machine ended unexpectedly ${recent.length} times`,
          },
          state_transition_reason: "Server.InternalError",
        }
        : { ...now, state: "pending", state_time: new Date().toISOString() });
  }

  async #shutDownFromInside(instance: InstanceRecord): Promise<void> {
    const terminates = instance.shutdown_behavior === "terminate";
    const message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown";
    await this.#change(instance, (now) => ({
      ...now,
      wanted: terminates ? "terminated" : "stopped",
      state: terminates ? "shutting-down" : "stopping",
      state_time: new Date().toISOString(),
      state_reason: { code: "Client.InstanceInitiatedShutdown", message },
      state_transition_reason: "",
    }));
  }

  /** The guest shuts down by itself if it can; then the machine is reset and goes on. */
  async #reboot(instance: InstanceRecord, machine: Machine, worker: Worker): Promise<void> {
    const isStillWanted = () =>
      this.#record(instance.account_id, instance.instance_id)?.wanted === "running";
    await shutDown(machine, {
      pulse: worker.pulse,
      bound_ms: this.bounds.shutdown_ms,
      goesOn: () => isStillWanted() && !this.#stop.signal.aborted,
    });
    if (!isStillWanted() || this.#stop.signal.aborted) return;
    await this.dependencies.snapshots.freezeDown(instance);
    if (!machine.isGone) {
      await machine.reset();
      await machine.resume();
    }
    await this.#change(instance, ({ rebooting: _done, ...now }) => now);
  }

  async #bringDown(instance: InstanceRecord, target: "stopped" | "terminated"): Promise<void> {
    const { log } = this.dependencies;
    const started = performance.now();
    const worker = this.#workers.get(instance.instance_id);
    const machine = await this.machines.find(instance.instance_id);
    if (machine !== undefined && worker !== undefined) {
      await shutDown(machine, {
        pulse: worker.pulse,
        bound_ms: this.bounds.shutdown_ms,
        goesOn: () => {
          if (this.#stop.signal.aborted) return false;
          const now = this.#record(instance.account_id, instance.instance_id);
          return now?.wanted === target && now.forced !== true;
        },
      });
      if (this.#stop.signal.aborted) return;
      const now = this.#record(instance.account_id, instance.instance_id);
      if (now?.wanted !== target) throw new Superseded();
    }
    if (instance.rebooting === true) await this.dependencies.snapshots.freezeDown(instance);
    const launch = this.#launchOf(instance);
    await releaseMachine(launch);
    if (target === "terminated") await releaseForGood(launch);
    await this.#change(
      instance,
      ({ progress: _p, forced: _f, rebooting: _r, impaired: _i, planned_volumes, ...now }) => {
        const { ssh_port: _closed, ...network } = now.network;
        return {
          ...now,
          // A launch that was stopped before its end has volumes still to make.
          ...(planned_volumes === undefined || target === "terminated" ? {} : { planned_volumes }),
          network,
          state: target,
          state_time: new Date().toISOString(),
          ...(target === "terminated" ? { attachments: [] } : {}),
        };
      },
    );
    log.info(`instance_${target}`, {
      instance_id: instance.instance_id,
      duration_ms: Math.round(performance.now() - started),
    });
  }

  /** Terminated instances stay visible for a while, and then leave nothing. */
  async #expire(instance: InstanceRecord): Promise<number | void> {
    const left_ms = Date.parse(instance.state_time) + this.bounds.terminated_ms - Date.now();
    if (left_ms > 0) return Math.min(left_ms, 600_000);
    await this.dependencies.hypervisor.forget(instance.instance_id);
    await this.dependencies.instances.delete(instance.account_id, instance.instance_id);
  }
}

/** What the instance says of a failed launch, in AWS's form. */
export function reasonOf(error: unknown): { readonly code: string; readonly message: string } {
  const capacity = error instanceof AwsError &&
    ["InsufficientInstanceCapacity", "Unsupported"].includes(error.code);
  const code = capacity
    ? "Server.InsufficientInstanceCapacity"
    : error instanceof AwsError && error.code === "InvalidSnapshot.NotFound"
    ? "Client.InvalidSnapshot.NotFound"
    : "Server.InternalError";
  const said = error instanceof AwsError ? error.message : "Internal error on launch";
  return { code, message: `${code}: ${said}` };
}
