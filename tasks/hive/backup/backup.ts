/** Makes a backup and reads it back: it counts only when it opens and every part is what it was. */
import { pipeline } from "node:stream/promises";
import { PassThrough, Readable } from "node:stream";
import { createZstdCompress, createZstdDecompress } from "node:zlib";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { natsGreets } from "../../supervisor/health_probe.ts";
import { CommandError } from "../../terminal/command.ts";
import { readTar, writeTar } from "../archive/tar.ts";
import { busOf, type NodeOfCommand } from "../node.ts";
import { type BackupContent, type BackupManifest, collectBackup, readBackup } from "./content.ts";
import type { BackupPlace } from "./place.ts";
import { type Lock, type Opener, seal, unseal } from "./seal.ts";
import { startStateServer } from "./state_server.ts";

/** A stream of the state store is far below this. */
const entry_max_bytes = 1 << 30;

export function compressed(content: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return through(content, createZstdCompress());
}

function through(
  content: AsyncIterable<Uint8Array>,
  transform: NodeJS.ReadWriteStream,
): AsyncIterable<Uint8Array> {
  const out = new PassThrough();
  // A failure reaches whoever reads: the stream that it reads from is destroyed with it.
  pipeline(Readable.from(content), transform, out).catch((error) => out.destroy(error));
  return out;
}

/** Runs `work` with the state store: the running one, or one of its own when the node is stopped. */
async function withState<T>(
  node: NodeOfCommand,
  work: (nats: NatsConnection) => Promise<T>,
): Promise<T> {
  if (await natsGreets(node.config.ports.nats)) {
    await using bus = await busOf(node);
    return await work(bus.connection);
  }
  await using server = await startStateServer(node.paths, join(node.paths.nats, "jetstream"));
  return await work(server.nats);
}

export async function makeBackup(
  node: NodeOfCommand,
  place: BackupPlace,
  lock: Lock,
  progress: (what: string) => void,
): Promise<{ manifest: BackupManifest; size_bytes: number; entries: number }> {
  progress("collecting");
  const { manifest, entries } = await withState(
    node,
    (nats) => collectBackup(node.config, node.paths, nats, progress),
  ).catch((cause) => {
    if (cause instanceof CommandError) throw cause;
    const why = cause instanceof Error ? cause.message : cause;
    throw new CommandError(
      `The state cannot be read: ${why}. See \`hive status\`; nothing was saved.`,
      1,
      { cause },
    );
  });
  progress(`writing ${place.name}`);
  const size_bytes = await place.write(seal(compressed(writeTar(entries)), lock));
  return { manifest, size_bytes, entries: entries.length };
}

/** Opens and checks a backup. @throws CommandError */
export async function openBackup(place: BackupPlace, opener: Opener): Promise<BackupContent> {
  try {
    const plain = through(unseal(place.read(), opener), createZstdDecompress());
    return await readBackup(readTar(plain, entry_max_bytes));
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    throw new CommandError(
      `${place.name} cannot be read: ${cause instanceof Error ? cause.message : cause}.`,
      1,
      { cause },
    );
  }
}
