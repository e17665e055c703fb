/**
 * Puts a backup into a data directory.
 *
 * Everything is made and checked beside the node's state first: files, and the streams by a
 * state store of their own. Then a journal is written and the parts change places one by one; a
 * restore that was cut off before the journal has changed nothing, one after it is finished by the next
 * start or restore.
 */
import { dirname, join, relative } from "node:path";
import { ownFormats, requireReadable } from "../../../services/config/formats.ts";
import {
  type NodeConfig,
  parseConfig,
  type Paths,
  readConfig,
} from "../../../services/config/node_config.ts";
import { exists, isDiskFull, writeWhole } from "../../init/write_file.ts";
import { natsGreets } from "../../supervisor/health_probe.ts";
import { CommandError } from "../../terminal/command.ts";
import type { BackupContent } from "./content.ts";
import { startStateServer } from "./state_server.ts";
import { restoreStream } from "./streams.ts";
import { ignoreMissing } from "../../../services/config/missing_files.ts";

/** What changes places, in this order; all that a backup holds, and what is made from it anew. */
const parts = ["nats", "secrets", "tls", "formats.json", "config.json"] as const;
/** What other parts were made from and must be made anew. */
const derived = ["aws"] as const;

const stagingOf = (paths: Paths) => join(paths.root, "restore");
const journalOf = (paths: Paths) => join(paths.root, "restore.json");

export interface RestoreOptions {
  /** Replace the state that is there. */
  readonly overwrite: boolean;
  readonly progress: (what: string) => void;
  /** Told at the border of each step; what it throws ends the run there. */
  readonly onStep?: (step: string) => void;
}

/** @throws CommandError when there is state, or the node runs */
export async function requireRestorable(paths: Paths, overwrite: boolean): Promise<void> {
  if (!await exists(paths.config)) return;
  const config = await readConfig(paths.root);
  if (await natsGreets(config.ports.nats)) {
    throw new CommandError(
      `MulgaOS is running from ${paths.root}. Stop it first (\`systemctl stop mulga.target\`, or ` +
        `\`deno task down\`); nothing was changed.`,
    );
  }
  if (overwrite) return;
  throw new CommandError(
    `${paths.root} holds node ${config.node_id} of cluster ${config.cluster_id}. A restore replaces its ` +
      `users, keys and records: say --overwrite if that is meant. Nothing was changed.`,
  );
}

/** The backup's configuration, for this machine: its own directories and ports. */
function configFor(
  content: BackupContent,
  paths: Paths,
  current: NodeConfig | undefined,
): string {
  const entry = content.files.find((file) => file.name === "config.json");
  if (entry === undefined) throw new CommandError("The backup has no configuration.");
  const saved = parseConfig(new TextDecoder().decode(entry.bytes), "config.json of the backup");
  const moved = (path: string) =>
    path === saved.data_dir || path.startsWith(`${saved.data_dir}/`)
      ? paths.root + path.slice(saved.data_dir.length)
      : path;
  const config: NodeConfig = {
    ...saved,
    data_dir: paths.root,
    ports: current?.ports ?? saved.ports,
    bind: current?.bind ?? saved.bind,
    storage: { ...saved.storage, blobs: saved.storage.blobs.map(moved) },
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

async function writeStaged(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  using file = await Deno.open(path, { write: true, create: true, truncate: true, mode });
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  await file.sync();
}

/**
 * The keys of the objects that this machine's own disks hold stay at hand behind the backup's: a key
 * file's first line seals, the others still open.
 */
async function keepObjectKeys(staging: string, paths: Paths): Promise<void> {
  const linesOf = async (path: string): Promise<string[]> => {
    if (!await exists(path)) return [];
    return (await Deno.readTextFile(path)).split("\n").map((line) => line.trim())
      .filter((line) => line !== "");
  };
  const staged = join(staging, relative(paths.root, paths.objectKeys));
  const keys = new Set([...await linesOf(staged), ...await linesOf(paths.objectKeys)]);
  if (keys.size === 0) return;
  await writeStaged(staged, new TextEncoder().encode(`${[...keys].join("\n")}\n`), 0o600);
}

/** @throws CommandError, StateTooNew; the node is as it was unless the journal was written */
export async function restore(
  content: BackupContent,
  paths: Paths,
  { overwrite, progress, onStep = () => {} }: RestoreOptions,
): Promise<void> {
  if (await finishRestore(paths)) progress("an earlier restore was finished first");
  await requireRestorable(paths, overwrite);
  if (content.manifest.stamp !== undefined) requireReadable(content.manifest.stamp, ownFormats());
  const current = await exists(paths.config)
    ? parseConfig(await Deno.readTextFile(paths.config), paths.config)
    : undefined;
  const staging = stagingOf(paths);
  await Deno.remove(staging, { recursive: true }).catch(() => {});
  await Deno.mkdir(staging, { recursive: true, mode: 0o700 });
  try {
    onStep("files");
    progress("writing files");
    for (const file of content.files) {
      await writeStaged(join(staging, file.name), file.bytes, file.mode ?? 0o600);
    }
    await keepObjectKeys(staging, paths);
    const config = configFor(content, paths, current);
    await writeStaged(join(staging, "config.json"), new TextEncoder().encode(config), 0o600);
    const store = join(staging, "nats/jetstream");
    await Deno.mkdir(store, { recursive: true, mode: 0o700 });
    {
      onStep("streams");
      await using server = await startStateServer(paths, store);
      for (const stream of content.streams) {
        progress(`restoring ${stream.name}`);
        await restoreStream(server.nats, stream);
      }
    }
    onStep("journal");
    // Everything is on the disk before anything changes its place.
    await new Deno.Command("sync").output();
    await writeWhole(journalOf(paths), `${JSON.stringify({ v: 1, parts })}\n`, 0o600);
  } catch (error) {
    await Deno.remove(staging, { recursive: true }).catch(() => {});
    throw brokeOff(error);
  }
  progress("putting it in place");
  onStep("swap");
  await finishRestore(paths, onStep);
}

/** Nothing has changed its place yet, whatever went wrong. */
function brokeOff(cause: unknown): CommandError {
  const why = (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, "");
  const advice = isDiskFull(cause)
    ? "The state needs room beside the one that is here: make some, and run this again. "
    : "";
  return new CommandError(`The restore broke off: ${why}. ${advice}Nothing was changed.`, 1, {
    cause,
  });
}

/**
 * Finishes a restore whose journal stands; each step can be done again.
 * @returns whether there was one
 */
export async function finishRestore(
  paths: Paths,
  onStep: (step: string) => void = () => {},
): Promise<boolean> {
  const staging = stagingOf(paths);
  if (!await exists(journalOf(paths))) {
    // What a restore had made when it was killed; it holds secrets.
    await Deno.remove(staging, { recursive: true }).catch(() => {});
    return false;
  }
  for (const part of parts) {
    const from = join(staging, part);
    if (!await exists(from)) continue;
    onStep(`swap ${part}`);
    const to = join(paths.root, part);
    await Deno.remove(to, { recursive: true }).catch(ignoreMissing);
    await Deno.rename(from, to);
  }
  for (const part of derived) {
    await Deno.remove(join(paths.root, part), { recursive: true }).catch(() => {});
  }
  onStep("done");
  await Deno.remove(staging, { recursive: true }).catch(() => {});
  await Deno.remove(journalOf(paths));
  return true;
}
