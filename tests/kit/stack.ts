/**
 * A whole cloud for one test: `up` on a temporary data directory and free ports, and everything gone
 * afterwards. The commands under test are the ones that a user types; nothing is reached into.
 */
import { join } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import { quickWaiters } from "./quick_waiters.ts";
import { untilWorks } from "./until.ts";

const repository = new URL("../../", import.meta.url).pathname;

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command failed that a test needed to succeed. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
  constructor(readonly command: readonly string[], readonly ran: Ran) {
    super(
      `${command.join(" ").slice(0, 300)} ended with ${ran.code}\n${ran.stdout.slice(-2_000)}\n${
        ran.stderr.slice(-4_000)
      }`,
    );
  }
}

const decoder = new TextDecoder();

/** Runs a command to its end, bounded. */
export async function run(
  command: readonly string[],
  options: { env?: Record<string, string>; timeout_ms?: number; stdin?: string } = {},
): Promise<Ran> {
  const [program, ...args] = command;
  const child = new Deno.Command(program ?? "", {
    args,
    cwd: repository,
    env: { NO_COLOR: "1", ...options.env },
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(options.timeout_ms ?? 600_000),
  }).spawn();
  if (options.stdin !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(options.stdin));
    await writer.close();
  }
  const { code, stdout, stderr } = await child.output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** The same, and a failure is an error. */
export async function mustRun(
  command: readonly string[],
  options: { env?: Record<string, string>; timeout_ms?: number; stdin?: string } = {},
): Promise<string> {
  const ran = await run(command, options);
  if (ran.code !== 0) throw new CommandFailed(command, ran);
  return ran.stdout;
}

const deno = (task: string, ...args: string[]) => [
  Deno.execPath(),
  "run",
  "-A",
  `tasks/${task}.ts`,
  ...args,
];

export interface Stack extends AsyncDisposable {
  readonly dataDir: string;
  /** The AWS CLI's answer, parsed. */
  aws<T = Record<string, unknown>>(...args: string[]): Promise<T>;
  /** The AWS CLI, whatever it ends with. */
  awsRaw(...args: string[]): Promise<Ran>;
  /** Environment that any AWS client needs. */
  readonly awsEnv: Record<string, string>;
  hive(...args: string[]): Promise<string>;
  hiveRaw(args: readonly string[], options?: { stdin?: string; timeout_ms?: number }): Promise<Ran>;
  /** Starts it again on the same data after `down` or a power cut. */
  up(...args: string[]): Promise<Ran>;
  down(...args: string[]): Promise<Ran>;
  logs(...args: string[]): Promise<Ran>;
  /** Process ids of one service, as the kernel knows them. */
  pids(service: string): Promise<number[]>;
  /** kill -9 of one service, as its supervisor would find it. */
  kill(service: string): Promise<void>;
  /** kill -9 of everything at once, guests and supervisor too: what a power cut leaves. */
  powerCut(): Promise<void>;
}

/** Every process whose environment or command line names this data directory. */
async function processesOf(dataDir: string): Promise<{ pid: number; command: string }[]> {
  const found: { pid: number; command: string }[] = [];
  for await (const entry of Deno.readDir("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    try {
      const command = (await Deno.readTextFile(`/proc/${pid}/cmdline`)).replaceAll("\0", " ");
      const environment = await Deno.readTextFile(`/proc/${pid}/environ`);
      if (
        command.includes(dataDir) || environment.split("\0").includes(`MULGA_DATA_DIR=${dataDir}`)
      ) found.push({ pid, command });
    } catch {
      // It ended while it was looked at, or is the kernel's.
    }
  }
  return found;
}

export async function startStack(options: { args?: readonly string[] } = {}): Promise<Stack> {
  // Short: a Unix socket's path may have 107 bytes.
  const dataDir = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-" });
  const up = async (...args: string[]) =>
    await run(deno("up", "--data-dir", dataDir, ...args), { timeout_ms: 900_000 });
  const first = await up("--ports", "auto", ...(options.args ?? ["--no-image"]));
  if (first.code !== 0) {
    await run(deno("down", "--data-dir", dataDir, "--purge"));
    throw new CommandFailed(["up"], first);
  }
  const paths = pathsOf(dataDir);
  const config = JSON.parse(await Deno.readTextFile(paths.config));
  const awsEnv: Record<string, string> = {
    AWS_CONFIG_FILE: join(paths.aws, "config"),
    AWS_SHARED_CREDENTIALS_FILE: join(paths.aws, "credentials"),
    AWS_PROFILE: config.profile,
    AWS_CA_BUNDLE: paths.tls.ca,
    AWS_PAGER: "",
    AWS_MAX_ATTEMPTS: "5",
    AWS_RETRY_MODE: "standard",
    ...await quickWaiters(join(paths.aws, "models")),
  };
  const awsRaw = (...args: string[]) =>
    run(["/usr/bin/aws", "--output", "json", ...args], { env: awsEnv, timeout_ms: 400_000 });
  const hiveRaw: Stack["hiveRaw"] = (args, more = {}) =>
    run(deno("hive", ...args), { ...more, env: { MULGA_DATA_DIR: dataDir } });
  const pids = async (service: string) =>
    (await processesOf(dataDir)).filter(({ command }) =>
      service === "nats"
        ? command.includes("nats-server")
        : command.includes(`services/${service}/main.ts`)
    ).map(({ pid }) => pid);
  return {
    dataDir,
    awsEnv,
    awsRaw,
    hiveRaw,
    up,
    pids,
    async aws<T>(...args: string[]): Promise<T> {
      const ran = await awsRaw(...args);
      if (ran.code !== 0) throw new CommandFailed(["aws", ...args], ran);
      return (/^\s*[{[]/.test(ran.stdout) ? JSON.parse(ran.stdout) : {}) as T;
    },
    async hive(...args) {
      const ran = await hiveRaw(args);
      if (ran.code !== 0) throw new CommandFailed(["hive", ...args], ran);
      return ran.stdout;
    },
    down: (...args) => run(deno("down", "--data-dir", dataDir, ...args), { timeout_ms: 400_000 }),
    logs: (...args) => run(deno("logs", "--data-dir", dataDir, ...args)),
    async kill(service) {
      const found = await pids(service);
      if (found.length === 0) throw new Error(`${service} does not run`);
      for (const pid of found) Deno.kill(pid, "SIGKILL");
    },
    async powerCut() {
      // The supervisor first, so that it starts nothing again while the others fall.
      const all = await processesOf(dataDir);
      all.sort((a, b) =>
        Number(b.command.includes("supervisor")) - Number(a.command.includes("supervisor"))
      );
      for (const { pid } of all) {
        try {
          Deno.kill(pid, "SIGKILL");
        } catch {
          // Gone with its parent.
        }
      }
      await untilWorks("everything to be dead", async () => {
        const left = await processesOf(dataDir);
        for (const { pid } of left) {
          try {
            Deno.kill(pid, "SIGKILL");
          } catch {
            // Gone meanwhile.
          }
        }
        return left.length === 0;
      });
    },
    async [Symbol.asyncDispose]() {
      const keep = Deno.env.get("MULGA_KEEP") !== undefined;
      await run(deno("down", "--data-dir", dataDir, ...(keep ? [] : ["--purge"])), {
        timeout_ms: 400_000,
      });
      const left = await processesOf(dataDir);
      for (const { pid } of left) Deno.kill(pid, "SIGKILL");
      if (keep) return console.log(`kept ${dataDir}`);
      let residue = true;
      try {
        await Deno.stat(dataDir);
        await Deno.remove(dataDir, { recursive: true });
      } catch {
        residue = false;
      }
      if (left.length > 0 || residue) {
        throw new Error(
          `down --purge left ${left.length} processes (${
            left.map((one) => one.command.slice(0, 80))
          })${residue ? ` and ${dataDir}` : ""}`,
        );
      }
    },
  };
}
