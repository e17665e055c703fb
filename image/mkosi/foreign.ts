/**
 * Lets programs of another architecture run on this machine while an image is built: the kernel is
 * told (binfmt_misc) to start them with QEMU's user-mode emulator. Debian's `qemu-user` holds the
 * emulators and registers nothing by itself, so the host is as before when the build is done.
 *
 * The registration hangs on a mount of binfmt_misc in a directory of our own: where the host has none
 * mounted, the kernel forgets the registration with that mount; where it has one, the entry is removed
 * by its name. The emulator is opened at once (flag F), so that it is found from inside any root.
 * Builds of several processes share one entry; the last one removes it. A build that is killed leaves
 * mount and entry to the next one, or to the next start of the machine.
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
      if (name === "register" || name === "status") continue;
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
export async function foreignPrograms(
  architecture: Architecture,
  options: { readonly lockDirectory?: string } = {},
): Promise<AsyncDisposable> {
  const nothing = { [Symbol.asyncDispose]: () => Promise.resolve() };
  if (architecture === hostArchitecture()) return nothing;
  const emulator = await firstThere(foreign[architecture].emulators);
  if (emulator === undefined) {
    throw new ImageBuildError(
      `Building for ${architecture} needs qemu-user: run \`deno task setup\` first.`,
    );
  }
  const name = `mulga-${architecture}`;
  const ours = await Deno.stat(join(hostRegistry, name)).then(() => true, () => false);
  if (!ours && await isServed(hostRegistry, architecture)) return nothing;
  if (Deno.uid() !== 0) {
    throw new ImageBuildError(
      `Building for ${architecture} needs root here, or qemu-user-binfmt, by which the system ` +
        `itself starts such programs.`,
    );
  }
  // Held shared by each build that uses the entry: whoever gets it alone is the last.
  const lock = await Deno.open(join(options.lockDirectory ?? "/run/lock", `${name}.lock`), {
    create: true,
    read: true,
    write: true,
  });
  await lock.lock(false);
  const registry = await Deno.makeTempDir({ prefix: "mulga-binfmt-" });
  const release = async () => {
    await new Deno.Command("umount", { args: [registry], stderr: "null" }).output();
    await Deno.remove(registry);
    lock.close();
  };
  try {
    await mount("-t", "binfmt_misc", "binfmt_misc", registry);
    const line = registration(name, architecture, emulator);
    await Deno.writeTextFile(join(registry, "register"), line).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
  } catch (error) {
    await release();
    throw error;
  }
  return {
    async [Symbol.asyncDispose]() {
      if (await lock.tryLock(true)) {
        await Deno.writeTextFile(join(registry, name), "-1").catch((error) => {
          if (!(error instanceof Deno.errors.NotFound)) throw error;
        });
      }
      await release();
    },
  };
}
