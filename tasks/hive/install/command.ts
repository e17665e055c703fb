/** `hive install`. */
import { CommandError, jsonOption, parse } from "../../terminal/command.ts";
import { Progress } from "../../terminal/progress.ts";
import { bytes as sizeText, table } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { journaled } from "../journal.ts";
import { listBlockDevices } from "../disk/block_devices.ts";
import { findSeed } from "../first_boot/seed_sources.ts";
import { System } from "../first_boot/system.ts";
import { type Candidate, chooseDisk, parseDiskRule } from "./disks.ts";
import {
  install,
  type InstallChoice,
  installedHere,
  type InstallSite,
  isInstalled,
  thisSite,
} from "./install.ts";

const spec = {
  name: "hive install",
  summary: "Installs the running system (from a stick) to a disk of this machine.",
  options: {
    disk: {
      type: "string",
      value: "RULE",
      help: "Device, smallest, largest, or bus=nvme,min_gib=100,id=nvme-*,pick=largest",
    },
    erase: { type: "boolean", help: "The disk may hold data, which is lost" },
    list: { type: "boolean", help: "Only list the disks, and what is on them" },
    yes: { type: "boolean", help: "Do not ask" },
    "from-seed": {
      type: "boolean",
      help: "What the seed says: nothing, or an unattended installation (the system calls this)",
    },
    ...jsonOption,
  },
  notes: [
    "The boot partition and the running version are copied and read back; the second slot and the data " +
    "partition are made at the first start from the disk. Remove the stick before that.",
  ],
} as const;

function listing(disks: readonly Candidate[]): string {
  if (disks.length === 0) return "There is no disk.";
  return table(
    ["DISK", "SIZE", "BUS", "MODEL", "CONTENT", "NOTE"],
    disks.map((one) => [
      one.path,
      sizeText(one.size_bytes),
      one.bus ?? "",
      one.model ?? "",
      one.data.length === 0 ? "empty" : one.data.join(", "),
      one.unusable ?? "",
    ]),
  );
}

function asked(disk: Candidate): boolean {
  if (!Deno.stdin.isTerminal()) {
    throw new CommandError("Nobody can be asked here; say --yes if this is meant.", 2);
  }
  const what = disk.data.length === 0 ? "It is empty." : `ERASED: ${disk.data.join(", ")}.`;
  console.error(`${disk.path}: ${sizeText(disk.size_bytes)}, ${disk.model ?? "?"}. ${what}`);
  return prompt(`Type "${disk.path}" to install to it:`)?.trim() === disk.path;
}

async function carryOut(
  site: InstallSite,
  choice: Pick<InstallChoice, "rule" | "overwrite" | "confirm">,
): Promise<Candidate> {
  const stop = new AbortController();
  Deno.addSignalListener(
    "SIGINT",
    () => stop.abort(new CommandError("Stopped; the disk has no partition table now.", 130)),
  );
  using progress = new Progress(`Installing ${site.source.version}`);
  const disk = await install(site, {
    ...choice,
    signal: stop.signal,
    progress: (what, share) => progress.update(`${what}, ${Math.round(share * 100)} %`),
  });
  progress.done(disk.path);
  return disk;
}

/** An unattended installation, when the seed wants one and this is the stick that it was given to. */
async function fromSeed(): Promise<number> {
  const found = await findSeed(new System("/"));
  // A seed that cannot be read is the first boot's to tell.
  if (found.kind !== "seed" || found.seed.install?.unattended !== true) return 0;
  const site = await thisSite();
  const [running] = await listBlockDevices(site.source.disk);
  if (running === undefined || (running.transport !== "usb" && !running.removable)) return 0;
  if (await isInstalled(site)) return 0;
  const done = await installedHere(site);
  if (done === undefined) {
    const rule = found.seed.install.target ?? {};
    await installWhenPossible(site, { rule, overwrite: found.seed.install.overwrite === true });
  }
  console.error(
    `MulgaOS is installed on ${
      done ?? "the disk"
    }. Remove the stick: the box then starts from its disk.`,
  );
  await restartWithout(site.source.disk);
  return 0;
}

const again_ms = 10_000;
const pause = () => new Promise((resolve) => setTimeout(resolve, again_ms));

/**
 * Installs as soon as a disk fits the rule, and says why none does. It does not give up: a stick that is to
 * install must not become a node itself, and whoever reads the screen may mend what it says.
 */
async function installWhenPossible(
  site: InstallSite,
  choice: Pick<InstallChoice, "rule" | "overwrite">,
): Promise<void> {
  for (let said = "";;) {
    try {
      chooseDisk(choice.rule, await site.candidates(), choice.overwrite);
      await carryOut(site, choice);
      return;
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      if (error.message !== said) console.error(error.message);
      said = error.message;
    }
    await pause();
  }
}

/**
 * Waits until the stick is gone and restarts. The system's programs go with the stick, so the restart is
 * asked of the kernel itself, by a file that is open before.
 */
async function restartWithout(stick: string): Promise<void> {
  await new Deno.Command("sync").output();
  using trigger = await Deno.open("/proc/sysrq-trigger", { write: true });
  const restart = new TextEncoder().encode("b");
  for (;;) {
    try {
      Deno.statSync(stick);
    } catch {
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await trigger.write(restart);
}

export const installCommand: HiveCommand = {
  words: ["install"],
  summary: "Install the running system from a stick to a disk; --list shows the disks",
  run: (args) => journaled("hive install", () => installFrom(args)),
};

async function installFrom(args: readonly string[]): Promise<number | void> {
  const parsed = parse(spec, args);
  if (parsed === undefined) return;
  const { options } = parsed;
  if (options["from-seed"] === true) return await fromSeed();
  const site = await thisSite();
  if (options.list === true) {
    const disks = await site.candidates();
    return console.log(options.json === true ? JSON.stringify(disks, null, 2) : listing(disks));
  }
  const disk = await carryOut(site, {
    rule: options.disk === undefined ? {} : parseDiskRule(options.disk),
    overwrite: options.erase === true,
    ...(options.yes === true ? {} : { confirm: asked }),
  });
  if (options.json === true) {
    return console.log(
      JSON.stringify({ version: site.source.version, disk: disk.path }, null, 2),
    );
  }
  console.log(
    `Version ${site.source.version} is on ${disk.path}. Remove the stick, then restart: while both are ` +
      `plugged in, the firmware may start either.`,
  );
}
