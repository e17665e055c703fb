/**
 * Which disk an installation goes to: by a rule, never by chance, and never over data or the system that
 * runs. What is on a disk is asked of the disk itself (signatures, partition tables, users of it), not of
 * what somebody remembers.
 */
import { basename } from "node:path";
import { CommandError } from "../../terminal/command.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import { type BlockDevice, listBlockDevices } from "../disk/block_devices.ts";

/** As a seed says it (`install.target`). */
export interface DiskRule {
  /** Name below /dev/disk/by-id; `*` and `?` match several. */
  readonly id?: string;
  readonly bus?: "nvme" | "sata" | "scsi" | "usb" | "mmc" | "virtio";
  readonly min_gib?: number;
  readonly max_gib?: number;
  /** When several fit; `only` refuses to choose. */
  readonly pick?: "only" | "smallest" | "largest";
  /** On the command line: the device itself. */
  readonly path?: string;
}

export interface Candidate {
  readonly path: string;
  readonly size_bytes: number;
  readonly bus: string | undefined;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  readonly ids: readonly string[];
  /** What makes it a disk with data; empty for an empty one. */
  readonly data: readonly string[];
  /** Why it cannot be written at all, whatever is said. */
  readonly unusable: string | undefined;
}

const gib = 2 ** 30;

async function said(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new CommandError(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`);
}

/** Signatures of file systems and tables as they stand on the device now. */
async function signatures(path: string): Promise<string[]> {
  const text = await said("wipefs", "--no-act", "--json", path);
  if (text.trim() === "") return [];
  const { signatures } = JSON.parse(text) as { signatures: { type: string }[] };
  return [...new Set(signatures.map((one) => one.type))];
}

const readable_bytes = 1 << 20;

/** Why a device's beginning cannot be read: `wipefs` finds nothing on such a disk and calls that empty. */
async function whyUnreadable(path: string): Promise<string | undefined> {
  try {
    using file = await Deno.open(path);
    const buffer = new Uint8Array(64 * 1024);
    for (let read = 0; read < readable_bytes;) {
      const got = await file.read(buffer);
      if (got === null) break;
      read += got;
    }
    return undefined;
  } catch (error) {
    return `it cannot be read (${error instanceof Error ? error.message : error})`;
  }
}

function inUse(device: BlockDevice): string | undefined {
  const all = (one: BlockDevice): BlockDevice[] => [one, ...one.children.flatMap(all)];
  for (const one of all(device)) {
    const mount = one.mounts[0];
    if (mount !== undefined) return `${one.path} is in use (${mount})`;
    if (!["disk", "loop", "part"].includes(one.type)) return `${one.path} is in use (${one.type})`;
  }
  return undefined;
}

/** Names below /dev/disk/by-id of each device. */
async function idsByDevice(): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  try {
    for await (const { name } of Deno.readDir("/dev/disk/by-id")) {
      const path = await Deno.realPath(`/dev/disk/by-id/${name}`).catch(() => "");
      found.set(path, [...found.get(path) ?? [], name]);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}

async function candidateOf(
  device: BlockDevice,
  running: string | undefined,
  needed_bytes: number,
  ids: readonly string[],
): Promise<Candidate> {
  const unreadable = await whyUnreadable(device.path);
  const unusable = device.path === running
    ? "the running system is on it"
    : device.read_only
    ? "it is read-only"
    : inUse(device) ?? unreadable ??
      (device.size_bytes < needed_bytes
        ? `it has ${sizeText(device.size_bytes)} and ${sizeText(needed_bytes)} are needed`
        : undefined);
  const data = device.size_bytes === 0 || unreadable !== undefined
    ? []
    : await signatures(device.path);
  return {
    path: device.path,
    size_bytes: device.size_bytes,
    bus: device.transport,
    model: device.model,
    serial: device.serial,
    ids,
    data: [
      ...data,
      ...device.children.map((child) =>
        `${basename(child.path)}${
          child.partition_name ?? child.label ? ` "${child.partition_name ?? child.label}"` : ""
        }`
      ),
    ],
    unusable,
  };
}

/** All whole disks of the machine, or those that are named. */
export async function installCandidates(
  running: string | undefined,
  needed_bytes: number,
  only: readonly string[] = [],
): Promise<Candidate[]> {
  const ids = await idsByDevice();
  const devices = (await listBlockDevices(...only)).filter((device) =>
    device.type === "disk" || (device.type === "loop" && only.includes(device.path))
  ).filter((device) => device.size_bytes > 0 && !/^\/dev\/(zram|ram|fd|nbd)/.test(device.path));
  const found: Candidate[] = [];
  for (const device of devices) {
    found.push(await candidateOf(device, running, needed_bytes, ids.get(device.path) ?? []));
  }
  return found;
}

function globbed(pattern: string): RegExp {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}

function fits(rule: DiskRule, one: Candidate): boolean {
  if (rule.path !== undefined && rule.path !== one.path) return false;
  if (rule.bus !== undefined && rule.bus !== one.bus) return false;
  if (rule.min_gib !== undefined && one.size_bytes < rule.min_gib * gib) return false;
  if (rule.max_gib !== undefined && one.size_bytes > rule.max_gib * gib) return false;
  const pattern = rule.id === undefined ? undefined : globbed(rule.id);
  return pattern === undefined || one.ids.some((id) => pattern.test(id));
}

const listed = (disks: readonly Candidate[]) =>
  disks.map((one) =>
    `${one.path} (${sizeText(one.size_bytes)}${one.model === undefined ? "" : `, ${one.model}`})`
  ).join(", ");

/**
 * The one disk that the rule means.
 * @throws CommandError naming what there is, when there is none, more than one, or data on it
 */
export function chooseDisk(
  rule: DiskRule,
  candidates: readonly Candidate[],
  overwrite: boolean,
): Candidate {
  const matching = candidates.filter((one) => fits(rule, one));
  const usable = matching.filter((one) => one.unusable === undefined);
  if (usable.length === 0) {
    const reasons = matching.map((one) => `${one.path}: ${one.unusable}`).join("; ");
    throw new CommandError(
      matching.length > 0
        ? `No disk can be installed to. ${reasons}.`
        : `No disk fits the rule. There is ${listed(candidates) || "none at all"}.`,
    );
  }
  // The first by size and then by name, so that the same machine always answers the same.
  const ordered = usable.toSorted((a, b) =>
    a.size_bytes - b.size_bytes || (a.path < b.path ? -1 : 1)
  );
  const pick = rule.pick ?? "only";
  if (pick === "only" && ordered.length > 1) {
    throw new CommandError(
      `${ordered.length} disks fit the rule: ${
        listed(ordered)
      }. Say which: by its id, its size, or ` +
        `"smallest" or "largest".`,
    );
  }
  const chosen = pick === "largest" ? ordered.at(-1) : ordered[0];
  if (chosen === undefined) throw new CommandError("No disk fits the rule.");
  if (chosen.data.length > 0 && !overwrite) {
    throw new CommandError(
      `${chosen.path} (${sizeText(chosen.size_bytes)}) is not empty: ${
        chosen.data.join(", ")
      }. Nothing ` +
        `was written. To erase it, say --erase, or "overwrite: true" in the seed.`,
    );
  }
  return chosen;
}

const buses: readonly string[] = ["nvme", "sata", "scsi", "usb", "mmc", "virtio"];

/**
 * A rule as typed: a device, `smallest`, `largest`, or `bus=nvme,min_gib=100,pick=largest`.
 * @throws CommandError
 */
export function parseDiskRule(text: string): DiskRule {
  if (text.startsWith("/dev/")) return { path: text };
  if (text === "smallest" || text === "largest" || text === "only") return { pick: text };
  const rule: Record<string, string | number> = {};
  for (const part of text.split(",")) {
    const [, name, value] = /^(id|bus|min_gib|max_gib|pick)=(.+)$/.exec(part.trim()) ?? [];
    const good = name !== undefined && value !== undefined &&
      (name !== "bus" || buses.includes(value)) &&
      (name !== "pick" || ["only", "smallest", "largest"].includes(value)) &&
      (!name.endsWith("_gib") || /^\d{1,7}$/.test(value));
    if (!good) {
      throw new CommandError(
        `"${part}" is no rule for a disk. A rule is a device, smallest, largest, or such as ` +
          `bus=nvme,min_gib=100,id=nvme-*,pick=largest (buses: ${buses.join(", ")}).`,
        2,
      );
    }
    rule[name] = name.endsWith("_gib") ? Number(value) : value;
  }
  return rule as DiskRule;
}
