/**
 * How far an update has come, in a file that is whole or the one before: `state.json` among the
 * updates. It is written before each step begins, so after a kill it names a step that may be
 * half done; every step can be done again. One command at a time holds the lock, which the kernel takes
 * back from a holder that died.
 */
import { join } from "node:path";
import { isDiskFull, writeWhole } from "../../init/write_file.ts";
import { CommandError } from "../../terminal/command.ts";

export type UpdateState = UpdatePhase & {
  /** Why the last command ended, in a sentence; gone as soon as a step begins. */
  readonly last_error?: string;
};

type UpdatePhase =
  | { readonly phase: "idle" }
  | {
    /** Fetching and checking, unpacking, writing the other slot. */
    readonly phase: "fetching" | "unpacking" | "installing";
    readonly version: string;
    readonly source: string;
  }
  | {
    /** The next start tries it. */
    readonly phase: "installed";
    readonly version: string;
    /** What ran then, and which start that was. */
    readonly from: string;
    readonly boot_id: string;
  };

const phases: readonly string[] = ["idle", "fetching", "unpacking", "installing", "installed"];

const statePath = (directory: string) => join(directory, "state.json");

/** A file that says nothing sensible counts as idle: every step begins by looking at what is there. */
export async function readState(directory: string): Promise<UpdateState> {
  try {
    const value = JSON.parse(await Deno.readTextFile(statePath(directory)));
    if (phases.includes(value?.phase)) return value;
  } catch {
    // Not there, or damaged.
  }
  return { phase: "idle" };
}

export async function writeState(directory: string, state: UpdateState): Promise<void> {
  await writeWhole(statePath(directory), `${JSON.stringify(state)}\n`, 0o600);
}

/** Changes with every start of the machine. */
export async function bootId(): Promise<string> {
  return (await Deno.readTextFile("/proc/sys/kernel/random/boot_id")).trim();
}

export interface UpdateLock extends Disposable {
  readonly held: true;
}

async function openLock(directory: string): Promise<Deno.FsFile> {
  return await Deno.open(join(directory, "lock"), {
    read: true,
    write: true,
    create: true,
    mode: 0o600,
  });
}

/** The process that holds the lock, as it wrote itself down. */
async function holder(file: Deno.FsFile): Promise<number | undefined> {
  await file.seek(0, Deno.SeekMode.Start);
  const bytes = new Uint8Array(16);
  const length = await file.read(bytes) ?? 0;
  const pid = Number(new TextDecoder().decode(bytes.subarray(0, length)).trim());
  return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
}

async function taken(file: Deno.FsFile): Promise<UpdateLock> {
  try {
    await file.truncate(0);
    await file.seek(0, Deno.SeekMode.Start);
    await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  } catch (error) {
    // The lock is what counts; whose it is, is for messages. Aborting must be possible on a full disk.
    if (!isDiskFull(error)) throw error;
  }
  return { held: true, [Symbol.dispose]: () => file.close() };
}

/** Whoever only looks holds the lock for a moment. */
const glance_ms = 500;

/** @throws CommandError when another command holds it */
export async function lockUpdates(directory: string): Promise<UpdateLock> {
  const file = await openLock(directory);
  const limit = performance.now() + glance_ms;
  do {
    if (await file.tryLock(true)) return await taken(file);
    await new Promise((resolve) => setTimeout(resolve, 20));
  } while (performance.now() < limit);
  const pid = await holder(file);
  file.close();
  throw new CommandError(
    `Another update is under way${pid === undefined ? "" : ` (process ${pid})`}. ` +
      `\`hive update --status\` shows it, \`hive update --abort\` ends it.`,
  );
}

/** Ends the command that holds the lock, and takes it. @throws CommandError */
export async function takeOverLock(directory: string, patience_ms = 60_000): Promise<UpdateLock> {
  const file = await openLock(directory);
  const limit = performance.now() + patience_ms;
  let told: number | undefined;
  while (!await file.tryLock(true)) {
    const pid = await holder(file);
    if (pid !== undefined && pid !== told && pid !== Deno.pid) {
      told = pid;
      try {
        Deno.kill(pid, "SIGTERM");
      } catch {
        // It has ended in this moment.
      }
    }
    if (performance.now() > limit) {
      file.close();
      throw new CommandError(
        `Process ${pid ?? "?"} holds the update and does not end; end it and run this again.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return await taken(file);
}

/** Whether somebody holds the lock now. */
export async function isLocked(directory: string): Promise<boolean> {
  try {
    using file = await openLock(directory);
    return !await file.tryLock(true);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
