/**
 * Writes the file tree of the product for a Debian system: the Deno binary, a bundle for each service
 * and for `hive`, systemd units, users, directories. The appliance's image and the package for Debian
 * hosts are made from the same tree.
 *
 * The tree is complete or the call fails; what was at those paths below `root` is replaced.
 */
import { dirname, join } from "node:path";
import { services } from "../../services/manifest.ts";
import { preset, sysusers, tmpfiles } from "./accounts.ts";
import { bundle } from "./bundles.ts";
import { checkProgram, denoBinary } from "./deno_binary.ts";
import { bundleOf, hiveBundle, layout, natsServer } from "./layout.ts";
import type { PayloadArchitecture } from "./payload.ts";
import { allUnits } from "./units.ts";

export interface PayloadOptions {
  /** The root directory of the tree. */
  readonly root: string;
  readonly architecture: PayloadArchitecture;
  readonly version: string;
  /**
   * A nats-server program to take along. Without one the tree relies on Debian's package
   * `nats-server` and masks that package's own service.
   */
  readonly natsServer?: string;
  readonly onProgress?: (text: string) => void;
}

/** `hive` for whoever is logged in: a command like any other. */
const wrapper = `#!/bin/sh
# The operator's command of MulgaOS.
: "\${MULGA_DATA_DIR:=${layout.data}}" "\${DENO_DIR:=${layout.cache}/hive}"
export MULGA_DATA_DIR DENO_DIR DENO_NO_UPDATE_CHECK=1
exec ${layout.deno} run -A --cached-only --no-config --no-lock --quiet ${hiveBundle} "$@"
`;

/** @throws PayloadError */
export async function stagePayload(options: PayloadOptions): Promise<void> {
  const { root, architecture, version, onProgress = () => {} } = options;
  const write = async (path: string, content: string, mode = 0o644) => {
    const file = join(root, path);
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeTextFile(file, content);
    await Deno.chmod(file, mode);
  };

  const deno = await denoBinary(architecture, onProgress);
  await place(deno, join(root, layout.deno));

  for (const { name, entry } of services) {
    if (typeof entry !== "string") continue;
    onProgress(`bundling ${name}`);
    await bundle(entry, bundleOf(entry), root, bundleOf);
  }
  onProgress("bundling hive");
  await bundle("tasks/hive.ts", hiveBundle, root, bundleOf);
  await write(layout.hive, wrapper, 0o755);
  await write(`${layout.library}/version`, `${version}\n`);

  onProgress("writing units");
  for (const [name, text] of Object.entries(allUnits(services))) {
    await write(`${layout.units}/${name}`, text);
  }
  await write(layout.sysusers, sysusers(services));
  await write(layout.tmpfiles, tmpfiles());
  await write("/usr/lib/systemd/system-preset/50-mulga.preset", preset());

  if (options.natsServer === undefined) {
    await link("/usr/sbin/nats-server", join(root, natsServer));
    await link("/dev/null", join(root, "/etc/systemd/system/nats-server.service"));
  } else {
    await checkProgram(options.natsServer, architecture);
    await place(options.natsServer, join(root, natsServer));
  }
}

async function place(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(to), { recursive: true });
  await Deno.remove(to).catch(ignoreMissing);
  await Deno.copyFile(from, to);
  await Deno.chmod(to, 0o755);
}

async function link(target: string, at: string): Promise<void> {
  await Deno.mkdir(dirname(at), { recursive: true });
  await Deno.remove(at).catch(ignoreMissing);
  await Deno.symlink(target, at);
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
