/** Where apt takes the appliance's packages from while an image is built: this machine's own mirrors. */
import { join } from "node:path";
import { type Architecture, hostMirrors, sourcesFile } from "../guest/debian_archive.ts";
import { piAptFiles } from "../pi/sources.ts";

/** What apt knows during a build of that architecture, by file below /etc/apt. */
async function aptFiles(architecture: Architecture): Promise<ReadonlyMap<string, string>> {
  const mirrors = await hostMirrors();
  return new Map([
    ["sources.list.d/mkosi.sources", sourcesFile("trixie", mirrors, ["main", "non-free-firmware"])],
    ...(architecture === "arm64" ? piAptFiles(mirrors) : []),
  ]);
}

/** Writes the tree that mkosi lays over its sandbox. */
export async function writeSandbox(directory: string, architecture: Architecture): Promise<void> {
  for (const [name, text] of await aptFiles(architecture)) {
    const file = join(directory, "etc/apt", name);
    await Deno.mkdir(join(file, ".."), { recursive: true });
    await Deno.writeTextFile(file, text);
  }
}
