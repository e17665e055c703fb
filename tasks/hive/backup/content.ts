/**
 * What is in a backup: the node's own files (configuration, secrets, certificate authority, format
 * stamp) and every stream of the state store (users, keys, policies, instances, volumes, images …
 * as records). What is not: the bytes of volumes, objects and images, logs, and what is made anew from
 * the rest (server certificate, bus configuration, predastore's index).
 *
 * The streams are of one moment when nothing was written meanwhile; otherwise they are taken again, some
 * times, and the manifest says so if writes never paused. Services converge from such a state as they
 * do after a crash.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { type FormatStamp, readStamp } from "../../../services/config/formats.ts";
import type { NodeConfig, Paths } from "../../../services/config/node_config.ts";
import { releaseVersion } from "../../../services/config/release.ts";
import { CommandError } from "../../terminal/command.ts";
import { type ArchiveEntry, ArchiveError, isPlainName } from "../archive/tar.ts";
import { snapshotStream, streamNames, streamPicture, type StreamSnapshot } from "./streams.ts";

export interface BackupManifest {
  readonly v: 1;
  /** The release that made it. */
  readonly release: string;
  readonly created: string;
  readonly node: Pick<NodeConfig, "cluster_id" | "node_id" | "region" | "az">;
  readonly stamp: FormatStamp | undefined;
  /** All streams are of one moment. */
  readonly one_moment: boolean;
  readonly streams: readonly Pick<StreamSnapshot, "name" | "config" | "state">[];
}

/** Files and folders below the data directory that a node cannot be made again without. */
const kept = ["config.json", "formats.json", "secrets", "tls/ca.crt", "tls/ca.key"] as const;

const attempts = 5;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

async function* filesBelow(root: string, name: string): AsyncGenerator<ArchiveEntry> {
  const path = join(root, name);
  let stat: Deno.FileInfo;
  try {
    stat = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (stat.isDirectory) {
    const inside = await Array.fromAsync(Deno.readDir(path));
    for (const entry of inside.sort((a, b) => a.name < b.name ? -1 : 1)) {
      yield* filesBelow(root, `${name}/${entry.name}`);
    }
  } else if (stat.isFile && isPlainName(`files/${name}`) && !name.endsWith(".new")) {
    yield {
      name: `files/${name}`,
      bytes: await Deno.readFile(path),
      mode: (stat.mode ?? 0) & 0o777,
    };
  }
}

/** All streams; again when one of them was written to while the others were taken. */
async function allStreams(
  nats: NatsConnection,
  progress: (what: string) => void,
): Promise<{ streams: StreamSnapshot[]; one_moment: boolean }> {
  let taken = new Map<string, StreamSnapshot>();
  for (let attempt = 0; attempt < attempts; attempt++) {
    const names = await streamNames(nats);
    const next = new Map<string, StreamSnapshot>();
    let changed = names.length !== taken.size;
    for (const name of names) {
      const before = taken.get(name);
      if (before !== undefined) {
        const { state } = await streamPicture(nats, name);
        if (state.last_seq === before.state.last_seq && state.messages === before.state.messages) {
          next.set(name, before);
          continue;
        }
      }
      progress(`saving ${name}`);
      changed = true;
      next.set(name, await snapshotStream(nats, name));
    }
    taken = next;
    if (!changed) return { streams: [...taken.values()], one_moment: true };
  }
  return { streams: [...taken.values()], one_moment: false };
}

export async function collectBackup(
  config: NodeConfig,
  paths: Paths,
  nats: NatsConnection,
  progress: (what: string) => void,
): Promise<{ manifest: BackupManifest; entries: ArchiveEntry[] }> {
  const entries: ArchiveEntry[] = [];
  for (const name of kept) entries.push(...await Array.fromAsync(filesBelow(paths.root, name)));
  for (const needed of ["files/config.json", "files/secrets/master.key"]) {
    if (entries.some((entry) => entry.name === needed)) continue;
    throw new CommandError(
      `${paths.root} has no ${needed.slice("files/".length)}: it is no whole node.`,
    );
  }
  const { streams, one_moment } = await allStreams(nats, progress);
  const manifest: BackupManifest = {
    v: 1,
    release: releaseVersion(),
    created: new Date().toISOString(),
    node: {
      cluster_id: config.cluster_id,
      node_id: config.node_id,
      region: config.region,
      az: config.az,
    },
    stamp: await readStamp(paths.root),
    one_moment,
    streams: streams.map(({ name, config, state }) => ({ name, config, state })),
  };
  for (const { name, data } of streams) entries.push({ name: `streams/${name}`, bytes: data });
  entries.unshift({ name: "manifest.json", bytes: encoder.encode(JSON.stringify(manifest)) });
  return { manifest, entries: [...entries, sumsEntry(entries)] };
}

const sumOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function sumsEntry(entries: readonly ArchiveEntry[]): ArchiveEntry {
  const text = entries.map((entry) => `${sumOf(entry.bytes)}  ${entry.name}\n`).join("");
  return { name: "SHA256SUMS", bytes: encoder.encode(text) };
}

export interface BackupContent {
  readonly manifest: BackupManifest;
  /** Below the data directory. */
  readonly files: readonly ArchiveEntry[];
  readonly streams: readonly StreamSnapshot[];
}

/** Reads and checks everything. @throws CommandError when a part is missing or not what it was */
export async function readBackup(entries: AsyncIterable<ArchiveEntry>): Promise<BackupContent> {
  const found = new Map<string, ArchiveEntry>();
  try {
    for await (const entry of entries) {
      if (found.has(entry.name)) throw new ArchiveError(`${entry.name} is in it twice`);
      found.set(entry.name, entry);
    }
  } catch (cause) {
    if (!(cause instanceof ArchiveError)) throw cause;
    throw new CommandError(`The backup is damaged: ${cause.message}.`, 1, { cause });
  }
  const sums = found.get("SHA256SUMS");
  const others = [...found.values()].filter((entry) => entry !== sums);
  if (
    sums === undefined || decoder.decode(sums.bytes) !== decoder.decode(sumsEntry(others).bytes)
  ) {
    throw new CommandError(
      "The backup is damaged: its parts are not what they were when it was made.",
    );
  }
  let manifest: BackupManifest;
  try {
    manifest = JSON.parse(decoder.decode(found.get("manifest.json")?.bytes));
  } catch (cause) {
    throw new CommandError("The backup has no manifest that can be read.", 1, { cause });
  }
  if (manifest.v !== 1) {
    throw new CommandError(
      `The backup has format ${manifest.v}, made by release ${manifest.release}; this release cannot read it.`,
    );
  }
  const streams = manifest.streams.map(({ name, config, state }): StreamSnapshot => {
    const entry = found.get(`streams/${name}`);
    if (entry === undefined) throw new CommandError(`The backup lacks stream ${name}.`);
    return { name, config, state, data: entry.bytes };
  });
  const files = others.filter((entry) => entry.name.startsWith("files/"))
    .map((entry) => ({ ...entry, name: entry.name.slice("files/".length) }));
  return { manifest, files, streams };
}
