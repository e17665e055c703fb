/** `hive backup` and `hive restore`. */
import { pathsOf } from "../../../services/config/node_config.ts";
import { adminCredentials } from "../../../services/identity/contract.ts";
import { dataDirOf } from "../../init/data_dir.ts";
import { exists } from "../../init/write_file.ts";
import { endpointOf } from "../../stack/endpoint.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { Progress } from "../../terminal/progress.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import { taskCommand } from "../../terminal/task_command.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf } from "../node.ts";
import { makeBackup, openBackup } from "./backup.ts";
import { readPassphrase } from "./passphrase.ts";
import { placeOf, type S3Access } from "./place.ts";
import { requireRestorable, restore } from "./restore.ts";
import { generateRecoveryKey, type Lock, type Opener } from "./seal.ts";

const contents = [
  "In it: configuration, secrets and certificate authority, and every record of the state store: users, keys, " +
  "policies, instances, volumes, images, snapshots, the audit trail.",
  "Not in it: the bytes of volumes, objects and images, and the logs. predastore's index is made anew from " +
  "its segments. Copy volumes as snapshots and objects with any S3 client.",
] as const;

const endpointOption = {
  endpoint: {
    type: "string",
    value: "URL",
    help: "Endpoint for s3:// (default: $AWS_ENDPOINT_URL, else this node)",
  },
} as const;

/** The S3 that is meant: what the variables say, or this node's own. */
async function s3Access(
  endpoint: string | undefined,
  dataDir: string | undefined,
): Promise<S3Access> {
  const env = (name: string) => Deno.env.get(name) || undefined;
  const caFile = env("AWS_CA_BUNDLE");
  const ca = caFile === undefined ? undefined : await Deno.readTextFile(caFile);
  const region = env("AWS_REGION") ?? env("AWS_DEFAULT_REGION");
  const named = endpoint ?? env("AWS_ENDPOINT_URL_S3") ?? env("AWS_ENDPOINT_URL");
  if (named !== undefined || env("AWS_ACCESS_KEY_ID") !== undefined) {
    return { endpoint: named, region: region ?? "us-east-1", ca };
  }
  const node = await nodeOf(dataDir);
  await using bus = await busOf(node);
  const { access_key_id, secret_access_key } = await bus.ask(adminCredentials, null);
  return {
    endpoint: endpointOf(node.config),
    region: node.config.region,
    credentials: { accessKeyId: access_key_id, secretAccessKey: secret_access_key },
    ca: await Deno.readTextFile(node.paths.tls.ca),
  };
}

/** On an installed system the first-boot step gives each file to the service that needs it. */
async function startWords(): Promise<string> {
  return await exists("/usr/lib/systemd/system/mulga-first-boot.service")
    ? "`systemctl restart mulga-first-boot.service && systemctl start mulga.target`, or restart the machine"
    : `\`${taskCommand()} up\``;
}

async function readKey(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new CommandError(`${path} cannot be read.`, 1, { cause });
  }
}

async function makeRecoveryKey(path: string): Promise<void> {
  const { privateKey, publicKey } = await generateRecoveryKey();
  try {
    await Deno.writeTextFile(path, privateKey, { createNew: true, mode: 0o600 });
    await Deno.writeTextFile(`${path}.pub`, publicKey, { createNew: true });
  } catch (cause) {
    throw new CommandError(`${path} or ${path}.pub is there already or cannot be made.`, 1, {
      cause,
    });
  }
  console.log(
    `Keep ${path} away from this machine: it opens the backups that are made with ` +
      `\`hive backup --recipient ${path}.pub\`.`,
  );
}

export const backupCommand: HiveCommand = {
  words: ["backup"],
  summary: "Save the cloud's state, encrypted, to a file or S3",
  async run(args) {
    const parsed = parse(
      {
        name: "hive backup",
        summary: "Saves the cloud's state, encrypted and read back, to a file or S3.",
        arguments: "<FILE | s3://bucket/key>",
        options: {
          "passphrase-file": {
            type: "string",
            value: "FILE",
            help: "Passphrase (default: asked for)",
          },
          recipient: {
            type: "string",
            value: "FILE",
            help: "Public half of a recovery key, instead of a passphrase",
          },
          "new-recovery-key": {
            type: "string",
            value: "FILE",
            help: "Only make a recovery key: FILE and FILE.pub",
          },
          ...endpointOption,
          ...jsonOption,
          ...dataDirOption,
        },
        notes: contents,
      },
      args,
      { min: 0, max: 1 },
    );
    if (parsed === undefined) return;
    const { options } = parsed;
    if (options["new-recovery-key"] !== undefined) {
      return await makeRecoveryKey(options["new-recovery-key"]);
    }
    const target = parsed.positionals[0];
    if (target === undefined) {
      throw new CommandError("Where to? Usage: hive backup <FILE | s3://bucket/key>.", 2);
    }
    const dataDir = options["data-dir"];
    const node = await nodeOf(dataDir);
    const place = await placeOf(target, () => s3Access(options.endpoint, dataDir));
    const passphrase = options.recipient === undefined
      ? await readPassphrase(options["passphrase-file"], true)
      : undefined;
    const lock: Lock = passphrase === undefined
      ? { kind: "recipient", publicKey: await readKey(options.recipient ?? "") }
      : { kind: "passphrase", passphrase };
    using progress = new Progress("Backup");
    const made = await makeBackup(node, place, lock, (what) => progress.update(what));
    // A node cannot open what it made for a recovery key; whoever holds the key can check it.
    const checked = passphrase !== undefined;
    if (checked) {
      progress.update(`reading ${place.name} back`);
      await openBackup(place, { passphrase: () => Promise.resolve(passphrase) });
    }
    progress.done(`${sizeText(made.size_bytes)} in ${place.name}`);
    const { manifest } = made;
    if (options.json === true) {
      const { size_bytes } = made;
      return console.log(
        JSON.stringify({ place: place.name, size_bytes, checked, manifest }, null, 2),
      );
    }
    console.log(
      `${manifest.streams.length} streams and ${
        made.entries - manifest.streams.length - 2
      } files of ` +
        `cluster ${manifest.node.cluster_id}${checked ? ", read back and checked" : ""}. ` +
        (manifest.one_moment
          ? ""
          : "Writes never paused, so the streams are of several moments. ") +
        `Volumes' and objects' own bytes are not in it.`,
    );
  },
};

export const restoreCommand: HiveCommand = {
  words: ["restore"],
  summary: "Put a saved state onto this node",
  async run(args) {
    const parsed = parse(
      {
        name: "hive restore",
        summary: "Puts a saved state onto this node, which must not be running.",
        arguments: "<FILE | s3://bucket/key>",
        options: {
          "passphrase-file": {
            type: "string",
            value: "FILE",
            help: "Passphrase (default: asked for)",
          },
          "recovery-key": { type: "string", value: "FILE", help: "Private half of a recovery key" },
          overwrite: { type: "boolean", help: "Replace the state that is here" },
          check: { type: "boolean", help: "Only open it, check every part and show what is in it" },
          ...endpointOption,
          ...jsonOption,
          ...dataDirOption,
        },
        notes: contents,
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const { options } = parsed;
    const dataDir = options["data-dir"];
    const paths = pathsOf(dataDirOf(dataDir));
    const check = options.check === true;
    if (!check) await requireRestorable(paths, options.overwrite === true);
    const place = await placeOf(
      parsed.positionals[0] ?? "",
      () => s3Access(options.endpoint, dataDir),
    );
    const opener: Opener = {
      passphrase: () => readPassphrase(options["passphrase-file"], false),
      ...(options["recovery-key"] === undefined
        ? {}
        : { privateKey: () => readKey(options["recovery-key"] ?? "") }),
    };
    using progress = new Progress(check ? "Checking the backup" : "Restore");
    progress.update(`reading ${place.name}`);
    const content = await openBackup(place, opener);
    const { manifest } = content;
    if (!check) {
      await restore(content, paths, {
        overwrite: options.overwrite === true,
        progress: (what) => progress.update(what),
      });
    }
    progress.done(check ? "every part is what it was" : `cluster ${manifest.node.cluster_id}`);
    if (options.json === true) return console.log(JSON.stringify(manifest, null, 2));
    console.log(
      `Node ${manifest.node.node_id} of cluster ${manifest.node.cluster_id}, saved ${manifest.created} by ` +
        `release ${manifest.release}: ${manifest.streams.length} streams.` +
        (check
          ? ""
          : ` Start it now: ${await startWords()}. Volumes and objects whose bytes are not on this machine ` +
            `are known by name only.`),
    );
  },
};
