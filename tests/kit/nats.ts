/**
 * A real nats-server with JetStream for one test, on a free port, in a temporary directory that goes
 * with it. The binary is the one that `deno task setup` unpacks into the user's cache.
 */
import { join } from "node:path";
import { Bus } from "../../services/bus/bus.ts";
import { createLog, type Log } from "../../services/log/log.ts";
import { freePorts } from "../../services/config/free_ports.ts";

/** Where setup keeps programs that this system's own packages are too old for. */
export function cachedPrograms(): string {
  const base = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? "/root", ".cache");
  return join(base, "mulga", "bin");
}

const givenPorts = new Set<number>();

/** A TCP port that nobody listens on now, and that this process has not been given before. */
export function freePort(): number {
  for (;;) {
    const [port = 0] = freePorts(1);
    if (givenPorts.has(port)) continue;
    givenPorts.add(port);
    return port;
  }
}

export interface TestNats extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly directory: string;
  /** A bus connected to it; drained when the server is disposed. */
  bus(service?: string, log?: Log): Promise<Bus>;
  /** kill -9, as a power cut would. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data. */
  start(): Promise<void>;
  /** It stands still: connections stay, and nothing that is sent is read. */
  pause(): void;
  /** It goes on, and reads what it was sent meanwhile. */
  resume(): void;
}

/** A log that keeps quiet unless MULGA_TEST_LOG is set. */
export const testLog: Log = createLog("test", {
  write: (line) => {
    if (Deno.env.has("MULGA_TEST_LOG")) console.log(line);
  },
});

async function answers(port: number): Promise<boolean> {
  try {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const greeting = new Uint8Array(4);
    await connection.read(greeting);
    return new TextDecoder().decode(greeting) === "INFO";
  } catch {
    return false;
  }
}

export async function startNats(): Promise<TestNats> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-nats-" });
  const port = freePort();
  const config = join(directory, "nats.conf");
  await Deno.writeTextFile(
    config,
    `listen: "127.0.0.1:${port}"\njetstream {\n  store_dir: "${directory}/js"\n  sync_interval: always\n}\n`,
  );
  let process: Deno.ChildProcess | undefined;
  const start = async () => {
    const child = new Deno.Command(join(cachedPrograms(), "nats-server"), {
      args: ["-c", config, "-l", join(directory, "nats.log")],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    process = child;
    let exited = false;
    void child.status.then(() => exited = true);
    const limit = performance.now() + 60_000;
    while (!await answers(port)) {
      if (exited || performance.now() > limit) {
        throw new Error(
          `nats-server did not start: ${await Deno.readTextFile(join(directory, "nats.log"))}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const kill = async () => {
    const child = process;
    process = undefined;
    if (child === undefined) return;
    child.kill("SIGKILL");
    await child.status;
  };
  await start();
  const buses: Bus[] = [];
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    directory,
    bus: async (service = "test", log = testLog) => {
      const bus = await Bus.connect({ service, url: `nats://127.0.0.1:${port}`, log });
      buses.push(bus);
      return bus;
    },
    kill,
    start,
    pause: () => process?.kill("SIGSTOP"),
    resume: () => process?.kill("SIGCONT"),
    async [Symbol.asyncDispose]() {
      for (const bus of buses) {
        if (process !== undefined) await bus.drain();
        else await bus.connection.close();
      }
      await kill();
      await Deno.remove(directory, { recursive: true });
    },
  };
}
