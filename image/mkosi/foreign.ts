/**
 * Lets programs of another architecture run on this machine while an image is built: the kernel is
 * told (binfmt_misc) to start them with QEMU's user-mode emulator. Debian's `qemu-user` holds the
 * emulators and registers nothing by itself, so the host is as before when the build is done.
 *
 * The registration hangs on a mount of binfmt_misc in a directory of our own: where the host has none
 * mounted, the kernel forgets the registration with the last such mount; where it has one, the entry is
 * removed by its name. The emulator is opened at once (flag F), so that it is found from inside any root.
 * Each use has an entry of its own, so that none ends what another still needs. A build that is killed
 * leaves its entry until the next start of the machine.
 */
import { join } from "node:path";
import { type Architecture, hostArchitecture } from "../guest/debian_archive.ts";
import { ImageBuildError } from "./run.ts";

interface Foreign {
  /** Debian 12's qemu-user-static has the second. */
  readonly emulators: readonly string[];
  /** What distinguishes its ELF files: the first 20 bytes, and which of their bits count. */
  readonly magic: string;
  readonly mask: string;
}

const foreign: Readonly<Record<Architecture, Foreign>> = {
  arm64: {
    emulators: ["/usr/bin/qemu-aarch64", "/usr/bin/qemu-aarch64-static"],
    magic: "7f454c460201010000000000000000000200b700",
    mask: "ffffffffffffff00fffffffffffffffffeffffff",
  },
  x86_64: {
    emulators: ["/usr/bin/qemu-x86_64", "/usr/bin/qemu-x86_64-static"],
    magic: "7f454c4602010100000000000000000002003e00",
    mask: "fffffffffffefe00fffffffffffffffffeffffff",
  },
};

const hostRegistry = "/proc/sys/fs/binfmt_misc";
/** Of our entries' names; a process id and a number follow. */
const prefix = "mulga-";
let uses = 0;

/** Whether an entry of the kernel's registry starts such programs from inside any root. */
export function serves(entry: string, architecture: Architecture): boolean {
  const { magic } = foreign[architecture];
  return /^enabled$/m.test(entry) && /^flags: .*F/m.test(entry) &&
    (entry.match(/^magic ([0-9a-f]+)$/m)?.[1] ?? "").startsWith(magic);
}

/** The line that registers `emulator` under `name`: a match of bytes, opened now, credentials kept. */
export function registration(name: string, architecture: Architecture, emulator: string): string {
  const escaped = (hex: string) => hex.replaceAll(/../g, (byte) => `\\x${byte}`);
  const { magic, mask } = foreign[architecture];
  return `:${name}:M::${escaped(magic)}:${escaped(mask)}:${emulator}:OPF`;
}

async function isServed(registry: string, architecture: Architecture): Promise<boolean> {
  try {
    for await (const { name } of Deno.readDir(registry)) {
      if (name === "register" || name === "status" || name.startsWith(prefix)) continue;
      const entry = await Deno.readTextFile(join(registry, name)).catch(() => "");
      if (serves(entry, architecture)) return true;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return false;
}

async function firstThere(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  return undefined;
}

async function mount(...args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("mount", { args: [...args] }).output();
  if (!success) {
    throw new ImageBuildError(
      `binfmt_misc could not be mounted: ${new TextDecoder().decode(stderr).trim()}.`,
    );
  }
}

/**
 * Makes programs of `architecture` run here until it is disposed of.
 * @throws ImageBuildError when the emulator is missing, or without root where nobody has registered it
 */
export async function foreignPrograms(architecture: Architecture): Promise<AsyncDisposable> {
  const nothing = { [Symbol.asyncDispose]: () => Promise.resolve() };
  if (architecture === hostArchitecture()) return nothing;
  const emulator = await firstThere(foreign[architecture].emulators);
  if (emulator === undefined) {
    throw new ImageBuildError(
      `Building for ${architecture} needs qemu-user: run \`deno task setup\` first.`,
    );
  }
  if (await isServed(hostRegistry, architecture)) return nothing;
  if (Deno.uid() !== 0) {
    throw new ImageBuildError(
      `Building for ${architecture} needs root here, or qemu-user-binfmt, by which the system ` +
        `itself starts such programs.`,
    );
  }
  const registry = await Deno.makeTempDir({ prefix: "mulga-binfmt-" });
  const name = `${prefix}${Deno.pid}-${++uses}`;
  const release = async () => {
    await new Deno.Command("umount", { args: [registry], stderr: "null" }).output();
    await Deno.remove(registry);
  };
  try {
    await mount("-t", "binfmt_misc", "binfmt_misc", registry);
    await Deno.writeTextFile(
      join(registry, "register"),
      registration(name, architecture, emulator),
    );
  } catch (error) {
    await release();
    throw error;
  }
  return {
    async [Symbol.asyncDispose]() {
      await Deno.writeTextFile(join(registry, name), "-1");
      await release();
    },
  };
}
