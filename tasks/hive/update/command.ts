/** `hive update`. */
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { Progress } from "../../terminal/progress.ts";
import type { HiveCommand } from "../hive_command.ts";
import { journaled } from "../journal.ts";
import { configuredSource, thisMachine } from "./machine.ts";
import { sourceOf } from "./source.ts";
import { lockUpdates, takeOverLock } from "./state.ts";
import { statusText, updateStatus } from "./status.ts";
import { abortUpdate, findUpdate, runUpdate, type UpdateSite } from "./update.ts";
import { requireVersion } from "./version.ts";

const spec = {
  name: "hive update",
  summary: "Installs a newer version into the other slot; the next start tries it.",
  options: {
    from: {
      type: "string",
      value: "WHERE",
      help: 'Address, folder, or "usb" (default: what /etc/mulga/update-source says)',
    },
    version: { type: "string", value: "VERSION", help: "That version (default: the newest there)" },
    check: { type: "boolean", help: "Only say what is there" },
    status: { type: "boolean", help: "Say what is installed and how far an update has come" },
    abort: { type: "boolean", help: "End an update and take back what it did" },
    reboot: { type: "boolean", help: "Restart the machine when it is installed" },
    "allow-downgrade": { type: "boolean", help: "Take an older version too" },
    "allow-unsigned": {
      type: "boolean",
      help: "Take a release without a signature, on a system that trusts no key",
    },
    ...jsonOption,
    ...dataDirOption,
  },
  notes: [
    "An update that was cut off goes on where it stopped when the same command is given again. The " +
    "new version is tried three times; when it does not prove itself, the machine returns to the old one.",
    "Exit code of --check: 0 a newer version is there, 3 there is none, or only one that was tried here " +
    "and did not prove itself. Automatic updates begin with this check.",
  ],
} as const;

/** Aborted by Ctrl-C and by `--abort` of another process. */
function interruption(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () =>
      stop.abort(
        new CommandError(
          "Stopped. What has arrived is kept: the same command goes on, --abort removes it.",
          130,
        ),
      ));
  }
  return stop.signal;
}

async function abort(site: UpdateSite): Promise<void> {
  using _lock = await takeOverLock(site.directory);
  console.log(await abortUpdate(site));
}

export const updateCommand: HiveCommand = {
  words: ["update"],
  summary: "Install a newer version of the system; --status, --check, --abort",
  run: (args) => journaled("hive update", () => update(args)),
};

async function update(args: readonly string[]): Promise<number | void> {
  const parsed = parse(spec, args);
  if (parsed === undefined) return;
  const { options } = parsed;
  const json = options.json === true;
  const site = await thisMachine(options["data-dir"]);
  if (options.status === true) {
    const status = await updateStatus(site);
    return console.log(json ? JSON.stringify(status, null, 2) : statusText(status));
  }
  if (options.abort === true) return await abort(site);
  const signal = interruption();
  await using source = await sourceOf(options.from ?? await configuredSource());
  using progress = new Progress(options.check === true ? "Looking for updates" : "Update");
  const choice = {
    ...(options.version === undefined ? {} : { version: requireVersion(options.version) }),
    allowDowngrade: options["allow-downgrade"] === true,
    allowUnsigned: options["allow-unsigned"] === true,
    signal,
    progress: (what: string, share?: number) =>
      progress.update(share === undefined ? what : `${what}, ${Math.round(share * 100)} %`),
  };
  if (options.check === true) {
    const { current, release, signer, newer, rolledBack } = await findUpdate(
      site,
      source,
      choice,
    );
    progress.done(newer ? `${release.version} is there` : `nothing newer than ${current}`);
    const found = {
      current,
      version: release.version,
      newer,
      signed_by: signer ?? null,
      rolled_back: rolledBack,
    };
    console.log(
      json ? JSON.stringify(found, null, 2) : `${current} runs, ${source.name} has ` +
        `${release.version} (${signer === undefined ? "not signed" : `signed by ${signer}`}).` +
        (rolledBack
          ? " It was tried here and did not prove itself; `hive update` tries it once more."
          : ""),
    );
    return newer && !rolledBack ? 0 : 3;
  }
  using _lock = await lockUpdates(site.directory);
  const { version, installed } = await runUpdate(site, source, choice);
  progress.done(installed ? `${version} is installed` : `${version} was installed before`);
  if (json) console.log(JSON.stringify({ version, installed }, null, 2));
  if (options.reboot === true) {
    console.error(`Restarting into ${version}.`);
    await site.slots.reboot();
  } else if (!json) {
    console.log(`Restart to try ${version}: \`systemctl reboot\`, or \`hive update --reboot\`.`);
  }
}
