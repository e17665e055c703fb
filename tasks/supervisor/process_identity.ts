/**
 * Processes by an identity that outlives a reused number: the process id with its start time. The
 * supervisor records its services, so that whoever comes after it (it may have been killed) can end
 * exactly those and nobody else's.
 */
import { writeWhole } from "../init/write_file.ts";

export interface ProcessIdentity {
  readonly name: string;
  readonly pid: number;
  /** Clock ticks between the machine's boot and the process's start. */
  readonly started: string;
}

/** When a process started; undefined when it is not there (or only waits to be reaped). */
export function startOf(pid: number): string | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name in parentheses may hold anything; the fields after it are numbered from 3.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return startOf(identity.pid) === identity.started;
}

export function signal(identity: ProcessIdentity, name: Deno.Signal): void {
  if (!isAlive(identity)) return;
  try {
    Deno.kill(identity.pid, name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Waits until it is gone. @returns whether it went within the time */
export async function waitUntilGone(
  identity: ProcessIdentity,
  timeout_ms: number,
): Promise<boolean> {
  const limit = performance.now() + timeout_ms;
  while (isAlive(identity)) {
    if (performance.now() > limit) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}

/** Asks it to stop, then makes it. @returns whether it stopped by itself */
export async function stopProcess(
  identity: ProcessIdentity,
  timeout_ms: number,
): Promise<boolean> {
  signal(identity, "SIGTERM");
  if (await waitUntilGone(identity, timeout_ms)) return true;
  signal(identity, "SIGKILL");
  await waitUntilGone(identity, 10_000);
  return false;
}

export async function writeRecord(
  path: string,
  processes: readonly ProcessIdentity[],
): Promise<void> {
  await writeWhole(path, `${JSON.stringify(processes, null, 1)}\n`, 0o600);
}

/** What the last supervisor recorded; nothing when there is no record, or none that can be read. */
export async function readRecord(path: string): Promise<ProcessIdentity[]> {
  try {
    const value: unknown = JSON.parse(await Deno.readTextFile(path));
    if (!Array.isArray(value)) return [];
    return value.filter((one): one is ProcessIdentity =>
      typeof one === "object" && one !== null && typeof one.name === "string" &&
      Number.isInteger(one.pid) && typeof one.started === "string"
    );
  } catch {
    return [];
  }
}

/** Programs that a node starts; a command that merely names the data directory is not one. */
const nodeProgram =
  /(^|\/)(qemu-system-\w+|nats-server)$|\/services\/\w+\/main\.ts$|\/tasks\/supervisor\/main\.ts$/;

/** Every process of this machine that serves the node of this data directory, guests too. */
export function processesOf(dataDir: string): (ProcessIdentity & { readonly command: string })[] {
  const found: (ProcessIdentity & { readonly command: string })[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    try {
      const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
      const program = command.find((part) => nodeProgram.test(part));
      const started = startOf(pid);
      if (program === undefined || started === undefined) continue;
      // A guest's QEMU may have another environment, but its sockets lie below the directory.
      const named = command.some((part) => part === dataDir || part.includes(`${dataDir}/`));
      if (
        named || Deno.readTextFileSync(`/proc/${pid}/environ`).split("\0")
          .includes(`MULGA_DATA_DIR=${dataDir}`)
      ) found.push({ name: program, pid, started, command: command.join(" ") });
    } catch {
      // Another user's process, or one that ended while it was looked at.
    }
  }
  return found;
}
