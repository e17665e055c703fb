/** The machine's block devices as lsblk knows them, and which whole disk a directory is on. */
import { join } from "node:path";
import { CommandError } from "../../terminal/command.ts";

export interface BlockDevice {
  /** `/dev/sda` */
  readonly path: string;
  /** `disk`, `part`, `loop`, `rom`, `crypt` … */
  readonly type: string;
  readonly size_bytes: number;
  /** `usb`, `sata`, `nvme`, `mmc`, `virtio` … */
  readonly transport: string | undefined;
  readonly removable: boolean;
  readonly read_only: boolean;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  readonly wwn: string | undefined;
  readonly file_system: string | undefined;
  /** Type of its partition table. */
  readonly table: string | undefined;
  readonly label: string | undefined;
  readonly partition_name: string | undefined;
  readonly partition_uuid: string | undefined;
  readonly mounts: readonly string[];
  readonly children: readonly BlockDevice[];
}

const columns = [
  "PATH",
  "TYPE",
  "SIZE",
  "TRAN",
  "RM",
  "RO",
  "MODEL",
  "SERIAL",
  "WWN",
  "FSTYPE",
  "PTTYPE",
  "LABEL",
  "PARTLABEL",
  "PARTUUID",
  "MOUNTPOINTS",
];

type Raw = Record<string, unknown> & { readonly children?: readonly Raw[] };

function fromRaw(raw: Raw): BlockDevice {
  const text = (name: string): string | undefined => {
    const value = raw[name];
    const trimmed = typeof value === "string" ? value.trim() : "";
    return trimmed === "" ? undefined : trimmed;
  };
  const path = text("path") ?? "";
  const mounts = Array.isArray(raw["mountpoints"]) ? raw["mountpoints"] : [];
  return {
    path,
    type: text("type") ?? "",
    size_bytes: Number(raw["size"] ?? 0),
    // SD and eMMC have no transport of their own in lsblk.
    transport: text("tran") ??
      (/^\/dev\/mmcblk/.test(path) ? "mmc" : /^\/dev\/vd/.test(path) ? "virtio" : undefined),
    removable: raw["rm"] === true || raw["rm"] === "1",
    read_only: raw["ro"] === true || raw["ro"] === "1",
    model: text("model"),
    serial: text("serial"),
    wwn: text("wwn"),
    file_system: text("fstype"),
    table: text("pttype"),
    label: text("label"),
    partition_name: text("partlabel"),
    partition_uuid: text("partuuid"),
    mounts: mounts.filter((one): one is string => typeof one === "string"),
    children: (raw.children ?? []).map(fromRaw),
  };
}

/** What `lsblk --json --bytes` said. @throws CommandError when that is nothing we know */
export function parseLsblk(text: string): BlockDevice[] {
  try {
    const { blockdevices } = JSON.parse(text) as { blockdevices: Raw[] };
    return blockdevices.map(fromRaw);
  } catch (cause) {
    throw new CommandError("lsblk did not list the disks in a way that can be read.", 1, { cause });
  }
}

/** @param devices only these; all when none is named */
export async function listBlockDevices(...devices: string[]): Promise<BlockDevice[]> {
  const { success, stdout, stderr } = await new Deno.Command("lsblk", {
    args: ["--json", "--bytes", "--output", columns.join(","), ...devices],
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new CommandError(`lsblk failed: ${decode(stderr).trim()}`);
  // Without a single device lsblk says nothing at all.
  return stdout.length === 0 ? [] : parseLsblk(decode(stdout));
}

/**
 * The whole disk that holds a directory's file system, through verity, encryption and partitions.
 * @returns undefined when it is on no disk (tmpfs, overlay, network)
 */
export async function diskOf(directory: string, sys = "/sys"): Promise<string | undefined> {
  const { dev } = await Deno.stat(directory);
  // As Linux packs them; see makedev(3).
  const major = Number((BigInt(dev) >> 8n) & 0xfffn);
  const minor = Number((BigInt(dev) & 0xffn) | ((BigInt(dev) >> 12n) & 0xfff00n));
  return await wholeDisk(join(sys, "dev/block", `${major}:${minor}`));
}

async function wholeDisk(node: string): Promise<string | undefined> {
  let real: string;
  try {
    real = await Deno.realPath(node);
  } catch {
    return undefined;
  }
  for await (const below of entries(join(real, "slaves"))) {
    return await wholeDisk(join(real, "slaves", below));
  }
  const isPartition = await Deno.stat(join(real, "partition")).then(() => true, () => false);
  const parts = real.split("/");
  const name = isPartition ? parts.at(-2) : parts.at(-1);
  return name === undefined ? undefined : `/dev/${name.replaceAll("!", "/")}`;
}

async function* entries(directory: string): AsyncGenerator<string> {
  try {
    for await (const entry of Deno.readDir(directory)) yield entry.name;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
