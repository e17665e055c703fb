/**
 * `down`: asks the supervisor to stop and passes on what it waits for. Where the supervisor was
 * killed, what it left is ended here. `--purge` then takes the data directory, the guests that still
 * run from it and the profile in the user's AWS files, and refuses a directory that is not a node's.
 */
import {
  type NodeConfig,
  type Paths,
  pathsOf,
  readConfig,
} from "../../services/config/node_config.ts";
import { dataDirOf } from "../init/data_dir.ts";
import { exists } from "../init/write_file.ts";
import { askSupervisor, statusOf } from "../supervisor/control.ts";
import {
  processesOf,
  startOf,
  stopProcess,
  waitUntilGone,
} from "../supervisor/process_identity.ts";
import { endLeftovers } from "../supervisor/supervisor.ts";
import { CommandError } from "../terminal/command.ts";
import { Progress } from "../terminal/progress.ts";
import { removeUserProfile } from "./aws_profile.ts";
import { quietLog } from "./quiet_log.ts";
import { ignoreMissing } from "../../services/config/missing_files.ts";

export interface StopOptions {
  readonly dataDir?: string;
  readonly purge: boolean;
  /** Guests get ten seconds to shut down, and those that the supervisor cannot reach are ended. */
  readonly force: boolean;
}

export async function stop(options: StopOptions): Promise<number> {
  const dataDir = dataDirOf(options.dataDir);
  const paths = pathsOf(dataDir);
  if (!await exists(paths.config)) {
    if (await exists(paths.root) && options.purge) return await purgeUnfinished(paths);
    console.log(`There is no node in ${dataDir}; nothing to stop.`);
    return 0;
  }
  // What a guest would still write goes with the data directory.
  const guests_ms = options.purge ? 0 : options.force ? forced_ms : undefined;
  const wasRunning = await stopRunning(paths, options.force, guests_ms);
  if (!wasRunning) console.log(`MulgaOS is not running from ${dataDir}.`);
  if (options.purge) await purge(paths);
  return 0;
}

/** How long guests have when the operator is in a hurry. */
const forced_ms = 10_000;

/** Stops supervisor and services. @returns whether anything ran */
async function stopRunning(
  paths: Paths,
  force: boolean,
  guests_ms: number | undefined,
): Promise<boolean> {
  const before = await statusOf(paths);
  if (before === undefined && processesOf(paths.root).length === 0) return false;
  using progress = new Progress("Stopping");
  if (before === undefined) {
    const ended = await endLeftovers(paths, quietLog, (text) => progress.step(text));
    await endGuests(paths, force, progress);
    progress.done("what was left has stopped");
    return ended > 0;
  }
  const supervisor = {
    name: "supervisor",
    pid: before.pid,
    started: startOf(before.pid) ?? "",
  };
  for await (
    const reply of askSupervisor(paths, {
      ask: "stop",
      ...(guests_ms === undefined ? {} : { guests_ms }),
    })
  ) {
    if ("say" in reply) progress.step(reply.say);
    if ("error" in reply) throw new CommandError(reply.error);
  }
  if (!await waitUntilGone(supervisor, 10_000)) await stopProcess(supervisor, 1_000);
  await endGuests(paths, force, progress);
  progress.done("everything has stopped");
  return true;
}

/** Guests that did not shut down: told, and ended only when asked to. */
async function endGuests(paths: Paths, force: boolean, progress: Progress): Promise<void> {
  const guests = processesOf(paths.root).filter((one) => /qemu-system-/.test(one.name));
  if (guests.length === 0) return;
  if (!force) {
    progress.step(`${guests.length} guests did not shut down and were left; --force ends them`);
    return;
  }
  progress.step(`ending ${guests.length} guests`);
  await Promise.all(guests.map((guest) => stopProcess(guest, 5_000)));
}

async function purge(paths: Paths): Promise<void> {
  let config: NodeConfig | undefined;
  try {
    config = await readConfig(paths.root);
  } catch {
    // Damaged, and about to go.
  }
  await Promise.all(processesOf(paths.root).map((one) => stopProcess(one, 3_000)));
  if (config !== undefined) {
    for (const blob of config.storage.blobs) {
      if (!blob.startsWith(`${paths.root}/`)) await removeAll(blob);
    }
    await removeUserProfile(config);
  }
  await removeAll(paths.root);
  console.log(`Removed ${paths.root} and everything in it.`);
}

/** A first start that was cut off before there was a configuration. */
async function purgeUnfinished(paths: Paths): Promise<number> {
  const known = new Set([
    ...["run", "logs", "bin", "secrets", "tls", "nats", "aws", "predastore", "viperblock"],
    ...["identity", "gateway", "compute", "metadata", "console", "images"],
  ]);
  for await (const entry of Deno.readDir(paths.root)) {
    if (!known.has(entry.name)) {
      throw new CommandError(
        `${paths.root} is not a node's data directory (it holds "${entry.name}"), so nothing was removed.`,
      );
    }
  }
  await removeAll(paths.root);
  console.log(`Removed ${paths.root}.`);
  return 0;
}

async function removeAll(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch(ignoreMissing);
}
