/**
 * The settings of a seed that concern the system and may change at any time: host name, network, time,
 * SSH, where updates come from. Each becomes files below /etc, as the programs that they are for read
 * them; what the seed no longer says is removed, and the image's own default holds again.
 */
import { join } from "node:path";
import type { Seed } from "../../../services/cluster/seed.ts";
import { exists } from "../../init/write_file.ts";
import { networkFiles, networkPrefix } from "./network_files.ts";
import type { System } from "./system.ts";
import { applyUpdateTimer } from "./update_timer.ts";

const made = "# Made from the seed; changes here are lost.\n";
const networkDirectory = "/etc/systemd/network";

export async function applySettings(seed: Seed, system: System): Promise<void> {
  await applyNetwork(seed.network, system);
  await applyTime(seed.time?.servers ?? [], system);
  await applySsh(seed.ssh?.keys ?? [], system);
  await applyUpdateSource(seed.update?.source, system);
  await applyUpdateTimer(seed.update, system);
}

async function applyNetwork(network: Seed["network"], system: System): Promise<void> {
  const wanted = networkFiles(network);
  let changed = false;
  for (const [name, content] of wanted) {
    changed = await system.write(join(networkDirectory, name), content) || changed;
  }
  for (const name of await system.list(networkDirectory)) {
    if (!name.startsWith(networkPrefix) || wanted.has(name)) continue;
    changed = await system.remove(join(networkDirectory, name)) || changed;
  }
  if (changed) await system.run("networkctl", "reload");
}

async function applyTime(servers: readonly string[], system: System): Promise<void> {
  const chrony = "/etc/chrony/sources.d/mulga.sources";
  const timesyncd = "/etc/systemd/timesyncd.conf.d/50-mulga.conf";
  const changed = servers.length === 0
    ? [await system.remove(chrony), await system.remove(timesyncd)]
    : [
      await system.write(
        chrony,
        made + servers.map((server) => `server ${server} iburst\n`).join(""),
      ),
      await system.write(timesyncd, `${made}[Time]\nNTP=${servers.join(" ")}\n`),
    ];
  if (!changed.includes(true)) return;
  for (const unit of ["chrony.service", "systemd-timesyncd.service"]) {
    // One of the two is installed.
    if (await exists(system.path(`/usr/lib/systemd/system/${unit}`))) {
      await system.run("systemctl", "--no-block", "try-restart", unit);
    }
  }
}

async function applySsh(keys: readonly string[], system: System): Promise<void> {
  const list = "/etc/ssh/mulga_authorized_keys";
  const settings = "/etc/ssh/sshd_config.d/50-mulga.conf";
  const enabled = "/etc/systemd/system/multi-user.target.wants/ssh.service";
  if (keys.length === 0) {
    const was = await system.remove(enabled);
    await system.remove(list);
    await system.remove(settings);
    if (was) await system.run("systemctl", "--no-block", "stop", "ssh.service");
    return;
  }
  await system.write(list, `${made}${keys.join("\n")}\n`, 0o600);
  // The root's own directory is on the read-only system.
  const changed = await system.write(
    settings,
    `${made}AuthorizedKeysFile ${list}\nPermitRootLogin prohibit-password\n` +
      `PasswordAuthentication no\nKbdInteractiveAuthentication no\n`,
  );
  const fresh = await system.link(enabled, "/usr/lib/systemd/system/ssh.service");
  if (changed || fresh) {
    // The box's own host keys; those that it has stay.
    await system.run("ssh-keygen", "-A");
    await system.run("systemctl", "--no-block", "restart", "ssh.service");
  }
}

/** `hive update` looks here when it is not told where to look. */
async function applyUpdateSource(source: string | undefined, system: System): Promise<void> {
  const file = "/etc/mulga/update-source";
  if (source === undefined) await system.remove(file);
  else await system.write(file, `${source}\n`);
}

/** Sets the host name now and for every later boot. */
export async function setHostname(name: string, system: System): Promise<void> {
  await system.write("/etc/hostname", `${name}\n`);
  if (system.live && Deno.hostname() !== name) {
    await Deno.writeTextFile("/proc/sys/kernel/hostname", name);
  }
}
