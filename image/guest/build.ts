/**
 * Builds a guest image with mkosi out of Debian packages from this machine's own mirror. Works as
 * root and, where user namespaces allow it, as anybody else. Of the host nothing is changed: packages,
 * the log and the finished image are kept below `~/.cache/mulga`, scratch space goes when it is done.
 *
 * An image younger than a week is taken from the cache if its recipe is still the same; an older one
 * is made anew, since Debian has mended things in the meantime. A failed build leaves its log and no
 * image.
 */
import { join } from "node:path";
import {
  type Architecture,
  debianArchitecture,
  hostArchitecture,
  hostMirrors,
  sourcesFile,
} from "./debian_archive.ts";
import { recipeOf } from "../mkosi/recipe.ts";
import { ImageBuildError, imageCache, runMkosi, searchPath } from "../mkosi/run.ts";
import { guestImagePackages } from "./packages.ts";

export interface BuiltImage {
  /** A raw disk image that belongs to the caller. */
  readonly path: string;
  readonly description: string;
}

export interface BuildOptions {
  /** Directory that the image is put into. */
  readonly output: string;
  /** Told in few words what is being done. */
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
  /** The host's own unless told otherwise; another one needs qemu-user binaries registered. */
  readonly architecture?: Architecture;
  /** Where packages and finished images are kept. */
  readonly cacheDir?: string;
  /** The mkosi program. */
  readonly mkosi?: string;
}

const recipes: Readonly<Record<string, { readonly release: string; readonly title: string }>> = {
  "debian-13": { release: "trixie", title: "Debian GNU/Linux 13 (trixie)" },
};

/** The images that can be built. */
export const guestImageNames: readonly string[] = Object.keys(recipes);

const oldestVersion = 24;
const freshFor_ms = 7 * 24 * 3_600_000;
const decoder = new TextDecoder();

async function exists(file: string): Promise<boolean> {
  try {
    await Deno.stat(file);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Checks that the host has what a build needs. @returns mkosi's major version */
async function checkHost(mkosi: string): Promise<number> {
  const directories = searchPath.split(":");
  const missing: string[] = [];
  for (const need of guestImagePackages) {
    const places = need.program === undefined
      ? [need.file ?? "/"]
      : directories.map((directory) => join(directory, need.program ?? ""));
    const found = await Promise.all(places.map(exists));
    // What only one release has may be part of another package in the other.
    if (!found.includes(true) && need.only === undefined && need.program !== "mkosi") {
      missing.push(need.name);
    }
  }
  let text = "";
  try {
    const { stdout } = await new Deno.Command(mkosi, {
      args: ["--version"],
      env: { PATH: searchPath },
    })
      .output();
    text = decoder.decode(stdout);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    missing.unshift("mkosi");
  }
  if (missing.length > 0) {
    throw new ImageBuildError(
      `Building a guest image needs ${missing.join(", ")}: run \`deno task setup\` first.`,
    );
  }
  const version = Number(text.match(/(\d+)/)?.[1] ?? 0);
  if (version < oldestVersion) {
    throw new ImageBuildError(
      `mkosi is ${text.trim()} and must be ${oldestVersion} or newer: run \`deno task setup\` first.`,
    );
  }
  return version;
}

/** Copies a disk image without filling its holes, sharing blocks where the file system can. */
async function copyImage(from: string, to: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("cp", {
    args: ["--reflink=auto", "--sparse=always", "--", from, to],
  }).output();
  if (!success) {
    await Deno.remove(to).catch(() => {});
    throw new ImageBuildError(
      `The finished image could not be copied: ${decoder.decode(stderr).trim()}.`,
    );
  }
}

/**
 * Builds the guest image `name`, or takes it from the cache, and puts it into `options.output`.
 *
 * @throws ImageBuildError when there is no such image, the host lacks something, or mkosi fails
 */
export async function buildGuestImage(name: string, options: BuildOptions): Promise<BuiltImage> {
  const recipe = recipes[name];
  if (recipe === undefined) {
    throw new ImageBuildError(
      `There is no guest image "${name}"; there are ${guestImageNames.join(", ")}.`,
    );
  }
  const { output, onProgress = () => {}, signal, mkosi = "mkosi" } = options;
  const architecture = options.architecture ?? hostArchitecture();
  const cache = options.cacheDir ?? imageCache();
  const here = import.meta.dirname ?? ".";
  const definition = join(here, name);
  const version = await checkHost(mkosi);

  const images = join(cache, "images");
  const packages = join(cache, "packages", `${recipe.release}-${debianArchitecture[architecture]}`);
  for (const directory of [images, packages, output]) {
    await Deno.mkdir(directory, { recursive: true });
  }
  const built = join(output, `${name}-${architecture}.raw`);
  const stem = `${name}-${architecture}`;
  const fingerprint = await recipeOf([definition, join(here, "..", "base")], architecture);
  const cached = join(images, `${stem}-${fingerprint}.raw`);

  onProgress("waiting for another build");
  using lock = await Deno.open(join(images, `${stem}.lock`), { create: true, write: true });
  await lock.lock(true);
  signal?.throwIfAborted();

  const made = await Deno.stat(cached).catch(() => undefined);
  if (made?.mtime && Date.now() - made.mtime.getTime() < freshFor_ms) {
    onProgress("taking the image from the cache");
  } else {
    const scratch = join(images, `${stem}.scratch`);
    // Only a killed build leaves it behind: the lock says that none is running.
    await Deno.remove(scratch, { recursive: true }).catch(() => {});
    const sources = join(scratch, "sandbox/etc/apt/sources.list.d");
    const workspace = join(scratch, "workspace");
    for (const directory of [sources, workspace]) await Deno.mkdir(directory, { recursive: true });
    try {
      await Deno.writeTextFile(
        join(sources, "mkosi.sources"),
        sourcesFile(recipe.release, await hostMirrors()),
      );
      await runMkosi({
        program: mkosi,
        args: [
          ["--directory", definition],
          ["--architecture", architecture === "x86_64" ? "x86-64" : "arm64"],
          [version < 25 ? "--package-manager-tree" : "--sandbox-tree", join(scratch, "sandbox")],
          ["--package-cache-dir", packages],
          ["--workspace-dir", workspace],
          ["--output-dir", scratch],
          ["--output", "image"],
          ["--force", "build"],
        ].flat(),
        log: join(images, `${stem}.log`),
        onProgress,
        signal,
      });
      for await (const entry of Deno.readDir(images)) {
        if (entry.name.startsWith(`${stem}-`) && entry.name.endsWith(".raw")) {
          await Deno.remove(join(images, entry.name));
        }
      }
      // What mkosi writes has blocks of zeroes, a third of it all.
      const sparse = join(scratch, "sparse.raw");
      await copyImage(join(scratch, "image.raw"), sparse);
      await Deno.rename(sparse, cached);
    } finally {
      await Deno.remove(scratch, { recursive: true }).catch(() => {});
    }
  }
  await copyImage(cached, built);
  const day = (await Deno.stat(cached)).mtime?.toISOString().slice(0, 10) ?? "";
  return { path: built, description: `${recipe.title}, ${architecture}, built ${day}` };
}

if (import.meta.main) {
  const name = Deno.args[0] ?? "debian-13";
  const started = performance.now();
  const { path, description } = await buildGuestImage(name, {
    output: Deno.args[1] ?? Deno.cwd(),
    onProgress: (text) => console.error(text),
  });
  console.log(`${path}: ${description}, ${((performance.now() - started) / 1000).toFixed(0)} s`);
}
