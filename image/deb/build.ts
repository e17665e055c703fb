/**
 * Builds the package for Debian hosts out of the same tree that the appliance is made from. The
 * result is whole or not there. Needs no root: everything in it belongs to root by dpkg-deb's word.
 */
import { dirname, join } from "node:path";
import { services } from "../../services/manifest.ts";
import { run } from "../../tasks/setup/debian.ts";
import { type PayloadArchitecture, PayloadError } from "../payload/payload.ts";
import { stagePayload } from "../payload/stage.ts";
import {
  control,
  copyright,
  type DebianArchitecture,
  debianVersion,
  lintianOverrides,
  maintainer,
  packageName,
} from "./control.ts";
import { maintainerScripts } from "./maintainer_scripts.ts";
import { fetchNatsProgram } from "./nats_server.ts";

const architectureNames: Readonly<Record<PayloadArchitecture, DebianArchitecture>> = {
  "x86-64": "amd64",
  arm64: "arm64",
};

export interface DebOptions {
  readonly architecture: PayloadArchitecture;
  readonly version: string;
  /** The folder that the package is put into. */
  readonly output: string;
  /** Larger and quicker: for tests. */
  readonly quick?: boolean;
  readonly onProgress?: (text: string) => void;
}

/** @returns the package's path. @throws PayloadError */
export async function buildDeb(options: DebOptions): Promise<string> {
  const { architecture, version, onProgress = () => {} } = options;
  const work = await Deno.makeTempDir({ prefix: "mulga-deb-" });
  try {
    const root = join(work, "root");
    onProgress("fetching nats-server");
    const natsServer = await fetchNatsProgram(architecture, work);
    await stagePayload({ root, architecture, version, natsServer, onProgress });
    await documents(root, version);
    await controlFiles(root, version, architectureNames[architecture]);

    onProgress("packing");
    const name = `${packageName}_${debianVersion(version)}_${architectureNames[architecture]}.deb`;
    const made = join(work, name);
    const compression = options.quick === true ? ["-Zgzip", "-z1"] : ["-Zxz"];
    await must(["dpkg-deb", "--root-owner-group", ...compression, "--build", root, made]);
    await Deno.mkdir(options.output, { recursive: true });
    const place = join(options.output, name);
    await Deno.copyFile(made, `${place}.new`);
    await Deno.rename(`${place}.new`, place);
    return place;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function write(root: string, path: string, text: string, mode: number): Promise<void> {
  const file = join(root, path);
  await Deno.mkdir(dirname(file), { recursive: true });
  await Deno.writeTextFile(file, text);
  await Deno.chmod(file, mode);
}

/** What Debian wants every package to say of itself. */
async function documents(root: string, version: string): Promise<void> {
  const folder = join("/usr/share/doc", packageName);
  await write(root, join(folder, "copyright"), copyright, 0o644);
  await write(root, join("/usr/share/lintian/overrides", packageName), lintianOverrides, 0o644);
  const entry = `${packageName} (${debianVersion(version)}) stable; urgency=medium\n\n` +
    `  * Built from the sources of this version; they say what changed.\n\n` +
    ` -- ${maintainer}  Thu, 01 Jan 2026 00:00:00 +0000\n`;
  const log = join(root, folder, "changelog");
  await write(root, join(folder, "changelog"), entry, 0o644);
  await must(["gzip", "--best", "--no-name", log]);
}

async function controlFiles(
  root: string,
  version: string,
  architecture: DebianArchitecture,
): Promise<void> {
  const sums = await must([
    "sh",
    "-c",
    `cd "$1" && find . -type f ! -path './DEBIAN/*' -printf '%P\\0' | sort -z | xargs -0 md5sum`,
    "md5sums",
    root,
  ]);
  const size = await must(["du", "--summarize", "--apparent-size", "--block-size=1024", root]);
  const installed_kib = Number(size.split(/\s/)[0]);
  await write(root, "DEBIAN/md5sums", sums, 0o644);
  await write(root, "DEBIAN/control", control({ version, architecture, installed_kib }), 0o644);
  for (const [name, text] of Object.entries(maintainerScripts(services))) {
    await write(root, `DEBIAN/${name}`, text, 0o755);
  }
  // Directories are everybody's to read whatever this user's mask is.
  await must(["find", root, "-type", "d", "-exec", "chmod", "0755", "{}", "+"]);
}

async function must(command: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) {
    throw new PayloadError(
      `${command[0]} failed: ${(stderr || stdout).trim().split("\n").slice(-3).join("; ")}`,
    );
  }
  return stdout;
}
