/**
 * nats-server for the package, of either architecture: Debian 13's program, checked by apt. It is
 * static, so it runs on Debian 12, whose own is too old; and taken along, since Debian's package
 * would start a server of its own.
 */
import { join } from "node:path";
import { run } from "../../tasks/setup/debian.ts";
import { openArchive } from "../guest/debian_archive.ts";
import { type PayloadArchitecture, PayloadError } from "../payload/payload.ts";

/** Unpacks the program into `folder`. @returns its path. @throws PayloadError */
export async function fetchNatsProgram(
  architecture: PayloadArchitecture,
  folder: string,
): Promise<string> {
  const base = Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? "/root", ".cache");
  const directory = join(base, "mulga", "packages", `nats-${architecture}`);
  await Deno.mkdir(directory, { recursive: true });
  using lock = await Deno.open(join(directory, "lock"), { create: true, write: true });
  await lock.lock(true);
  const archive = await openArchive({
    release: "trixie",
    architecture: architecture === "arm64" ? "arm64" : "x86_64",
    directory,
  });
  const [file] = await archive.fetch(await archive.resolve(["nats-server"]));
  if (file === undefined) throw new PayloadError("Debian 13 has no package nats-server.");
  const unpacked = join(folder, "nats");
  const { code, stderr } = await run(["dpkg-deb", "--extract", file, unpacked]);
  if (code !== 0) throw new PayloadError(`${file} could not be unpacked: ${stderr.trim()}`);
  return join(unpacked, "usr/sbin/nats-server");
}
