/**
 * One service under supervision: started when those it needs are well, its output gathered, its
 * health asked for, started again when it ends.
 *
 * The first restart comes after 20 ms, so that a crash is hardly noticed; each further one within
 * half a minute waits twice as long, up to 10 s, so that a service that cannot run does not eat the
 * machine. Nothing that this class does throws: a service that cannot be started at all is one that
 * keeps failing, and its state says why.
 */
import type { Log } from "../../services/log/log.ts";
import { errorFields } from "../../services/log/log.ts";
import type { ServiceSpec } from "../../services/manifest.ts";
import type { Health } from "../../services/runtime/run_service.ts";
import { linesOf, type LogFile, type LogLine } from "./log_file.ts";
import { type ProcessIdentity, startOf } from "./process_identity.ts";
import type { ServiceCommand } from "./service_command.ts";

export type ServiceState =
  /** Those it needs are not well yet. */
  | "waiting"
  /** Its process runs and has not answered for its health yet. */
  | "starting"
  | "ok"
  /** It says itself that something is wrong. */
  | "degraded"
  /** Its process runs and does not answer any more. */
  | "unresponsive"
  /** It ended and is about to be started again. */
  | "restarting"
  | "stopping"
  | "stopped";

export interface ServiceStatus {
  readonly name: string;
  readonly state: ServiceState;
  readonly pid?: number;
  readonly uptime_ms?: number;
  /** How long its last start took until it was well. */
  readonly start_ms?: number;
  readonly restarts: number;
  readonly rss_bytes?: number;
  readonly detail?: string;
  readonly facts?: Readonly<Record<string, string | number | boolean>>;
  /** The last error that it logged before it ended. */
  readonly last_error?: string;
}

/** Asks a service how it is; undefined when it does not answer. */
export type HealthProbe = (spec: ServiceSpec) => Promise<Partial<Health> | undefined>;

export interface RunningServiceOptions {
  readonly spec: ServiceSpec;
  readonly command: ServiceCommand;
  readonly logFile: LogFile;
  readonly log: Log;
  readonly probe: HealthProbe;
  /** Hears every log line. */
  readonly onLine?: (line: LogLine) => void;
  /** Hears when a process starts or ends. */
  readonly onProcess?: () => void;
}

export const firstBackOff_ms = 20;
const longestBackOff_ms = 10_000;
/** A service that ran as long has recovered: its next end is a first one again. */
const recovered_ms = 30_000;
const healthInterval_ms = 5_000;
const unresponsiveAfter = 3;

/** How long to wait before the n-th restart in a row (from 0). */
export function backOff_ms(failures: number): number {
  return Math.min(firstBackOff_ms * 2 ** Math.min(failures, 20), longestBackOff_ms);
}

export class RunningService {
  readonly name: string;
  #state: ServiceState = "waiting";
  #child: Deno.ChildProcess | undefined;
  #identity: ProcessIdentity | undefined;
  #started = 0;
  #start_ms: number | undefined;
  #restarts = 0;
  #health: Partial<Health> | undefined;
  #lastError: string | undefined;
  #restartAsked = false;
  readonly #stopping = new AbortController();
  readonly #firstWell = Promise.withResolvers<void>();
  #loop: Promise<void> | undefined;

  constructor(readonly options: RunningServiceOptions) {
    this.name = options.spec.name;
  }

  get spec(): ServiceSpec {
    return this.options.spec;
  }

  /** Resolves when it is well for the first time. */
  get well(): Promise<void> {
    return this.#firstWell.promise;
  }

  get identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  get status(): ServiceStatus {
    const health = this.#health;
    return {
      name: this.name,
      state: this.#state,
      ...(this.#identity === undefined ? {} : {
        pid: this.#identity.pid,
        uptime_ms: Math.round(performance.now() - this.#started),
      }),
      ...(this.#start_ms === undefined ? {} : { start_ms: this.#start_ms }),
      restarts: this.#restarts,
      ...(this.#identity === undefined
        ? {}
        : { rss_bytes: health?.rss_bytes ?? rssOf(this.#identity.pid) }),
      ...(health?.detail === undefined ? {} : { detail: health.detail }),
      ...(health?.facts === undefined ? {} : { facts: health.facts }),
      ...(this.#lastError === undefined ? {} : { last_error: this.#lastError }),
    };
  }

  /** Starts it once all of `after` are well, and keeps it running until `stop`. */
  start(after: readonly RunningService[]): void {
    this.#loop = (async () => {
      await Promise.race([
        Promise.all(after.map((service) => service.well)),
        aborted(this.#stopping.signal),
      ]);
      for (let failures = 0; !this.#stopping.signal.aborted;) {
        const ran_ms = await this.#runOnce();
        if (this.#stopping.signal.aborted) break;
        this.#restarts++;
        this.#state = "restarting";
        if (this.#restartAsked) {
          this.#restartAsked = false;
          failures = 0;
          continue;
        }
        if (ran_ms >= recovered_ms) failures = 0;
        await sleep(backOff_ms(failures++), this.#stopping.signal);
      }
      this.#state = "stopped";
    })();
  }

  /** Runs its process to the end. @returns how long it ran */
  async #runOnce(): Promise<number> {
    const { command, log, spec } = this.options;
    this.#state = "starting";
    this.#started = performance.now();
    const ended = new AbortController();
    try {
      const child = new Deno.Command(command.program, {
        args: [...command.args],
        env: { ...command.env },
        clearEnv: true,
        // A group of its own: Ctrl-C on our terminal must not reach it before we have decided.
        detached: true,
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      this.#child = child;
      this.#identity = { name: this.name, pid: child.pid, started: startOf(child.pid) ?? "" };
      this.options.onProcess?.();
      const gathered = Promise.all([this.#gather(child.stdout), this.#gather(child.stderr)]);
      const watched = this.#watchHealth(ended.signal);
      const status = await child.status;
      // A grandchild may hold the pipe open; what was printed until now is enough.
      await Promise.race([gathered, sleep(500)]);
      ended.abort();
      await watched;
      const ran_ms = Math.round(performance.now() - this.#started);
      if (!this.#stopping.signal.aborted && !this.#restartAsked) {
        log.warn("service_ended", {
          ended: spec.name,
          pid: child.pid,
          code: status.code,
          signal: status.signal,
          ran_ms,
        });
      }
      return ran_ms;
    } catch (error) {
      this.#lastError = error instanceof Error ? error.message : String(error);
      log.error("service_not_started", { service_name: spec.name, ...errorFields(error) });
      return 0;
    } finally {
      ended.abort();
      this.#child = undefined;
      this.#identity = undefined;
      this.#health = undefined;
      this.options.onProcess?.();
    }
  }

  async #gather(stream: ReadableStream<Uint8Array>): Promise<void> {
    try {
      for await (const text of linesOf(stream)) {
        const line = this.options.logFile.write(text);
        if (line.level === "error") this.#lastError = summaryOf(line);
        this.options.onLine?.(line);
      }
    } catch (error) {
      this.options.log.warn("log_gathering_failed", {
        of_service: this.name,
        ...errorFields(error),
      });
    }
  }

  async #watchHealth(ended: AbortSignal): Promise<void> {
    let missed = 0;
    for (let well = false; !ended.aborted;) {
      const health = await this.options.probe(this.spec).catch(() => undefined);
      if (ended.aborted) return;
      if (health !== undefined) {
        missed = 0;
        this.#health = health;
        if (this.#state !== "stopping") {
          this.#state = health.status === "degraded" ? "degraded" : "ok";
        }
        if (!well) {
          well = true;
          this.#start_ms = Math.round(performance.now() - this.#started);
          this.#lastError = undefined;
          this.options.log.info("service_well", {
            well: this.name,
            start_ms: this.#start_ms,
            restarts: this.#restarts,
          });
          this.#firstWell.resolve();
        }
      } else if (well && ++missed >= unresponsiveAfter && this.#state !== "stopping") {
        this.#state = "unresponsive";
      }
      await sleep(well ? healthInterval_ms : 50, ended);
    }
  }

  /** Ends its process gracefully; it starts again at once. */
  async restart(): Promise<void> {
    const identity = this.#identity;
    if (identity === undefined) return;
    this.#restartAsked = true;
    await this.#end(identity);
  }

  /** Stops it for good. @returns whether it stopped by itself in time */
  async stop(): Promise<boolean> {
    this.#stopping.abort();
    const identity = this.#identity;
    const graceful = identity === undefined || await this.#end(identity);
    await this.#loop;
    this.#state = "stopped";
    return graceful;
  }

  async #end(identity: ProcessIdentity): Promise<boolean> {
    const child = this.#child;
    this.#state = "stopping";
    if (child === undefined || child.pid !== identity.pid) return true;
    kill(child, "SIGTERM");
    const patience = AbortSignal.timeout(this.spec.stop_timeout_ms);
    const result = await Promise.race([child.status, aborted(patience)]);
    if (result !== undefined) return true;
    kill(child, "SIGKILL");
    await child.status;
    this.options.log.warn("service_killed", { killed: this.name });
    return false;
  }
}

function kill(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch {
    // It has ended in the meantime.
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true })
  );
}

/** Waits, or less when the signal aborts. */
function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
  });
}

function summaryOf(line: LogLine): string {
  const text = line["error"] ?? line["text"];
  return typeof text === "string" ? text.slice(0, 500) : line.event;
}

function rssOf(pid: number): number {
  try {
    const match = /^VmRSS:\s+(\d+) kB/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
    return Number(match?.[1] ?? 0) * 1_024;
  } catch {
    return 0;
  }
}
