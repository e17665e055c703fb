/**
 * nats-server 2.10 or newer, without touching the system: Debian 13's package, fetched and checked by
 * apt with an own source list and own folders, unpacked into the user's cache. (Debian 12's is too
 * old for synced acknowledgements; installing Debian 13's would start a server of its own.) The
 * program is static, so it runs on both releases.
 */
import { taskCommand } from "../terminal/task_command.ts";
import { join } from "node:path";
import type { Paths } from "../../services/config/node_config.ts";
import { exists } from "../init/write_file.ts";
import { CommandError } from "../terminal/command.ts";
import type { Progress } from "../terminal/progress.ts";
import { mirrorOf, run } from "./debian.ts";

export const natsSource = "Debian 13 (trixie), unpacked into ~/.cache/mulga";
const oldest = [2, 10] as const;

/** Where programs are kept that the system's own packages are too old for. */
export function cachedPrograms(): string {
  const base = Deno.env.get("XDG_CACHE_HOME") ||
    join(Deno.env.get("HOME") ?? "/root", ".cache");
  return join(base, "mulga", "bin");
}

const cached = () => join(cachedPrograms(), "nats-server");

/** Version of a nats-server program; undefined when it does not run or is too old. */
export async function goodNatsServer(program: string = cached()): Promise<string | undefined> {
  try {
    const { code, stdout } = await run([program, "--version"]);
    const match = /v(\d+)\.(\d+)\.(\d+)/.exec(stdout);
    if (code !== 0 || match === null) return undefined;
    const [major, minor] = [Number(match[1]), Number(match[2])];
    const good = major > oldest[0] || (major === oldest[0] && minor >= oldest[1]);
    return good ? match[0].slice(1) : undefined;
  } catch {
    return undefined;
  }
}

/** Fetches it into the cache. @throws CommandError */
export async function fetchNatsServer(progress: Progress): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "mulga-nats-package-" });
  try {
    for (const part of ["lists/partial", "cache/archives/partial", "unpacked"]) {
      await Deno.mkdir(join(folder, part), { recursive: true });
    }
    const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    const list = join(folder, "trixie.list");
    await Deno.writeTextFile(
      list,
      `deb [signed-by=${keyring}] ${await mirrorOf()} trixie main\n`,
    );
    const apt = [
      "apt-get",
      ...["-o", `Dir::Etc::SourceList=${list}`, "-o", "Dir::Etc::SourceParts=/dev/null"],
      ...["-o", `Dir::State::Lists=${folder}/lists`, "-o", `Dir::Cache=${folder}/cache`],
      ...["-o", "APT::Get::List-Cleanup=0", "-o", "Debug::NoLocking=1"],
      // Translations and the sandbox's own user are for the system's lists, not for these.
      ...["-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"],
      ...["-o", "Acquire::Retries=3", "-q"],
    ];
    progress.update("reading Debian 13's package list");
    await must([...apt, "update"], folder);
    progress.update("downloading nats-server");
    await must([...apt, "download", "nats-server"], folder);
    let package_: string | undefined;
    for await (const entry of Deno.readDir(folder)) {
      if (entry.name.endsWith(".deb")) package_ = entry.name;
    }
    if (package_ === undefined) throw new CommandError("apt downloaded no nats-server package.");
    await must(["dpkg", "-x", join(folder, package_), join(folder, "unpacked")], folder);
    await install(join(folder, "unpacked/usr/sbin/nats-server"), cachedPrograms());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  if (await goodNatsServer() === undefined) {
    throw new CommandError(`The fetched ${cached()} does not run on this machine.`);
  }
}

async function must(command: readonly string[], cwd: string): Promise<void> {
  const { code, stderr, stdout } = await run(command, { cwd });
  if (code === 0) return;
  const said = (stderr || stdout).trim().split("\n").slice(-4).join("\n");
  throw new CommandError(
    `Debian 13's nats-server could not be fetched:\n${said}\n` +
      `This needs a Debian mirror that can be reached and a current debian-archive-keyring.`,
  );
}

/** Copies a program whole or not at all. */
async function install(from: string, folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const to = join(folder, "nats-server");
  const beside = `${to}.${crypto.randomUUID().slice(0, 8)}.new`;
  await Deno.copyFile(from, beside);
  await Deno.chmod(beside, 0o755);
  await Deno.rename(beside, to);
}

/** Puts the cached program into the data directory, so that the node needs nothing outside of it. */
export async function placeNatsServer(paths: Paths): Promise<void> {
  const to = join(paths.bin, "nats-server");
  if (await exists(to)) return;
  if (!await exists(cached())) {
    throw new CommandError(`There is no nats-server yet; run \`${taskCommand()} setup\` first.`);
  }
  await install(cached(), paths.bin);
}
