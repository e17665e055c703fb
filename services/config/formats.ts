/**
 * The formats of what a node keeps, and the stamp that says which of them its state has reached.
 *
 * `<data_dir>/formats.json` is the stamp: the release that wrote it and a number for each format. A
 * release whose table does not read a stamped number refuses the state before it touches anything: an
 * old release may otherwise misread, or "repair", what a newer one wrote. The stamp never moves back,
 * and moves forward only when a release has proven itself (the health gate, or `up` in a checkout).
 *
 * The rule for whoever changes a format: the last two numbers are always readable, and the release
 * that first reads number n still writes n-1 where it rewrites existing state; the one after it writes n. So the
 * release before can always take the state back when an update is rolled back. The earlier format
 * stays as a fixture under `tests/formats/`, and a test opens it.
 */
import { join } from "node:path";
import { releaseVersion } from "./release.ts";
import { textIfThere } from "./missing_files.ts";

export interface Format {
  /** What this release writes. */
  readonly writes: number;
  /** What it can open, `writes` among them. */
  readonly reads: readonly number[];
  readonly what: string;
}

export const formats = {
  config: { writes: 1, reads: [1], what: "config.json" },
  state_row: { writes: 1, reads: [1], what: "records in the state store" },
  sealed_secret: { writes: 1, reads: [1], what: "secrets sealed by the master key" },
  object_segment: { writes: 1, reads: [1], what: "predastore's segments" },
  // 2 is what encrypted volumes write; the others go on with 1.
  volume_log: { writes: 2, reads: [1, 2], what: "viperblock's log" },
  volume_chunk: { writes: 1, reads: [1], what: "viperblock's chunks" },
  packed_chunk: { writes: 1, reads: [1], what: "viperblock's packed chunks" },
  volume_seal: { writes: 1, reads: [1], what: "sealed objects and checkpoints of viperblock" },
  volume_map: { writes: 1, reads: [1], what: "viperblock's maps" },
} as const satisfies Readonly<Record<string, Format>>;

/** What a release can open, as it is published beside its files and checked before an update. */
export interface ReleaseFormats {
  readonly version: string;
  readonly reads: Readonly<Record<string, readonly number[]>>;
}

export interface FormatStamp {
  readonly v: 1;
  /** The newest release that blessed this state. */
  readonly release: string;
  readonly formats: Readonly<Record<string, number>>;
}

/** The state is newer than the release that shall open it; the message says what to do. */
export class StateTooNew extends Error {
  override readonly name = "StateTooNew";
}

export function ownFormats(version = releaseVersion()): ReleaseFormats {
  return {
    version,
    reads: Object.fromEntries(Object.entries(formats).map(([name, one]) => [name, one.reads])),
  };
}

/** @returns undefined when it is not what a release publishes */
export function parseReleaseFormats(text: string): ReleaseFormats | undefined {
  try {
    const value = JSON.parse(text) as Partial<ReleaseFormats>;
    const { version, reads } = value;
    if (typeof version !== "string" || typeof reads !== "object" || reads === null) {
      return undefined;
    }
    for (const numbers of Object.values(reads)) {
      if (!Array.isArray(numbers) || !numbers.every(Number.isSafeInteger)) return undefined;
    }
    return { version, reads };
  } catch {
    return undefined;
  }
}

const stampPath = (dataDir: string) => join(dataDir, "formats.json");

/** @throws StateTooNew when the stamp itself is of a later kind */
export async function readStamp(dataDir: string): Promise<FormatStamp | undefined> {
  const path = stampPath(dataDir);
  const text = await textIfThere(path);
  if (text === undefined) return undefined;
  let value: Partial<FormatStamp> | null = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (value?.v === 1 && typeof value.release === "string" && typeof value.formats === "object") {
    return value as FormatStamp;
  }
  throw new StateTooNew(
    `${path} is not a stamp that release ${releaseVersion()} can read, so it is not known whether it ` +
      `may open this state. Start the release that wrote it, or restore a backup; nothing was changed.`,
  );
}

/** @throws StateTooNew naming both releases */
export function requireReadable(stamp: FormatStamp, release: ReleaseFormats): void {
  const newer = Object.entries(stamp.formats)
    .filter(([name, number]) => !(release.reads[name] ?? []).includes(number));
  if (newer.length === 0) return;
  const what = newer.map(([name, number]) => {
    const known: Readonly<Record<string, Format>> = formats;
    return `${known[name]?.what ?? name} (format ${number})`;
  });
  throw new StateTooNew(
    `This node's state was last written by release ${stamp.release} and is newer than release ` +
      `${release.version} can read: ${
        what.join(", ")
      }. Start release ${stamp.release} or a later one ` +
      `again, or restore a backup made with ${release.version}; nothing was changed.`,
  );
}

/**
 * The gate at every start, before anything of the state is opened or completed.
 * @throws StateTooNew
 */
export async function requireReadableState(dataDir: string): Promise<void> {
  const stamp = await readStamp(dataDir);
  if (stamp !== undefined) requireReadable(stamp, ownFormats());
}

/** Stamps the state with this release's formats. A number that is there already never gets smaller. */
export async function stampForward(dataDir: string): Promise<void> {
  const current = await readStamp(dataDir);
  if (current !== undefined) requireReadable(current, ownFormats());
  const next: FormatStamp = {
    v: 1,
    release: releaseVersion(),
    formats: Object.fromEntries(
      Object.entries(formats).map((
        [name, { writes }],
      ) => [name, Math.max(writes, current?.formats[name] ?? 0)]),
    ),
  };
  const text = `${JSON.stringify(next, null, 2)}\n`;
  if (current !== undefined && `${JSON.stringify(current, null, 2)}\n` === text) return;
  const beside = `${stampPath(dataDir)}.new`;
  {
    using file = await Deno.open(beside, { write: true, create: true, truncate: true });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
  }
  await Deno.rename(beside, stampPath(dataDir));
}
