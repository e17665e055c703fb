/**
 * What setup knows of the Debian system it runs on: release, architecture, mirror, what is installed.
 * Asks dpkg and apt, never parses their files.
 */
import { CommandError } from "../terminal/command.ts";

export interface Debian {
  readonly release: 12 | 13;
  readonly codename: string;
  readonly architecture: "amd64" | "arm64";
  readonly description: string;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end with a fixed language, so that its words can be read. */
export async function run(
  command: readonly string[],
  options: { readonly cwd?: string; readonly onLine?: (line: string) => void } = {},
): Promise<Ran> {
  const [program, ...args] = command;
  const child = new Deno.Command(program ?? "", {
    args,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const gather = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
    let text = "";
    let open = "";
    for await (const part of stream.pipeThrough(new TextDecoderStream())) {
      text += part;
      const lines = (open + part).split("\n");
      open = lines.pop() ?? "";
      for (const line of lines) options.onLine?.(line);
    }
    return text;
  };
  const [stdout, stderr, status] = await Promise.all([
    gather(child.stdout),
    gather(child.stderr),
    child.status,
  ]);
  return { code: status.code, stdout, stderr };
}

/** The system's release. @throws CommandError on anything but Debian 12 or 13, x86-64 or arm64 */
export async function debian(): Promise<Debian> {
  const text = await Deno.readTextFile("/etc/os-release").catch(() => "");
  const field = (name: string) => new RegExp(`^${name}="?([^"\\n]*)"?$`, "m").exec(text)?.[1] ?? "";
  const description = field("PRETTY_NAME") || "an unknown system";
  const version = Number(field("VERSION_ID"));
  if (field("ID") !== "debian" || (version !== 12 && version !== 13)) {
    throw new CommandError(
      `MulgaOS runs on Debian 12 and 13; this is ${description}. Use a Debian machine, a virtual ` +
        `machine, or a container with one of them.`,
    );
  }
  const architecture = { x86_64: "amd64", aarch64: "arm64" }[Deno.build.arch as string];
  if (architecture !== "amd64" && architecture !== "arm64") {
    throw new CommandError(`MulgaOS runs on x86-64 and arm64; this is ${Deno.build.arch}.`);
  }
  return {
    release: version,
    codename: version === 12 ? "bookworm" : "trixie",
    architecture,
    description,
  };
}

/** Versions of those of `names` that are installed. */
export async function installedVersions(names: readonly string[]): Promise<Map<string, string>> {
  const { stdout } = await run([
    "dpkg-query",
    "--show",
    "--showformat=${Package} ${Version} ${db:Status-Status}\\n",
    ...names,
  ]);
  const versions = new Map<string, string>();
  for (const line of stdout.split("\n")) {
    const [name, version, status] = line.split(" ");
    if (name !== undefined && version !== undefined && status === "installed") {
      versions.set(name, version);
    }
  }
  return versions;
}

/** Whether a Debian version is at least another. */
export async function atLeast(version: string, wanted: string): Promise<boolean> {
  const { code } = await run(["dpkg", "--compare-versions", version, "ge", wanted]);
  return code === 0;
}

interface Target {
  readonly site: string;
  readonly release: string;
}

/** The package sources that this machine is configured with. */
async function targets(): Promise<Target[]> {
  const { stdout } = await run([
    "apt-get",
    "indextargets",
    "--format",
    "$(SITE) $(RELEASE)",
    "Created-By: Packages",
  ]);
  return stdout.split("\n").filter((line) => line !== "").map((line) => {
    const [site, release] = line.split(" ");
    return { site: site ?? "", release: release ?? "" };
  });
}

/** The mirror from which this machine gets Debian itself. */
export async function mirrorOf(): Promise<string> {
  const debianRelease = /^(bookworm|trixie|stable|oldstable)(-updates|-backports)?$/;
  const found = await targets();
  return (found.find((one) => debianRelease.test(one.release) && !one.site.includes("security")) ??
    { site: "http://deb.debian.org/debian" }).site;
}

/** Whether this machine has Debian 12's backports among its sources. */
export async function hasBackports(): Promise<boolean> {
  return (await targets()).some((one) => one.release === "bookworm-backports");
}
