/**
 * The supervisor of one node: starts the services of the table in the order of their needs, keeps
 * them running, and stops them in the reverse order, the guests first.
 *
 * It holds a lock in the data directory for as long as it lives, so there is never a second one; the
 * kernel gives the lock back however it dies. It records the processes that it started, and what a
 * killed predecessor left is ended before anything is started.
 */
import type { Bus } from "../../services/bus/bus.ts";
import { systemContext } from "../../services/bus/subject.ts";
import { quiesce, quiesceProgress } from "../../services/compute/contract.ts";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { errorFields, type Log } from "../../services/log/log.ts";
import type { ServiceSpec } from "../../services/manifest.ts";
import {
  type ControlReply,
  controlSocket,
  lockFile,
  type NodeStatus,
  recordFile,
  serveControl,
} from "./control.ts";
import { HealthProbes } from "./health_probe.ts";
import { LogFile, type LogLine } from "./log_file.ts";
import {
  isAlive,
  type ProcessIdentity,
  readRecord,
  stopProcess,
  writeRecord,
} from "./process_identity.ts";
import { RunningService } from "./running_service.ts";
import { serviceCommand } from "./service_command.ts";

/** How long guests may take to shut down before they are switched off. */
const quiesce_ms = 90_000;
/** Flushing the volumes of the last guest may take longer than its own shutdown. */
const flush_ms = 60_000;

export interface SupervisorOptions {
  readonly config: NodeConfig;
  readonly paths: Paths;
  readonly repository: string;
  readonly services: readonly ServiceSpec[];
  readonly log: Log;
  readonly onLine?: (line: LogLine) => void;
}

/** Another supervisor serves this data directory. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
}

export class Supervisor {
  readonly #running: readonly RunningService[];
  readonly #logFiles: LogFile[] = [];
  readonly #probes: HealthProbes;
  readonly #lock: Deno.FsFile;
  #control: Disposable | undefined;
  #stopping: Promise<void> | undefined;
  #listeners = new Set<(text: string) => void>();
  #recording: Promise<void> = Promise.resolve();
  readonly #started = new Date().toISOString();
  readonly #stopped = Promise.withResolvers<void>();

  private constructor(readonly options: SupervisorOptions, lock: Deno.FsFile) {
    const { config, paths, repository, services, log } = options;
    this.#lock = lock;
    this.#probes = new HealthProbes(config, paths, log);
    this.#running = services.map((spec) => {
      const logFile = new LogFile(`${paths.logs}/${spec.name}.log`, spec.name);
      this.#logFiles.push(logFile);
      return new RunningService({
        spec,
        command: serviceCommand(spec, { config, repository }),
        logFile,
        log,
        probe: this.#probes.probe,
        ...(options.onLine === undefined ? {} : { onLine: options.onLine }),
        onProcess: () => this.#record(),
      });
    });
  }

  /** Takes the node's lock. @throws AlreadyRunning */
  static async take(options: SupervisorOptions): Promise<Supervisor> {
    const lock = await Deno.open(lockFile(options.paths), {
      create: true,
      write: true,
      mode: 0o600,
    });
    if (!await lock.tryLock(true)) {
      lock.close();
      throw new AlreadyRunning(`${options.paths.root} has a running supervisor`);
    }
    return new Supervisor(options, lock);
  }

  /** Resolves when everything has stopped. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  get status(): NodeStatus {
    return {
      pid: Deno.pid,
      started: this.#started,
      stopping: this.#stopping !== undefined,
      services: this.#running.map((service) => service.status),
    };
  }

  /** Ends what a killed predecessor left, then starts everything. Returns at once after that. */
  async start(): Promise<void> {
    const { paths, log } = this.options;
    await endLeftovers(paths, log);
    this.#control = serveControl(controlSocket(paths), async (request, reply) => {
      switch (request.ask) {
        case "status":
          return await reply({ status: this.status });
        case "stop":
          return await this.#stopFor(reply, request.guests_ms);
        case "restart": {
          const service = this.#running.find((one) => one.name === request.service);
          if (service === undefined) {
            return await reply({ error: `There is no service "${request.service}".` });
          }
          await service.restart();
          return await reply({ done: true });
        }
        default:
          return await reply({ error: "not understood" });
      }
    });
    for (const service of this.#running) service.start(this.#needsOf(service));
  }

  #needsOf(service: RunningService): RunningService[] {
    return this.#running.filter((one) => service.spec.after.includes(one.spec.name));
  }

  #needing(service: RunningService): RunningService[] {
    return this.#running.filter((one) => one.spec.after.includes(service.spec.name));
  }

  /** Restarts one service, or all, for a change of their files. */
  async restart(names: readonly string[]): Promise<void> {
    await Promise.all(
      this.#running.filter((service) => names.includes(service.name))
        .map((service) => service.restart()),
    );
  }

  /** Resolves when all services are well. */
  async well(): Promise<void> {
    await Promise.all(this.#running.map((service) => service.well));
  }

  #record(): void {
    const processes: ProcessIdentity[] = this.#running.flatMap((service) =>
      service.identity === undefined ? [] : [service.identity]
    );
    this.#recording = this.#recording
      .then(() => writeRecord(recordFile(this.options.paths), processes))
      .catch((error) => this.options.log.warn("record_failed", errorFields(error)));
  }

  async #stopFor(
    reply: (reply: ControlReply) => Promise<void>,
    guests_ms: unknown,
  ): Promise<void> {
    const hear = (text: string) => void reply({ say: text });
    const patience = typeof guests_ms === "number" && guests_ms >= 0 ? guests_ms : quiesce_ms;
    await this.stop(hear, Math.min(patience, quiesce_ms));
    await reply({ done: true });
  }

  /** Stops everything gracefully; `hear` is told what is waited for. A second call joins the first. */
  async stop(hear?: (text: string) => void, guests_ms = quiesce_ms): Promise<void> {
    if (hear !== undefined) this.#listeners.add(hear);
    this.#stopping ??= this.#stopAll(guests_ms);
    await this.#stopping;
    if (hear !== undefined) this.#listeners.delete(hear);
  }

  #say(text: string): void {
    for (const listener of this.#listeners) listener(text);
  }

  async #stopAll(guests_ms: number): Promise<void> {
    const { log, paths } = this.options;
    log.info("stopping");
    await this.#stopGuests(guests_ms);
    const stopping = new Map<RunningService, Promise<void>>();
    const stopOne = (service: RunningService): Promise<void> => {
      const already = stopping.get(service);
      if (already !== undefined) return already;
      const work = (async () => {
        await Promise.all(this.#needing(service).map(stopOne));
        const late = setTimeout(() => this.#say(`waiting for ${service.name}`), 1_500);
        const graceful = await service.stop();
        clearTimeout(late);
        this.#say(
          graceful
            ? `${service.name} stopped`
            : `${service.name} did not stop in ${service.spec.stop_timeout_ms / 1_000} s: killed`,
        );
      })();
      stopping.set(service, work);
      return work;
    };
    await Promise.all(this.#running.map(stopOne));
    await this.#probes[Symbol.asyncDispose]();
    await this.#recording;
    await Deno.remove(recordFile(paths)).catch(() => {});
    log.info("stopped");
    for (const file of this.#logFiles) file[Symbol.dispose]();
    this.#stopped.resolve();
  }

  /** Has the guests shut down while everything that they need still runs. */
  async #stopGuests(guests_ms: number): Promise<void> {
    const compute = this.#running.find((service) => service.name === "compute");
    const bus = this.#probes.bus;
    if (
      compute?.identity === undefined || bus === undefined || compute.status.state === "starting"
    ) {
      return;
    }
    this.#say("asking the guests to shut down");
    const hearing = this.#hearProgress(bus);
    try {
      const { still_running } = await bus.ask(
        quiesce,
        { timeout_ms: guests_ms },
        systemContext(guests_ms + flush_ms),
      );
      if (still_running.length > 0) {
        this.#say(
          `did not shut down in ${guests_ms / 1_000} s and was switched off: ${
            still_running.join(", ")
          }`,
        );
      }
    } catch (error) {
      this.options.log.warn("quiesce_failed", errorFields(error));
      this.#say("the guests could not be asked; those that run are met again at the next start");
    } finally {
      await hearing.close().catch(() => {});
    }
  }

  #hearProgress(bus: Bus): { close(): Promise<void> } {
    return bus.listen<unknown>(quiesceProgress, (event) => {
      const waiting = typeof event === "object" && event !== null
        ? Object.values(event).flat().filter((one) =>
          typeof one === "string" && one.startsWith("i-")
        )
        : [];
      if (waiting.length > 0) this.#say(`waiting for ${waiting.join(", ")}`);
    });
  }

  /** Gives the node back. The process may end after it. */
  release(): void {
    this.#control?.[Symbol.dispose]();
    this.#lock.close();
  }
}

/** Ends the services that a killed supervisor left behind, last started first. */
export async function endLeftovers(
  paths: Paths,
  log: Log,
  say: (text: string) => void = () => {},
): Promise<number> {
  const left = (await readRecord(recordFile(paths))).reverse();
  let ended = 0;
  for (const identity of left) {
    if (!isAlive(identity)) continue;
    log.warn("leftover_ended", { leftover: identity.name, pid: identity.pid });
    say(`${identity.name} was left running: stopping it`);
    await stopProcess(identity, 15_000);
    ended++;
  }
  await Deno.remove(recordFile(paths)).catch(() => {});
  return ended;
}
