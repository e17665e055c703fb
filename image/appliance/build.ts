/**
 * Builds the appliance image: tools tree, initrd, payload, then the disk image and the files that an
 * update consists of. Every step lands in the cache under the fingerprint of what it was made from, so
 * that what has not changed is not made again; packages are taken anew after a week, since Debian has
 * mended things in the meantime. A failed build leaves its log and no image.
 */
import { join } from "node:path";
import {
  type Architecture,
  debianArchitecture,
  hostArchitecture,
} from "../guest/debian_archive.ts";
import { foreignPrograms } from "../mkosi/foreign.ts";
import { debianMkosi, type Mkosi } from "../mkosi/mkosi.ts";
import { recipeOf } from "../mkosi/recipe.ts";
import { ImageBuildError, imageCache, runMkosi } from "../mkosi/run.ts";
import { ownFormats } from "../../services/config/formats.ts";
import { stagePayload } from "../payload/stage.ts";
import { publicKeyOf } from "../signing/keys.ts";
import { compress } from "./compress.ts";
import { writeSandbox } from "./sources.ts";

export interface SecureBootKeys {
  /** PEM files, as `mkosi genkey` or OpenSSL make them. */
  readonly key: string;
  readonly certificate: string;
}

export interface ApplianceOptions {
  readonly version: string;
  readonly architecture?: Architecture;
  /** The private key that will sign the release: its public half goes into the image. */
  readonly key?: string;
  readonly secureBoot?: SecureBootKeys;
  /** Folders whose content is laid over the image at the end. */
  readonly extraTrees?: readonly string[];
  /** The time that every file carries; the same input gives the same image. */
  readonly sourceDate_s?: number;
  readonly cacheDir?: string;
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/** What a build made; the files belong to the cache and must not be changed. */
export interface Appliance {
  readonly version: string;
  readonly architecture: Architecture;
  readonly directory: string;
  /** The disk image, sparse. */
  readonly raw: string;
  /** Names in `directory` of what an update is made of. */
  readonly updateFiles: readonly string[];
  readonly manifest: string;
  /** The folder of programs that made it, of Debian 13. */
  readonly tools: string;
}

/** As mkosi, systemd and the names of our files call it. */
export const imageArchitecture: Readonly<Record<Architecture, "x86-64" | "arm64">> = {
  x86_64: "x86-64",
  arm64: "arm64",
};

const freshFor_ms = 7 * 24 * 3_600_000;
const image = import.meta.dirname ?? ".";
const repository = join(image, "../..");
/** Identifiers of partitions come from it and from the image's content: the same for the same input. */
const seed = "3e1f6d0a-5f0b-4a38-9f0f-1c54ac3f8a10";

/** What sysupdate, file names and partition labels can carry. */
export function isVersion(text: string): boolean {
  return /^[0-9][0-9A-Za-z.~]{0,19}$/.test(text);
}

interface Build {
  readonly options: ApplianceOptions;
  readonly architecture: Architecture;
  readonly cache: string;
  readonly scratch: string;
  readonly mkosi: Mkosi;
  readonly onProgress: (text: string) => void;
}

async function isFresh(path: string): Promise<boolean> {
  const made = await Deno.stat(path).catch(() => undefined);
  return Date.now() - (made?.mtime?.getTime() ?? 0) < freshFor_ms;
}

async function run(
  build: Build,
  name: string,
  tools: string | undefined,
  args: readonly string[],
): Promise<void> {
  const { cache, scratch, mkosi, options } = build;
  const packages = join(cache, `packages-${debianArchitecture[build.architecture]}`);
  const workspace = join(scratch, "workspace");
  for (const directory of [packages, workspace]) await Deno.mkdir(directory, { recursive: true });
  await runMkosi({
    program: mkosi.program,
    args: [
      ...mkosi.args,
      ...["--sandbox-tree", join(scratch, "sandbox"), "--package-cache-dir", packages],
      ...["--workspace-dir", workspace, "--output-dir", scratch],
      ...(tools === undefined ? [] : ["--tools-tree", tools]),
      ...args,
      ...["--force", "build"],
    ],
    env: mkosi.env,
    log: join(cache, `${name}.log`),
    onProgress: build.onProgress,
    signal: options.signal,
  });
}

/** Removes what `keep` does not start with among the entries that start with `stem`. */
async function forget(directory: string, stem: string, keep: string): Promise<void> {
  for await (const entry of Deno.readDir(directory)) {
    if (entry.name.startsWith(stem) && !entry.name.startsWith(keep)) {
      await Deno.remove(join(directory, entry.name), { recursive: true });
    }
  }
}

/** The tree of programs that builds; always of this machine's own architecture. */
async function toolsTree(build: Build): Promise<string> {
  const { cache, scratch } = build;
  const stem = `tools-${hostArchitecture()}-`;
  const definition = join(image, "../tools");
  const name = stem + await recipeOf([definition, join(image, "../base")], "");
  const made = join(cache, name);
  if (await isFresh(made)) return made;
  build.onProgress("preparing the tools that build");
  await run(build, "tools", undefined, ["--directory", definition]);
  await forget(cache, stem, "-");
  await Deno.rename(join(scratch, "tools"), made);
  await Deno.utime(made, new Date(), new Date());
  return made;
}

async function initrd(build: Build, tools: string): Promise<string> {
  const { cache, scratch, architecture } = build;
  const stem = `initrd-${architecture}-`;
  const definition = join(image, "initrd");
  const common = [join(image, "both"), join(image, "../base")];
  const made = join(
    cache,
    stem + await recipeOf([definition, ...common], String(initrdDate_s)),
  );
  if (await isFresh(made)) return made;
  build.onProgress("making the initrd");
  await run(build, `initrd-${architecture}`, tools, [
    ...["--directory", definition, "--architecture", imageArchitecture[architecture]],
    // Not the image's own time: an initrd out of the cache may be older than the commit.
    ...["--source-date-epoch", String(initrdDate_s)],
  ]);
  await forget(cache, stem, "-");
  await Deno.rename(join(scratch, "initrd.cpio.zst"), made);
  return made;
}

/** Older than any package and cache, so that all times in an initrd are this one. */
const initrdDate_s = 1_735_689_600;
const sourceDate = (build: Build) => build.options.sourceDate_s ?? initrdDate_s;

/** The trees that are laid over the packages: the payload, the key that updates are signed with. */
async function trees(build: Build): Promise<string[]> {
  const { options, scratch } = build;
  const own = join(scratch, "own");
  const keys = join(own, "usr/lib/mulga/update-keys");
  await Deno.mkdir(keys, { recursive: true });
  if (options.key !== undefined) {
    const text = await Deno.readTextFile(options.key);
    await Deno.writeTextFile(join(keys, "release.pub"), await publicKeyOf(text, options.key));
  }
  const payload = join(scratch, "payload");
  await stagePayload({
    root: payload,
    architecture: imageArchitecture[build.architecture],
    version: options.version,
    onProgress: build.onProgress,
  });
  return [payload, own, ...(options.extraTrees ?? [])];
}

/**
 * Builds the image, or takes it from the cache.
 * @throws ImageBuildError in one sentence
 */
export async function buildAppliance(options: ApplianceOptions): Promise<Appliance> {
  const { version, onProgress = () => {}, signal } = options;
  const architecture = options.architecture ?? "x86_64";
  if (!isVersion(version)) {
    throw new ImageBuildError(
      `"${version}" is no version for an image: use at most 20 digits, letters, dots and tildes.`,
    );
  }
  const cache = join(options.cacheDir ?? imageCache(), "appliance");
  const images = join(cache, "images");
  await Deno.mkdir(images, { recursive: true });
  onProgress("waiting for another build");
  using lock = await Deno.open(join(cache, "lock"), { create: true, write: true });
  await lock.lock(true);
  signal?.throwIfAborted();
  const scratch = join(cache, "scratch");
  // Only a killed build leaves it behind: the lock says that none is running.
  await Deno.remove(scratch, { recursive: true }).catch(() => {});
  await Deno.mkdir(scratch, { recursive: true });
  try {
    await using _foreign = await foreignPrograms(architecture);
    const mkosi = await debianMkosi(join(cache, "mkosi"), onProgress);
    const build: Build = { options, architecture, cache, scratch, mkosi, onProgress };
    await writeSandbox(join(scratch, "sandbox"), architecture);
    return await imageOf(build, images);
  } finally {
    await Deno.remove(scratch, { recursive: true }).catch(() => {});
  }
}

/** Images of other recipes that are kept, the newest; each takes a gigabyte. */
const keptImages = 5;

async function imageOf(build: Build, images: string): Promise<Appliance> {
  const { options, architecture, cache, scratch } = build;
  const overlays = await trees(build);
  const stem = `mulgaos_${options.version}_${imageArchitecture[architecture]}`;
  const fingerprint = await recipeOf(
    [
      ...[image, join(image, "../base"), join(image, "../tools")],
      ...(architecture === "arm64" ? [join(image, "../pi")] : []),
      ...overlays,
    ],
    JSON.stringify([
      await Deno.readTextFile(join(repository, "mkosi.conf")),
      sourceDate(build),
      options.secureBoot === undefined
        ? ""
        : await Deno.readTextFile(options.secureBoot.certificate),
    ]),
  );
  const directory = join(images, `${stem}-${fingerprint}`);
  const tools = await toolsTree(build);
  if (!await isFresh(directory)) {
    const boot = await initrd(build, tools);
    const incremental = join(cache, `incremental-${architecture}`);
    if (!await isFresh(incremental)) {
      await Deno.remove(incremental, { recursive: true }).catch(() => {});
    }
    await Deno.mkdir(incremental, { recursive: true });
    build.onProgress("making the image");
    await run(build, stem, tools, [
      ...["--directory", repository, "--architecture", imageArchitecture[architecture]],
      ...["--cache-dir", incremental, "--incremental"],
      ...["--image-version", options.version, "--initrd", boot],
      ...["--seed", seed, "--source-date-epoch", String(sourceDate(build))],
      ...overlays.flatMap((tree) => ["--extra-tree", tree]),
      ...(options.secureBoot === undefined ? [] : [
        ...["--secure-boot=yes", "--secure-boot-auto-enroll=yes"],
        ...["--secure-boot-key", options.secureBoot.key],
        ...["--secure-boot-certificate", options.secureBoot.certificate],
      ]),
    ]);
    const done = join(scratch, "done");
    await Deno.mkdir(done);
    for await (const entry of Deno.readDir(scratch)) {
      if (!entry.isFile || !entry.name.startsWith(stem)) continue;
      if (/\.root(-verity)?\.[0-9a-f]+\.raw$/.test(entry.name)) {
        build.onProgress(`compressing ${entry.name}`);
        await compress(join(scratch, entry.name), join(done, `${entry.name}.zst`), options.signal);
      } else {
        await Deno.rename(join(scratch, entry.name), join(done, entry.name));
      }
    }
    await Deno.writeTextFile(
      join(done, `${stem}.formats.json`),
      JSON.stringify(ownFormats(options.version), null, 2) + "\n",
    );
    await Deno.remove(directory, { recursive: true }).catch(() => {});
    await Deno.rename(done, directory);
    await dropOldImages(images);
  }
  const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort();
  return {
    version: options.version,
    architecture,
    directory,
    raw: join(directory, `${stem}.raw`),
    updateFiles: names.filter((name) => /\.(raw\.zst|efi|formats\.json)$/.test(name)),
    manifest: join(directory, `${stem}.manifest`),
    tools,
  };
}

async function dropOldImages(images: string): Promise<void> {
  const found: { readonly path: string; readonly time: number }[] = [];
  for await (const entry of Deno.readDir(images)) {
    const path = join(images, entry.name);
    found.push({ path, time: (await Deno.stat(path)).mtime?.getTime() ?? 0 });
  }
  for (const { path } of found.sort((a, b) => b.time - a.time).slice(keptImages)) {
    await Deno.remove(path, { recursive: true });
  }
}
