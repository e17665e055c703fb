/**
 * Debian 13's mkosi (25) on any host: the appliance's definition uses what Debian 12's lacks, and one
 * version makes one image. It is Python without dependencies, so its package is fetched through apt
 * (verified by Debian's keys), unpacked into the cache and run from there; nothing is installed.
 */
import { join } from "node:path";
import { hostArchitecture, openArchive } from "../guest/debian_archive.ts";
import { ImageBuildError } from "./run.ts";

export interface Mkosi {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

// Not whatever comes first in PATH: mkosi and ukify want Debian's own Python modules.
const python = "/usr/bin/python3";

/** The cached mkosi, fetched when there is none. `directory` is its place in the cache. */
export async function debianMkosi(
  directory: string,
  onProgress: (text: string) => void,
): Promise<Mkosi> {
  const modules = join(directory, "unpacked/usr/lib/python3/dist-packages");
  const mkosi: Mkosi = {
    program: python,
    args: ["-m", "mkosi"],
    env: { PYTHONPATH: modules, PYTHONDONTWRITEBYTECODE: "1" },
  };
  if (await answers(mkosi)) return mkosi;
  onProgress("fetching mkosi of Debian 13");
  const archive = await openArchive({
    release: "trixie",
    architecture: hostArchitecture(),
    directory: join(directory, "archive"),
  });
  const [file] = await archive.fetch(await archive.resolve(["mkosi"]));
  const fresh = join(directory, "unpacked.new");
  await Deno.remove(fresh, { recursive: true }).catch(() => {});
  const { success, stderr } = await new Deno.Command("dpkg", { args: ["-x", file ?? "", fresh] })
    .output();
  if (!success) {
    throw new ImageBuildError(
      `mkosi's package could not be unpacked: ${new TextDecoder().decode(stderr).trim()}.`,
    );
  }
  await Deno.remove(join(directory, "unpacked"), { recursive: true }).catch(() => {});
  await Deno.rename(fresh, join(directory, "unpacked"));
  if (!await answers(mkosi)) {
    throw new ImageBuildError(`Debian 13's mkosi in ${directory} does not run with ${python}.`);
  }
  return mkosi;
}

const version = /^mkosi 25\./;

/** Whether it runs; without the unpacked one Python would find the host's own. */
async function answers(mkosi: Mkosi): Promise<boolean> {
  try {
    const { success, stdout } = await new Deno.Command(mkosi.program, {
      args: [...mkosi.args, "--version"],
      env: mkosi.env,
      stderr: "null",
    }).output();
    return success && version.test(new TextDecoder().decode(stdout));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
