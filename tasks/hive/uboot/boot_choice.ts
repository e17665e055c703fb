/**
 * Which version a machine that starts by U-Boot (a Raspberry Pi) starts, and how a new one is tried.
 *
 * A new version is started once, by UEFI's BootNext: U-Boot removes it from the card before it uses it,
 * so whatever ends the attempt (a panic, the watchdog, a failed health check, somebody at the plug),
 * the next start is the old version again. Only `keep`, called once the new one is found healthy,
 * makes it the one that is started from then on.
 *
 * Always true, at whatever moment the power goes: the file that U-Boot reads names whole kernel images
 * only, the proven one first; and should U-Boot find no such file, systemd-boot starts the newest image
 * that is not marked as having no attempt left, which a version on trial is until it is kept. Each step
 * is on the card before the next begins, and repeating any of them is harmless.
 *
 * An update is `keep` of the running version (a fresh card has no entry for it yet, and systemd-boot
 * would take the newest), then the installation, then `tryOnce` and the restart.
 */
import { type BootChoice, readChoice, withChoice } from "./boot_variables.ts";
import { formatStore, parseStore, type Variable } from "./variable_store.ts";

/** The ESP, as far as it is needed here; every change is on the disk when its promise is fulfilled. */
export interface BootPartition {
  /** Names of the files in a folder; none when there is no such folder. */
  list(folder: string): Promise<readonly string[]>;
  read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  write(path: string, content: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Replaces what has the new name. */
  rename(from: string, to: string): Promise<void>;
}

export interface BootState {
  /** Started unless something else is said: the version that was found healthy last. */
  readonly good: string | undefined;
  /** What the next start will try once. */
  readonly next: string | undefined;
  /** Installed, tried and not kept, or not yet tried. */
  readonly unproven: readonly string[];
  /** Whether the running version is not the one that is known to be good. */
  readonly onTrial: boolean;
}

export class BootChoiceError extends Error {
  override readonly name = "BootChoiceError";
}

const storeName = "ubootefi.var";
const freshName = "ubootefi.new";
const imageFolder = "EFI/Linux";

const image = /^mulgaos_([^_+]+?)(?:\+(\d+)(?:-(\d+))?)?\.efi$/;
/** As boot assessment writes it: no attempt left, one made. systemd-boot takes any other first. */
const trialName = (version: string) => `mulgaos_${version}+0-1.efi`;
const provenName = (version: string) => `mulgaos_${version}.efi`;

const versionOf = (file: string | undefined) =>
  file === undefined ? undefined : image.exec(file)?.[1];

async function variables(partition: BootPartition): Promise<readonly Variable[]> {
  const bytes = await partition.read(storeName);
  // What U-Boot does not accept is nothing to it, and is replaced.
  return (bytes === undefined ? undefined : parseStore(bytes)) ?? [];
}

async function write(partition: BootPartition, choice: BootChoice): Promise<void> {
  const store = formatStore(withChoice(await variables(partition), choice));
  await partition.write(freshName, store);
  await partition.rename(freshName, storeName);
}

/** The file of a version; the proven name wins should a cut rename have left two. */
function fileOf(files: readonly string[], version: string): string | undefined {
  const found = files.filter((file) => versionOf(file) === version);
  return found.find((file) => file === provenName(version)) ?? found[0];
}

function required(files: readonly string[], version: string): string {
  const file = fileOf(files, version);
  if (file === undefined) {
    throw new BootChoiceError(
      `The boot partition has no kernel image of version ${version}: install that version first.`,
    );
  }
  return file;
}

export async function readBootState(
  partition: BootPartition,
  running: string,
): Promise<BootState> {
  const { order, next } = readChoice(await variables(partition));
  const files = await partition.list(imageFolder);
  const good = versionOf(order.find((file) => files.includes(file)));
  return {
    good,
    next: versionOf(next),
    unproven: [
      ...new Set(files.flatMap((file) => {
        const version = versionOf(file);
        return version !== undefined && file !== provenName(version) ? [version] : [];
      })),
    ],
    onTrial: good !== undefined && good !== running,
  };
}

/**
 * Lets the next start try `version` once, and the one after that start the running version again.
 * @throws BootChoiceError when one of them has no kernel image on the boot partition
 */
export async function tryOnce(
  partition: BootPartition,
  versions: { readonly version: string; readonly running: string },
): Promise<void> {
  const { version, running } = versions;
  if (version === running) {
    throw new BootChoiceError(`Version ${version} is running already: there is nothing to try.`);
  }
  const files = await partition.list(imageFolder);
  const proven = required(files, running);
  const found = required(files, version);
  const trial = trialName(version);
  if (found !== trial) await partition.rename(`${imageFolder}/${found}`, `${imageFolder}/${trial}`);
  const { order } = readChoice(await variables(partition));
  const others = order.filter((file) => files.includes(file) && versionOf(file) !== version);
  await write(partition, { order: [proven, ...others], next: trial });
}

/** Takes back `tryOnce` before the restart. */
export async function forgetTrial(partition: BootPartition): Promise<void> {
  const { order, next } = readChoice(await variables(partition));
  if (next !== undefined) await write(partition, { order });
}

/**
 * The running version is healthy: it is started from now on. Writes nothing when that is so already,
 * so that it may be called at every start.
 * @returns whether something was changed
 */
export async function keep(partition: BootPartition, running: string): Promise<boolean> {
  const files = await partition.list(imageFolder);
  const found = required(files, running);
  const proven = provenName(running);
  const { order, next } = readChoice(await variables(partition));
  if (found === proven && order[0] === proven && next === undefined) return false;
  if (order[0] !== proven || next !== undefined) {
    const others = order.filter((file) => files.includes(file));
    // Both names, so that the rename below may be cut at any point.
    await write(partition, { order: [proven, found, ...others] });
  }
  if (found !== proven) {
    await partition.rename(`${imageFolder}/${found}`, `${imageFolder}/${proven}`);
  }
  return true;
}
