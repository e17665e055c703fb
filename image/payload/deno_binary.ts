/**
 * The Deno binary of either architecture, from its npm package, in the version that runs this. npm
 * checks the archive against the registry's digest; here it is checked once more that the program is
 * one for the architecture that was asked for.
 */
import { join } from "node:path";
import { run } from "../../tasks/setup/debian.ts";
import { type PayloadArchitecture, PayloadError } from "./payload.ts";

/** npm's name and ELF's number of each architecture. */
const known: Readonly<Record<PayloadArchitecture, { npm: string; elf: number; name: string }>> = {
  "x86-64": { npm: "@deno/linux-x64-glibc", elf: 62, name: "x86-64" },
  arm64: { npm: "@deno/linux-arm64-glibc", elf: 183, name: "arm64" },
};

/** Refuses a program that is none for `architecture`. @throws PayloadError */
export async function checkProgram(path: string, architecture: PayloadArchitecture): Promise<void> {
  using file = await Deno.open(path);
  const head = new Uint8Array(20);
  const got = await file.read(head) ?? 0;
  const magic = new TextDecoder("latin1").decode(head.subarray(0, 4));
  const machine = new DataView(head.buffer).getUint16(18, true);
  const { elf, name } = known[architecture];
  if (got < 20 || magic !== "\x7fELF" || machine !== elf) {
    throw new PayloadError(`${path} is no program for ${name} (ELF machine ${machine}).`);
  }
}

/** The binary in the cache; fetched there when it is not. @throws PayloadError */
export async function denoBinary(
  architecture: PayloadArchitecture,
  onProgress: (text: string) => void,
): Promise<string> {
  const base = Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? "/root", ".cache");
  const cache = join(base, "mulga", "deno", `${Deno.version.deno}-${architecture}`);
  const binary = join(cache, "deno");
  if (await Deno.stat(binary).then(() => true, () => false)) {
    await checkProgram(binary, architecture);
    return binary;
  }
  const spec = `${known[architecture].npm}@${Deno.version.deno}`;
  onProgress(`fetching ${spec}`);
  await Deno.mkdir(cache, { recursive: true });
  const work = await Deno.makeTempDir({ dir: cache, prefix: "fetch-" });
  try {
    await must(["npm", "pack", "--silent", "--pack-destination", work, spec], spec);
    const [archive] = [...Deno.readDirSync(work)].filter((one) => one.name.endsWith(".tgz"));
    if (archive === undefined) throw new PayloadError(`npm packed nothing for ${spec}.`);
    await must(["tar", "-xzf", join(work, archive.name), "-C", work], spec);
    const unpacked = join(work, "package", "deno");
    await checkProgram(unpacked, architecture);
    await Deno.chmod(unpacked, 0o755);
    await Deno.rename(unpacked, binary);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return binary;
}

async function must(command: readonly string[], what: string): Promise<void> {
  const { code, stderr, stdout } = await run(command);
  if (code === 0) return;
  throw new PayloadError(
    `${what} could not be fetched: ${(stderr || stdout).trim().split("\n").at(-1)}\n` +
      `This needs the npm registry once for each architecture and version.`,
  );
}
