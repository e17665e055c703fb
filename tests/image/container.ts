/**
 * A Debian host with systemd as its first process, in a container of this machine: for what a package
 * does on somebody's server, which needs no kernel of its own. Made by mmdebstrap, booted by
 * systemd-nspawn with a network of its own, so that every port is free. Needs root.
 */
import { join } from "node:path";
import { until } from "../kit/until.ts";
import { type Ran, run } from "../kit/stack.ts";

/** Where this machine gets Debian from. */
async function mirror(): Promise<string> {
  const command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"];
  const { stdout } = await run(command);
  const site = stdout.split("\n").find((line) => /debian/.test(line) && !/security/.test(line));
  return site?.trim() ?? "http://deb.debian.org/debian";
}

async function must(command: readonly string[], timeout_ms = 120_000): Promise<string> {
  const ran = await run(command, { timeout_ms });
  if (ran.code === 0) return ran.stdout;
  throw new Error(`${command.join(" ")} ended with ${ran.code}:\n${ran.stdout}${ran.stderr}`);
}

export class Container implements AsyncDisposable {
  readonly root: string;
  readonly #directory: string;
  #process: Deno.ChildProcess | undefined;
  #first: string | undefined;

  private constructor(directory: string) {
    this.#directory = directory;
    this.root = join(directory, "root");
  }

  /** A fresh host with what a small server installation has. */
  static async make(release: "bookworm" | "trixie"): Promise<Container> {
    const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-host-" });
    const container = new Container(directory);
    try {
      const site = await mirror();
      const suites = release === "bookworm" ? ["bookworm", "bookworm-backports"] : ["trixie"];
      await must([
        ...["mmdebstrap", "--variant=minbase"],
        "--include=systemd-sysv,dbus,iproute2,procps,ca-certificates,login,passwd",
        release,
        container.root,
        ...suites.map((suite) => `deb ${site} ${suite} main`),
      ], 900_000);
      await Deno.copyFile("/etc/resolv.conf", join(container.root, "etc/resolv.conf"));
      await Deno.writeTextFile(join(container.root, "etc/hosts"), "127.0.0.1 localhost host\n");
      return container;
    } catch (error) {
      await container[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Before it boots, with this machine's network: downloads what an installation will need. */
  async download(...aptArguments: readonly string[]): Promise<void> {
    const apt = ["chroot", this.root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy"];
    await must([...apt, "update"], 300_000);
    await must([...apt, "--download-only", "install", ...aptArguments], 600_000);
  }

  async boot(): Promise<void> {
    this.#process = new Deno.Command("systemd-nspawn", {
      args: [
        ...["--quiet", "--directory", this.root, "--keep-unit", "--register=no"],
        ...["--private-network", "--console=pipe", "--boot"],
        // The block engine's rings, V8's memory keys and QEMU's own fence.
        ...["--capability=all", "--system-call-filter=@aio @pkey seccomp"],
      ],
      env: { SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const { pid } = this.#process;
    this.#first = await until("the host's first process", async () => {
      const { stdout } = await run(["pgrep", "--parent", String(pid)]);
      return stdout.trim().split("\n")[0] || undefined;
    }, 60_000);
    await until("the host to be up", async () => {
      const { stdout } = await this.try("systemctl", "is-system-running");
      return /^(running|degraded)/.test(stdout) ? true : undefined;
    }, 120_000);
  }

  /** Runs a program inside. */
  async try(...command: readonly string[]): Promise<Ran> {
    return await run(["nsenter", "--target", this.#first ?? "", "--all", "--", ...command], {
      env: { DEBIAN_FRONTEND: "noninteractive", MULGA_DATA_DIR: "", DENO_DIR: "" },
      timeout_ms: 600_000,
    });
  }

  /** The same, and a failure is an error. */
  async run(...command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...command);
    if (code === 0) return stdout;
    const { stdout: journal } = await this.try("journalctl", "--no-pager", "--lines=40");
    throw new Error(`${command.join(" ")} ended with ${code}:\n${stdout}${stderr}\n${journal}`);
  }

  /** A program of this machine in the host's network. */
  async beside(command: readonly string[], env: Record<string, string>): Promise<Ran> {
    return await run(["nsenter", "--target", this.#first ?? "", "--net", "--", ...command], {
      env,
    });
  }

  /** Processes of ours inside, by their command lines. */
  async processes(): Promise<string[]> {
    const { stdout } = await this.try("ps", "-eo", "args");
    return stdout.split("\n").filter((line) => /mulga|nats-server|qemu-system/.test(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process !== undefined) {
      const off = setTimeout(() => {
        Deno.kill(Number(this.#first), "SIGKILL");
      }, 120_000);
      await this.try("systemctl", "poweroff").catch(() => {});
      await this.#process.status;
      clearTimeout(off);
    }
    await must(["rm", "-rf", "--one-file-system", this.#directory], 300_000);
  }
}
