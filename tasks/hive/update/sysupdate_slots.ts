/**
 * Slots on a machine with UEFI: partitions written by systemd-sysupdate by the transfer files in
 * /usr/lib/sysupdate.d, kernel images on the boot partition that systemd-boot tries three times.
 *
 * systemd-sysupdate holds no lock of its own and would go on after its caller was killed, so it runs
 * under `flock`, and an install waits for what an earlier one left behind. What it wrote is read back:
 * the labels and ids of the slot from the disk's own table, the kernel image by its sum.
 */
import { statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { sumOfFile } from "../../../image/signing/sums.ts";
import { osReleaseField } from "../../../services/config/release.ts";
import { exists } from "../../init/write_file.ts";
import { CommandError } from "../../terminal/command.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import { diskOf } from "../disk/block_devices.ts";
import { type Partition, readPartitionTable, renamePartition } from "../disk/gpt.ts";
import type { Part, Release } from "./release.ts";
import type { InstalledVersion, Progressing, Slots } from "./slots.ts";

export interface SysupdatePlaces {
  readonly program: string;
  /** Transfer files; the program's own places unless given. */
  readonly definitions?: string;
  readonly osRelease: string;
  /** The disk with the slots. */
  disk(): Promise<string>;
  /** The folder with the kernel images. */
  boot(): Promise<string>;
  /** Held while an install runs. */
  readonly lock: string;
  readonly reboot: readonly [string, ...string[]];
}

/** An empty slot's label, by the partition definitions of the image. */
const emptyLabel = "_empty";
/** How long an install that was left behind may take to end. */
const leftBehind_ms = 120_000;

const kernelName = /^mulgaos_([^_+]+)(?:\+(\d+)(?:-(\d+))?)?\.efi$/;

/** The places of the appliance. */
export function appliancePlaces(updates: string): SysupdatePlaces {
  return {
    program: "/usr/lib/systemd/systemd-sysupdate",
    osRelease: "/usr/lib/os-release",
    lock: join(updates, "install.lock"),
    reboot: ["systemctl", "reboot"],
    async disk() {
      const disk = await diskOf("/usr");
      if (disk === undefined) {
        throw new CommandError("The running system is on no disk, so there is no slot to update.");
      }
      return disk;
    },
    async boot() {
      for (const mount of ["/boot", "/efi", "/boot/efi"]) {
        const directory = join(mount, "EFI/Linux");
        if (await exists(directory)) return directory;
      }
      throw new CommandError(
        "The boot partition is not mounted; see `systemctl status boot.mount`.",
      );
    },
  };
}

export class SysupdateSlots implements Slots {
  readonly #places: SysupdatePlaces;

  constructor(places: SysupdatePlaces) {
    this.#places = places;
  }

  async current(): Promise<string> {
    const text = await Deno.readTextFile(this.#places.osRelease).catch(() => "");
    const version = osReleaseField(text, "IMAGE_VERSION");
    if (osReleaseField(text, "IMAGE_ID") !== "mulgaos" || version === undefined) {
      throw new CommandError(
        "This system is not the MulgaOS image, so it is not updated by `hive update`; its packages are.",
      );
    }
    return version;
  }

  async #slots(): Promise<{ disk: string; partitions: readonly Partition[] }> {
    const disk = await this.#places.disk();
    return { disk, partitions: (await readPartitionTable(disk)).partitions };
  }

  async #kernels(): Promise<{ version: string; path: string; left: number | undefined }[]> {
    const directory = await this.#places.boot();
    const found: { version: string; path: string; left: number | undefined }[] = [];
    for await (const { name } of Deno.readDir(directory)) {
      const [, version, left] = kernelName.exec(name) ?? [];
      if (version === undefined) continue;
      const path = join(directory, name);
      found.push({ version, path, left: left === undefined ? undefined : Number(left) });
    }
    return found;
  }

  async list(): Promise<InstalledVersion[]> {
    const current = await this.current();
    const { partitions } = await this.#slots();
    const kernels = new Map((await this.#kernels()).map((one) => [one.version, one]));
    const versions = new Set([...kernels.keys(), ...versionsIn(partitions)]);
    return [...versions].sort().map((version): InstalledVersion => {
      const kernel = kernels.get(version);
      const whole = kernel !== undefined && slotsOf(partitions, version).length === 2;
      return {
        version,
        running: version === current,
        state: !whole
          ? "incomplete"
          : kernel.left === undefined
          ? "good"
          : kernel.left > 0
          ? "trying"
          : "failed",
      };
    });
  }

  async capacity(part: Part): Promise<number> {
    if (part.kind === "kernel") return 1 << 30;
    if (part.kind === "board") {
      throw new CommandError(
        `This machine has no place for ${part.name}: it is for another board.`,
      );
    }
    const current = await this.current();
    const { partitions, disk } = await this.#slots();
    const suffix = part.kind === "verity" ? "_verity" : "";
    const running = partitions.find((one) => one.name === `mulgaos_${current}${suffix}`);
    const other = partitions.filter((one) => one.type === running?.type && one !== running);
    const largest = Math.max(0, ...other.map((one) => one.size_bytes));
    if (largest === 0) {
      throw new CommandError(
        `${disk} has no second slot beside that of version ${current}; it is made at the first boot ` +
          `(\`systemctl status systemd-repart\` tells why it was not).`,
      );
    }
    return largest;
  }

  async requireBootSpace(bytes: number): Promise<void> {
    const directory = await this.#places.boot();
    const { bavail, bsize } = await statfs(directory);
    const kernels = await this.#kernels();
    const current = await this.current();
    // The installer keeps two and removes the older of the others first.
    const goes = kernels.filter((one) => one.version !== current).map((one) => one.path);
    const freed = kernels.length > 1 && goes[0] !== undefined ? (await Deno.stat(goes[0])).size : 0;
    const free = Number(bavail) * Number(bsize) + freed;
    if (free >= bytes) return;
    throw new CommandError(
      `The boot partition (${directory}) has ${
        sizeText(free)
      } free and the new kernel image needs ` +
        `${sizeText(bytes)}. Remove kernel images of versions that are not used any more: ` +
        `${goes.map((one) => basename(one)).join(", ") || "none is there"}.`,
    );
  }

  async install(release: Release, staging: string, progressing: Progressing): Promise<void> {
    await this.#waitForOther(progressing.signal);
    // The slot that is written now: first nothing starts it any more, then nothing is in it. One that carries
    // this very version may be of another build, and the installer would take its label for its content.
    const current = await this.current();
    for (const { version } of await this.list()) {
      if (version !== current) await this.#forget(version);
    }
    await this.#run(["--sync=yes", "update", release.version], progressing);
    progressing.progress("checking what was written");
    await this.#check(release, staging);
    await sync();
  }

  async #waitForOther(signal: AbortSignal): Promise<void> {
    using file = await Deno.open(this.#places.lock, { write: true, create: true, mode: 0o600 });
    const limit = performance.now() + leftBehind_ms;
    while (!await file.tryLock(true)) {
      signal.throwIfAborted();
      if (performance.now() > limit) {
        throw new CommandError(
          `An earlier installation is still writing (${this.#places.lock} is held). Wait for it, or ` +
            `restart the machine; the running version is not touched by it.`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async #run(args: readonly string[], { signal, progress }: Progressing): Promise<void> {
    const { program, definitions, lock } = this.#places;
    const child = new Deno.Command("flock", {
      args: [
        "--nonblock",
        // The installer itself holds the lock, so that ending it is ending this process.
        "--no-fork",
        lock,
        program,
        "--no-pager",
        ...(definitions === undefined ? [] : [`--definitions=${definitions}`]),
        ...args,
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { LC_ALL: "C.UTF-8" },
    }).spawn();
    const stop = () => {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended already.
      }
    };
    signal.addEventListener("abort", stop, { once: true });
    const last: string[] = [];
    let what = "starting";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      for (const line of text.split(/[\r\n]+/)) {
        const acquiring = /Acquiring .*?([^/]+) → /.exec(line);
        if (acquiring?.[1] !== undefined) progress(what = `writing ${acquiring[1]}`);
        const share = /^Imported (\d+)%/.exec(line);
        if (share?.[1] !== undefined) progress(what, Number(share[1]) / 100);
        else if (line.trim() !== "") last.push(line.trim());
      }
      last.splice(0, Math.max(0, last.length - 4));
    }
    const { success } = await child.status;
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
    if (success) return;
    throw new CommandError(
      `systemd-sysupdate did not install it: ${
        last.join(" ")
      } The running version goes on; run the ` +
        `same command again, or \`hive update --abort\`.`,
    );
  }

  /** What must be on the disk now. */
  async #check(release: Release, staging: string): Promise<void> {
    const { partitions, disk } = await this.#slots();
    if (slotsOf(partitions, release.version).length !== 2) {
      throw new CommandError(`${disk} has no whole slot of version ${release.version} now.`);
    }
    for (const part of release.parts) {
      // Written with hyphens or without.
      const uuid = /\.([0-9a-f-]{32,36})\.raw$/.exec(part.staged)?.[1]?.replaceAll("-", "");
      const is = (one: Partition) => one.uuid.replaceAll("-", "") === uuid;
      if (uuid === undefined || partitions.some(is)) continue;
      throw new CommandError(`${disk} has no partition ${uuid} although ${part.name} was written.`);
    }
    const kernel = release.parts.find((part) => part.kind === "kernel");
    const installed = (await this.#kernels()).find((one) => one.version === release.version);
    if (
      kernel === undefined || installed === undefined ||
      await sumOfFile(installed.path) !== await sumOfFile(join(staging, kernel.staged))
    ) {
      await this.#forget(release.version);
      throw new CommandError(
        `The kernel image of version ${release.version} on the boot partition is not what was ` +
          `written. It was taken away; check the disk, and run this again.`,
      );
    }
  }

  async remove(version: string): Promise<void> {
    if (version === await this.current()) {
      throw new CommandError(
        `Version ${version} runs now. To go back, choose the other version in the boot menu.`,
      );
    }
    const never = new AbortController().signal;
    await this.#waitForOther(never);
    await this.#forget(version);
    await sync();
  }

  /** First what starts it, then its slot. */
  async #forget(version: string): Promise<void> {
    for (const kernel of await this.#kernels()) {
      if (kernel.version === version) await Deno.remove(kernel.path);
    }
    const { disk, partitions } = await this.#slots();
    for (const slot of slotsOf(partitions, version)) {
      await renamePartition(disk, slot.number, emptyLabel);
    }
  }

  async reboot(): Promise<void> {
    const [program, ...args] = this.#places.reboot;
    const { success } = await new Deno.Command(program, { args }).output();
    if (!success) {
      throw new CommandError(`\`${program} ${args.join(" ")}\` failed; restart by hand.`);
    }
  }
}

function slotsOf(partitions: readonly Partition[], version: string): Partition[] {
  const labels = [`mulgaos_${version}`, `mulgaos_${version}_verity`];
  return partitions.filter((one) => labels.includes(one.name));
}

function versionsIn(partitions: readonly Partition[]): string[] {
  return partitions.flatMap((one) => /^mulgaos_([^_]+)(?:_verity)?$/.exec(one.name)?.[1] ?? []);
}

async function sync(): Promise<void> {
  const { success } = await new Deno.Command("sync").output();
  if (!success) throw new CommandError("`sync` failed: what was written may not be on the disk.");
}
