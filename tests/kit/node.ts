/**
 * A node without its guests: a fresh data directory, a nats-server with the node's own permissions,
 * and those services that the test asks for, each as its own process with exactly the rights that the
 * service table gives it. The test speaks on the bus as the operator, or as any service.
 */
import { join } from "node:path";
import { Bus } from "../../services/bus/bus.ts";
import { type ServiceName, serviceNamed } from "../../services/manifest.ts";
import { type Health, healthOf } from "../../services/runtime/run_service.ts";
import { initNode, type Node } from "../../tasks/init/init.ts";
import { natsGreets } from "../../tasks/supervisor/health_probe.ts";
import { serviceCommand } from "../../tasks/supervisor/service_command.ts";
import { cachedPrograms, freePort, testLog } from "./nats.ts";
import { recordLoggedCalls } from "./recorded_calls.ts";

const repository = new URL("../../", import.meta.url).pathname;

export interface ServiceProcess {
  readonly name: ServiceName;
  readonly pid: number;
  /** What it has written so far, standard output and error. */
  log(): string;
  /** Its health as soon as it answers; throws when it ends first or takes longer than two minutes. */
  healthy(): Promise<Health>;
  /** @returns its exit code */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<number>;
  /** Its exit code once it ends by itself. */
  readonly ended: Promise<number>;
}

export interface ProcessLimits {
  /** As many as the machine gives unless said. */
  readonly descriptors?: number;
}

export interface TestNode extends AsyncDisposable {
  readonly config: Node["config"];
  readonly paths: Node["paths"];
  readonly endpoint: string;
  /** A bus connection with the rights of that name. */
  bus(name: ServiceName | "operator"): Promise<Bus>;
  /** Starts a service's process; does not wait for it. */
  start(name: ServiceName, limits?: ProcessLimits): Promise<ServiceProcess>;
}

export async function startNode(): Promise<TestNode> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-node-" });
  const ports = { gateway: freePort(), s3: freePort(), nats: freePort() };
  const { config, paths } = await initNode(directory, { ports });
  const nats = new Deno.Command(join(cachedPrograms(), "nats-server"), {
    args: ["-c", paths.natsConfig, "-l", join(directory, "nats.log")],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const limit = performance.now() + 60_000;
  while (!await natsGreets(ports.nats)) {
    if (performance.now() > limit) {
      throw new Error(
        `nats-server did not start: ${await Deno.readTextFile(`${directory}/nats.log`)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const buses = new Map<string, Promise<Bus>>();
  const processes: ServiceProcess[] = [];
  const bus = (name: string) => {
    const known = buses.get(name);
    if (known !== undefined) return known;
    const made = Deno.readFile(paths.nkey(name)).then((seed) =>
      Bus.connect({ service: name, url: `nats://127.0.0.1:${ports.nats}`, seed, log: testLog })
    );
    buses.set(name, made);
    return made;
  };
  const start = async (name: ServiceName, limits: ProcessLimits = {}) => {
    const made = startProcess(name, { config, paths }, await bus("operator"), limits);
    processes.push(made);
    return made;
  };
  return {
    config,
    paths,
    endpoint: `https://localhost:${ports.gateway}`,
    bus,
    start,
    async [Symbol.asyncDispose]() {
      await Promise.all(processes.map((process) => process.stop()));
      for (const process of processes) {
        if (process.name === "gateway") await recordLoggedCalls(process.log());
      }
      for (const one of buses.values()) await (await one).drain();
      nats.kill("SIGKILL");
      await nats.status;
      await Deno.remove(directory, { recursive: true });
    },
  };
}

function startProcess(
  name: ServiceName,
  { config }: Pick<Node, "config" | "paths">,
  operator: Bus,
  { descriptors }: ProcessLimits,
): ServiceProcess {
  const command = serviceCommand(serviceNamed(name), { config, repository });
  const [program = "", ...args] = [
    ...(descriptors === undefined ? [] : ["prlimit", `--nofile=${descriptors}:${descriptors}`]),
    command.program,
    ...command.args,
  ];
  const child = new Deno.Command(program, {
    args,
    env: { ...command.env },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let log = "";
  const gather = async (from: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const text of from.pipeThrough(new TextDecoderStream())) log += text;
  };
  const gathered = Promise.all([gather(child.stdout), gather(child.stderr)]);
  let exited = false;
  const ended = child.status.then(async ({ code }) => {
    exited = true;
    await gathered;
    return code;
  });
  return {
    name,
    pid: child.pid,
    log: () => log,
    async healthy() {
      const limit = performance.now() + 120_000;
      while (true) {
        try {
          return await operator.ask(healthOf(name, config.node_id), null);
        } catch {
          if (exited || performance.now() > limit) throw new Error(`${name} is not well:\n${log}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    },
    async stop(signal = "SIGTERM") {
      try {
        if (!exited) child.kill(signal);
      } catch {
        // It has ended, and we have not heard of it yet.
      }
      return await ended;
    },
    ended,
  };
}
