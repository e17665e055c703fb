/**
 * An update from a source into the other slot: find, check, fetch, unpack, install.
 *
 * Nothing is written to a slot before the signed list and every file's sum are right. Each step may be
 * cut off at any moment and done again; whatever goes wrong, the running version goes on. The next
 * start tries the new version; the health gate keeps it or the boot loader goes back by itself.
 */
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { readTrustedKeys, SignatureError, signerOf } from "../../../image/signing/keys.ts";
import {
  parseSums,
  signatureName,
  type Sums,
  sums_max_bytes,
  sumsName,
} from "../../../image/signing/sums.ts";
import {
  type FormatStamp,
  parseReleaseFormats,
  requireReadable,
  StateTooNew,
} from "../../../services/config/formats.ts";
import { isDiskFull, writeWhole } from "../../init/write_file.ts";
import { CommandError } from "../../terminal/command.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import { diskFull, download, partialPath, readSmall } from "./download.ts";
import { type Release, type ReleaseArchitecture, releasesIn } from "./release.ts";
import type { Slots } from "./slots.ts";
import { type Source, SourceError } from "./source.ts";
import { bootId, readState, type UpdateState, writeState } from "./state.ts";
import { unpack } from "./unpack.ts";
import { compareVersions } from "./version.ts";

export interface UpdateSite {
  /** `/var/lib/updates` */
  readonly directory: string;
  readonly keyDirectories: readonly string[];
  readonly slots: Slots;
  readonly architecture: ReleaseArchitecture;
  /** How far the node's state has come; undefined when there is no node. */
  stamp(): Promise<FormatStamp | undefined>;
}

export interface UpdateOptions {
  readonly version?: string;
  readonly allowDowngrade?: boolean;
  readonly allowUnsigned?: boolean;
  readonly signal: AbortSignal;
  readonly progress: (what: string, share?: number) => void;
  /** Told at the border of each step; what it throws ends the run there. */
  readonly onStep?: (step: string) => void;
  readonly pause_ms?: number;
  readonly silence_ms?: number;
}

export interface Offer {
  readonly current: string;
  readonly release: Release;
  /** The key that signed the list; undefined when nobody needed to. */
  readonly signer: string | undefined;
  readonly newer: boolean;
  /** It was installed here, tried, and the machine went back: it will not be better by itself. */
  readonly rolledBack: boolean;
}

const signature_max_bytes = 4_096;
const formats_max_bytes = 1 << 16;
/** What cannot be compressed grows a little by it. */
const overhead_bytes = 1 << 20;
/** Room that stays free for whoever else writes. */
const reserve_bytes = 64 << 20;

/** The signed list of a source. @throws CommandError, SignatureError, SourceError */
async function signedSums(
  site: UpdateSite,
  source: Source,
  options: UpdateOptions,
): Promise<{ sums: Sums; signer: string | undefined }> {
  const list = await readSmall(source, sumsName, sums_max_bytes, options);
  const trusted = await readTrustedKeys(site.keyDirectories);
  if (trusted.length === 0) {
    if (options.allowUnsigned !== true) {
      throw new CommandError(
        `This system trusts no key, so no update can be checked. Put the publisher's public key into ` +
          `${site.keyDirectories.at(-1)}/NAME.pub, or say --allow-unsigned to take it as it is.`,
      );
    }
    return { sums: parseSums(new TextDecoder().decode(list)), signer: undefined };
  }
  let signature: Uint8Array<ArrayBuffer>;
  try {
    signature = await readSmall(source, signatureName, signature_max_bytes, options);
  } catch (cause) {
    if (!(cause instanceof SourceError) || cause.passing) throw cause;
    throw new CommandError(
      `The release at ${source.name} is not signed (${signatureName} is missing). Nothing was installed.`,
      1,
      { cause },
    );
  }
  const signer = await signerOf(list, signature, trusted);
  if (signer === undefined) {
    throw new CommandError(
      `The signature of the release at ${source.name} is of none of the keys that this system trusts ` +
        `(${trusted.map((key) => key.name).join(", ")}). Nothing was installed.`,
    );
  }
  return { sums: parseSums(new TextDecoder().decode(list)), signer };
}

/** What a source offers this machine. @throws CommandError, SignatureError */
export async function findUpdate(
  site: UpdateSite,
  source: Source,
  options: UpdateOptions,
): Promise<Offer> {
  const current = await site.slots.current();
  options.progress(`asking ${source.name}`);
  const { sums, signer } = await signedSums(site, source, options).catch(asCommandError);
  const releases = releasesIn(sums, site.architecture);
  const release = options.version === undefined
    ? releases[0]
    : releases.find((one) => one.version === options.version);
  if (release === undefined) {
    const others = releases.map((one) => one.version).join(", ");
    throw new CommandError(
      `${source.name} has no ${options.version === undefined ? "release" : options.version} for ` +
        `${site.architecture}${others === "" ? "" : `; it has ${others}`}.`,
    );
  }
  const state = await readState(site.directory);
  return {
    current,
    release,
    signer,
    newer: compareVersions(release.version, current) > 0,
    rolledBack: state.phase === "installed" && state.version === release.version &&
      state.version !== current && state.boot_id !== await bootId(),
  };
}

function asCommandError(error: unknown): never {
  if (error instanceof SourceError || error instanceof SignatureError) {
    throw new CommandError(error.message, 1, { cause: error });
  }
  throw error;
}

/** Whether the release may be installed here. @throws CommandError */
async function requireFitting(
  site: UpdateSite,
  source: Source,
  { release, current, newer }: Offer,
  options: UpdateOptions,
): Promise<void> {
  if (release.version === current) {
    throw new CommandError(`Version ${current} runs already.`, 0);
  }
  if (!newer && options.allowDowngrade !== true) {
    throw new CommandError(
      `${source.name} offers version ${release.version}, which is older than ${current} that runs. ` +
        `Nothing was installed; --allow-downgrade takes it all the same.`,
    );
  }
  const running = (await site.slots.list()).find((one) => one.running);
  if (running !== undefined && (running.state === "trying" || running.state === "failed")) {
    throw new CommandError(
      `Version ${current} is still being tried, and the other slot holds the version to go back to. Wait ` +
        `until it has proven itself (\`hive update --status\`); nothing was installed.`,
    );
  }
  const stamp = await site.stamp();
  if (stamp === undefined) return;
  if (release.formats === undefined) {
    if (newer) return;
    throw new CommandError(
      `Version ${release.version} does not say which state it can read, so it is not installed over ` +
        `${current}. Restore a backup on a machine that was set up with ${release.version} instead.`,
    );
  }
  const path = await download(source, release.formats, {
    directory: site.directory,
    signal: options.signal,
    progress: () => {},
    max_bytes: formats_max_bytes,
    ...waitsOf(options),
  });
  const formats = parseReleaseFormats(await Deno.readTextFile(path));
  if (formats === undefined) {
    throw new CommandError(
      `${release.formats.name} is not a list of formats; nothing was installed.`,
    );
  }
  try {
    requireReadable(stamp, { ...formats, version: release.version });
  } catch (cause) {
    if (!(cause instanceof StateTooNew)) throw cause;
    throw new CommandError(`${cause.message} The update was not installed.`, 1, { cause });
  }
}

function waitsOf({ pause_ms, silence_ms }: UpdateOptions) {
  return {
    ...(pause_ms === undefined ? {} : { pause_ms }),
    ...(silence_ms === undefined ? {} : { silence_ms }),
  };
}

/** @throws CommandError when it does not fit */
async function requireSpace(
  site: UpdateSite,
  source: Source,
  release: Release,
  options: UpdateOptions,
): Promise<void> {
  let need = reserve_bytes;
  for (const part of release.parts) {
    const size = await source.size(part.name, options.signal).catch(asCommandError) ?? 0;
    const here = await sizeOf(partialPath(site.directory, part));
    if (await sizeOf(join(site.directory, part.staged)) > 0) continue;
    // Compressed and unpacked lie side by side; what unpacks to holes takes no room.
    const unpacked = part.staged === part.name ? size : size * 3 / 2;
    need += Math.max(0, size - here) + unpacked;
    if (part.kind === "kernel") await site.slots.requireBootSpace(size);
    else await site.slots.capacity(part);
  }
  const { bavail, bsize } = await statfs(site.directory);
  const free = Number(bavail) * Number(bsize);
  if (free >= need) return;
  throw new CommandError(
    `The update needs ${sizeText(need)} in ${site.directory} and ${
      sizeText(free)
    } are free. Delete ` +
      `volumes, objects or images that are not needed; nothing was installed.`,
  );
}

async function sizeOf(path: string): Promise<number> {
  return (await Deno.stat(path).catch(() => undefined))?.size ?? 0;
}

/** Files of other releases are in the way of the installer, and partial ones of the disk. */
async function removeOthers(site: UpdateSite, release: Release | undefined): Promise<void> {
  const parts = release?.parts ?? [];
  const wanted = new Set(parts.flatMap((part) => [`${part.sum}.partial`, part.staged]));
  for await (const { name, isFile } of Deno.readDir(site.directory)) {
    if (isFile && !wanted.has(name) && /\.partial$|\.unpacking$|\.new$|^mulgaos_/.test(name)) {
      await Deno.remove(join(site.directory, name));
    }
  }
}

/**
 * A release may be published again under its version: what was unpacked counts only for the sums that
 * it was unpacked from, which `staged.json` keeps.
 */
async function dropStaleStaged(site: UpdateSite, release: Release): Promise<void> {
  const path = join(site.directory, "staged.json");
  const sums = JSON.stringify(release.parts.map((part) => [part.staged, part.sum]));
  if (await Deno.readTextFile(path).catch(() => "") === sums) return;
  await removeOthers(site, undefined);
  await writeWhole(path, sums, 0o600);
}

/**
 * Installs a release into the other slot. The caller holds the lock.
 * @returns false when this very version waits for its start already
 * @throws CommandError, SignatureError
 */
export async function runUpdate(
  site: UpdateSite,
  source: Source,
  options: UpdateOptions,
): Promise<{ readonly version: string; readonly installed: boolean }> {
  const step = (name: string) => {
    options.signal.throwIfAborted();
    options.onStep?.(name);
  };
  const remember = (state: UpdateState) => writeState(site.directory, state);
  try {
    step("find");
    const offer = await findUpdate(site, source, options);
    const { release } = offer;
    const { version } = release;
    const state = await readState(site.directory);
    const boot_id = await bootId();
    if (
      state.phase === "installed" && state.version === version && state.boot_id === boot_id &&
      (await site.slots.list()).some((one) => one.version === version && one.state !== "incomplete")
    ) return { version, installed: false };
    await requireFitting(site, source, offer, options);
    step("clean");
    await dropStaleStaged(site, release);
    await removeOthers(site, release);
    await requireSpace(site, source, release, options);
    await remember({ phase: "fetching", version, source: source.name });
    for (const part of release.parts) {
      const staged = join(site.directory, part.staged);
      if (await sizeOf(staged) > 0) continue;
      step(`fetch ${part.kind}`);
      await download(source, part, {
        directory: site.directory,
        signal: options.signal,
        progress: (here, size) =>
          options.progress(
            `fetching ${part.name} (${sizeText(here)}${
              size === undefined ? "" : ` of ${sizeText(size)}`
            })`,
            size === undefined || size === 0 ? undefined : here / size,
          ),
        max_bytes: await site.slots.capacity(part) + overhead_bytes,
        ...waitsOf(options),
      });
      step(`fetched ${part.kind}`);
    }
    await remember({ phase: "unpacking", version, source: source.name });
    for (const part of release.parts) {
      const staged = join(site.directory, part.staged);
      const path = partialPath(site.directory, part);
      if (await sizeOf(staged) === 0) {
        step(`unpack ${part.kind}`);
        await unpack(path, staged, part.name !== part.staged, {
          signal: options.signal,
          max_bytes: await site.slots.capacity(part),
          progress: (done) => options.progress(`unpacking ${part.name} (${sizeText(done)})`),
        });
      }
      await Deno.remove(path).catch(() => {});
    }
    step("install");
    await remember({ phase: "installing", version, source: source.name });
    await site.slots.install(release, site.directory, options);
    step("installed");
    await remember({ phase: "installed", version, from: offer.current, boot_id });
    step("tidy");
    await removeOthers(site, undefined);
    return { version, installed: true };
  } catch (cause) {
    const error = isDiskFull(cause) ? diskFull("The update", cause) : cause;
    if (error instanceof CommandError && error.exitCode !== 0) {
      // The step stays what it was: what it may have left behind is still to be aborted or gone on with.
      const state = await readState(site.directory);
      await remember({ ...state, last_error: error.message }).catch(() => {});
    }
    throw error;
  }
}

/**
 * Takes back whatever an update has done so far. The caller holds the lock.
 * @returns what was taken back
 */
export async function abortUpdate(site: UpdateSite): Promise<string> {
  const state = await readState(site.directory);
  const current = await site.slots.current();
  let said = "There was no update under way.";
  if (state.phase !== "idle" && state.version === current) {
    said =
      `Version ${current} runs already; to go back, choose the other version in the boot menu.`;
  } else if (state.phase === "installed" || state.phase === "installing") {
    await site.slots.remove(state.version);
    said = `Version ${state.version} was taken out of its slot; ${current} starts as before.`;
  } else if (state.phase !== "idle") {
    said = `What had arrived of version ${state.version} was removed.`;
  }
  await removeOthers(site, undefined);
  if (state.phase !== "idle" || state.last_error !== undefined) {
    await writeState(site.directory, { phase: "idle" });
  }
  return said;
}
