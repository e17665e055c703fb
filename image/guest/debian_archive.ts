/**
 * Debian's archive as this machine sees it: which mirrors it uses, and single packages from them
 * without installing anything. apt itself does the work with a configuration of its own, so every
 * file is verified against Debian's signing keys and nothing of the host's apt is read or changed
 * but its sources and proxy.
 */
import { join } from "node:path";

export type Architecture = "x86_64" | "arm64";

/** How Debian names it. */
export const debianArchitecture: Readonly<Record<Architecture, "amd64" | "arm64">> = {
  x86_64: "amd64",
  arm64: "arm64",
};

/** The architecture of the machine that runs this. */
export function hostArchitecture(): Architecture {
  return Deno.build.arch === "aarch64" ? "arm64" : "x86_64";
}

export interface Mirrors {
  readonly debian: string;
  readonly security: string;
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const fallback: Mirrors = {
  debian: "http://deb.debian.org/debian",
  security: "http://deb.debian.org/debian-security",
};

/** Base addresses of archives with their suites, from both forms that apt's source files have. */
export function parseSources(text: string): { readonly uri: string; readonly suite: string }[] {
  const found: { uri: string; suite: string }[] = [];
  for (const line of text.matchAll(/^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/gm)) {
    found.push({ uri: line[1] ?? "", suite: line[2] ?? "" });
  }
  for (const stanza of text.split(/\n\s*\n/)) {
    const field = (name: string) =>
      stanza.match(new RegExp(`^${name}:[ \\t]*(.+)$`, "mi"))?.[1]?.trim().split(/\s+/) ?? [];
    if (!field("Types").includes("deb") || field("Enabled")[0]?.toLowerCase() === "no") continue;
    for (const uri of field("URIs")) {
      for (const suite of field("Suites")) found.push({ uri, suite });
    }
  }
  return found.map(({ uri, suite }) => ({ uri: uri.replace(/\/+$/, ""), suite }));
}

/** The mirrors named in source files: the first that carries Debian itself, and its security archive. */
export function mirrorsOf(texts: readonly string[]): Mirrors {
  const sources = texts.flatMap(parseSources).filter(({ uri }) => /^https?:\/\//.test(uri));
  const security = sources.find(({ suite }) => suite.endsWith("-security"));
  const debian = sources.find(({ uri, suite }) =>
    uri.endsWith("/debian") && !suite.endsWith("-security")
  );
  return {
    debian: debian?.uri ?? fallback.debian,
    security: security?.uri ?? fallback.security,
  };
}

/** The mirrors of this machine; Debian's own where its sources name none. */
export async function hostMirrors(): Promise<Mirrors> {
  const files = ["/etc/apt/sources.list"];
  try {
    for await (const entry of Deno.readDir("/etc/apt/sources.list.d")) {
      if (/\.(list|sources)$/.test(entry.name)) {
        files.push(`/etc/apt/sources.list.d/${entry.name}`);
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const texts = await Promise.all(files.map((file) =>
    Deno.readTextFile(file).catch((error) => {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
        return "";
      }
      throw error;
    })
  ));
  return mirrorsOf(texts);
}

/** apt's source file for one release, without the debug archive that many mirrors lack. */
export function sourcesFile(
  release: string,
  mirrors: Mirrors,
  components: readonly string[] = ["main"],
): string {
  const stanza = (uri: string, suites: string) =>
    [
      `Types: deb\nURIs: ${uri}\nSuites: ${suites}`,
      `Components: ${components.join(" ")}\nSigned-By: ${keyring}\n`,
    ].join("\n");
  return stanza(mirrors.debian, `${release} ${release}-updates`) + "\n" +
    stanza(mirrors.security, `${release}-security`);
}

/** A package could not be fetched; the message is one sentence, the cause holds apt's own words. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}

export interface Archive {
  /** Packages' exact versions by name, as `name=version`. @throws ArchiveError for unknown ones */
  resolve(names: readonly string[]): Promise<readonly string[]>;
  /** What a meta-package such as `linux-image-cloud-amd64` depends on. */
  dependencies(name: string): Promise<readonly string[]>;
  /** Downloads the packages where the cache lacks them and answers their files. */
  fetch(versions: readonly string[]): Promise<readonly string[]>;
}

/**
 * Opens the archive of one release. `directory` keeps the package lists and what was downloaded; one
 * process at a time may use it.
 */
export async function openArchive(options: {
  readonly release: string;
  readonly architecture: Architecture;
  readonly directory: string;
  readonly mirrors?: Mirrors;
}): Promise<Archive> {
  const { release, directory } = options;
  const architecture = debianArchitecture[options.architecture];
  const lists = join(directory, "lists");
  const packages = join(directory, "packages");
  const sources = join(directory, "sources.list.d");
  for (const path of [join(lists, "partial"), join(packages, "partial"), sources]) {
    await Deno.mkdir(path, { recursive: true });
  }
  await Deno.writeTextFile(join(directory, "status"), "");
  await Deno.writeTextFile(
    join(sources, "debian.sources"),
    sourcesFile(release, options.mirrors ?? await hostMirrors()),
  );
  const configuration = join(directory, "apt.conf");
  await Deno.writeTextFile(
    configuration,
    [
      `Dir::State "${directory}";`,
      `Dir::State::Lists "${lists}";`,
      `Dir::State::status "${join(directory, "status")}";`,
      `Dir::Cache "${directory}";`,
      `Dir::Cache::archives "${packages}";`,
      `Dir::Etc::sourcelist "/dev/null";`,
      `Dir::Etc::sourceparts "${sources}";`,
      `APT::Architecture "${architecture}";`,
      `APT::Architectures { "${architecture}"; };`,
      // The cache may lie where apt's own unprivileged user cannot write.
      `APT::Sandbox::User "${Deno.env.get("USER") ?? "root"}";`,
      `Acquire::Languages "none";`,
      `Acquire::Retries "3";`,
    ].join("\n") + "\n",
  );
  const apt = async (program: string, args: readonly string[]): Promise<string> => {
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args: [...args],
      cwd: packages,
      env: { APT_CONFIG: configuration, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" },
    }).output();
    if (!success) {
      const words = new TextDecoder().decode(stderr).trim();
      throw new ArchiveError(
        `Debian's archive did not give what \`${program} ${
          args.slice(0, 2).join(" ")
        }\` asked for.`,
        { cause: new Error(words) },
      );
    }
    return new TextDecoder().decode(stdout);
  };
  await apt("apt-get", ["update", "-q"]);
  return {
    async resolve(names) {
      const text = await apt("apt-cache", ["show", "--no-all-versions", ...names]);
      const versions = new Map<string, string>();
      for (const stanza of text.split(/\n\s*\n/)) {
        const name = stanza.match(/^Package: (.+)$/m)?.[1];
        const version = stanza.match(/^Version: (.+)$/m)?.[1];
        if (name !== undefined && version !== undefined) versions.set(name, version);
      }
      return names.map((name) => {
        const version = versions.get(name);
        if (version === undefined) {
          throw new ArchiveError(`Debian ${release} has no package "${name}" for ${architecture}.`);
        }
        return `${name}=${version}`;
      });
    },
    async dependencies(name) {
      const text = await apt("apt-cache", ["depends", "--important", name]);
      return [...text.matchAll(/^\s*(?:Pre)?Depends: ([^<\s]+)$/gm)].map((match) => match[1] ?? "");
    },
    async fetch(versions) {
      // apt names the file `name_version_arch.deb` with the version's colons escaped.
      const stem = (version: string) => version.replace("=", "_").replaceAll(":", "%3a") + "_";
      const present = async () => {
        const files: string[] = [];
        for await (const entry of Deno.readDir(packages)) {
          if (entry.name.endsWith(".deb")) files.push(entry.name);
        }
        return files;
      };
      const before = await present();
      const missing = versions.filter((version) =>
        !before.some((file) => file.startsWith(stem(version)))
      );
      if (missing.length > 0) await apt("apt-get", ["download", "-q", ...missing]);
      const after = await present();
      return versions.map((version) => {
        const file = after.find((name) => name.startsWith(stem(version)));
        if (file === undefined) throw new ArchiveError(`apt did not store ${version}.`);
        return join(packages, file);
      });
    },
  };
}
