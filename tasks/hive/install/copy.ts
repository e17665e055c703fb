/**
 * Copies the running system to another disk: the boot partition and the running slot, block by block,
 * read back, and the partition table at the very last. Until that is written the disk has no table,
 * so a machine whose power is cut does not start from half a system. The second slot and the data
 * partition are made at the first start, by the image's own definitions.
 *
 * The new disk and its boot partition get ids of their own; the slot keeps its ids, since the kernel image
 * finds the root by them. While the stick is in the machine too, the boot partition's id tells which of the
 * two the firmware started from (`mulga-loader-disk.service` of the initrd).
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { CommandError } from "../../terminal/command.ts";
import { bytes as sizeText } from "../../terminal/table.ts";
import {
  type Partition,
  type PartitionTable,
  readPartitionTable,
  writePartitionTable,
} from "../disk/gpt.ts";

const block_bytes = 4 << 20;
const align_bytes = 1 << 20;
/** The smallest data partition of the image's definitions. */
const data_bytes = 2 * 2 ** 30;

export interface InstallSource {
  readonly disk: string;
  readonly version: string;
  /** In the order in which they lie: boot partition, verity tree, root. */
  readonly partitions: readonly Partition[];
  /** What a disk must have at least: both slots, boot partition and data. */
  readonly needed_bytes: number;
}

/** What of a disk is copied. @throws CommandError when it is not a disk of the appliance */
export async function installSource(
  disk: string,
  version: string,
  minimumData_bytes = data_bytes,
): Promise<InstallSource> {
  const { partitions } = await readPartitionTable(disk);
  const names = ["esp", `mulgaos_${version}_verity`, `mulgaos_${version}`];
  const wanted = names.map((name) => partitions.find((one) => one.name === name));
  const found = wanted.filter((one) => one !== undefined);
  if (found.length !== names.length) {
    const missing = names.filter((_, at) => wanted[at] === undefined);
    throw new CommandError(
      `${disk} has no partition ${missing.join(", ")}, so it cannot be copied.`,
    );
  }
  const copied = found.reduce((sum, one) => sum + one.size_bytes + align_bytes, 0);
  const slot = found.slice(1).reduce((sum, one) => sum + one.size_bytes, 0);
  return {
    disk,
    version,
    partitions: found.sort((a, b) => a.start_bytes - b.start_bytes),
    needed_bytes: copied + slot + minimumData_bytes + 2 * align_bytes,
  };
}

async function must(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  if (success) return;
  throw new CommandError(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`);
}

const isDevice = (path: string) => path.startsWith("/dev/");

/** What the kernel remembers of a device is written and forgotten: what is read next is the disk's own. */
async function forget(path: string): Promise<void> {
  if (isDevice(path)) await must("blockdev", "--flushbufs", path);
}

async function sectorBytes(path: string): Promise<number> {
  if (!isDevice(path)) return 512;
  const text = await Deno.readTextFile(
    `/sys/class/block/${basename(path)}/queue/logical_block_size`,
  );
  return Number(text);
}

export interface CopyOptions {
  readonly signal: AbortSignal;
  readonly progress: (what: string, share: number) => void;
  /** The new disk's id, which whoever keeps a record of installations has chosen. */
  readonly disk_uuid: string;
}

/** @throws CommandError; the target is then a disk without a table */
export async function copySystem(
  source: InstallSource,
  target: string,
  { signal, progress, disk_uuid }: CopyOptions,
): Promise<void> {
  if (await sectorBytes(target) !== 512) {
    throw new CommandError(
      `${target} has sectors of ${await sectorBytes(target)} bytes; the boot partition needs 512.`,
    );
  }
  await must("sync");
  await forget(source.disk);
  await must("wipefs", "--all", "--quiet", "--force", target);
  let at = align_bytes;
  const places = source.partitions.map((one, index): Partition => {
    const start_bytes = at;
    at = Math.ceil((at + one.size_bytes) / align_bytes) * align_bytes;
    const uuid = one.name === "esp" ? crypto.randomUUID() : one.uuid;
    return { ...one, number: index + 1, uuid, start_bytes };
  });
  const sums: string[] = [];
  for (const [index, from] of source.partitions.entries()) {
    const to = places[index] ?? from;
    sums.push(
      await copyRange(source.disk, from.start_bytes, target, to.start_bytes, from.size_bytes, {
        signal,
        progress: (share) => progress(`copying ${from.name}`, share),
      }),
    );
  }
  await forget(target);
  for (const [index, place] of places.entries()) {
    const sum = await sumRange(target, place.start_bytes, place.size_bytes, {
      signal,
      progress: (share) => progress(`checking ${place.name}`, share),
    });
    if (sum !== sums[index]) {
      throw new CommandError(
        `${target} gives back other bytes than were written to it (${place.name}): the disk is bad. It has ` +
          `no partition table now.`,
      );
    }
  }
  const table: PartitionTable = { disk_uuid, sector_bytes: 512, partitions: places };
  await writePartitionTable(target, table).catch((cause) => {
    throw notWritten(target, 0, cause);
  });
  await forget(target);
  // The kernel may be told; it hears of it at the next start in any case.
  if (isDevice(target)) {
    await new Deno.Command("blockdev", { args: ["--rereadpt", target], stderr: "null" }).output();
  }
}

interface RangeOptions {
  readonly signal: AbortSignal;
  readonly progress: (share: number) => void;
}

async function readFull(file: Deno.FsFile, into: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let filled = 0; filled < into.length;) {
    const got = await file.read(into.subarray(filled)).catch((cause) => {
      const why = cause instanceof Error ? cause.message : cause;
      throw new CommandError(`A disk cannot be read: ${why}. Try another, or another port.`, 1, {
        cause,
      });
    });
    if (got === null) throw new CommandError("A disk ended before its partition did.");
    filled += got;
  }
}

/** @returns SHA-256 of what was read */
async function copyRange(
  from: string,
  fromAt: number,
  to: string,
  toAt: number,
  length: number,
  { signal, progress }: RangeOptions,
): Promise<string> {
  using input = await Deno.open(from);
  using output = await Deno.open(to, { write: true });
  await input.seek(fromAt, Deno.SeekMode.Start);
  await output.seek(toAt, Deno.SeekMode.Start);
  const hash = createHash("sha256");
  const buffer = new Uint8Array(block_bytes);
  for (let done = 0; done < length;) {
    signal.throwIfAborted();
    const piece = buffer.subarray(0, Math.min(block_bytes, length - done));
    await readFull(input, piece);
    hash.update(piece);
    try {
      for (let at = 0; at < piece.length;) at += await output.write(piece.subarray(at));
    } catch (cause) {
      throw notWritten(to, toAt + done, cause);
    }
    progress((done += piece.length) / length);
  }
  // A disk's cache may have taken what the disk then does not.
  await output.sync().catch((cause) => {
    throw notWritten(to, toAt, cause);
  });
  return hash.digest("hex");
}

function notWritten(to: string, at_bytes: number, cause: unknown): CommandError {
  return new CommandError(
    `${to} cannot be written at ${sizeText(at_bytes)}: ${
      cause instanceof Error ? cause.message : cause
    }. The disk is bad, or it was pulled out; it has no partition table now.`,
    1,
    { cause },
  );
}

async function sumRange(
  path: string,
  at: number,
  length: number,
  { signal, progress }: RangeOptions,
): Promise<string> {
  using file = await Deno.open(path);
  await file.seek(at, Deno.SeekMode.Start);
  const hash = createHash("sha256");
  const buffer = new Uint8Array(block_bytes);
  for (let done = 0; done < length;) {
    signal.throwIfAborted();
    const piece = buffer.subarray(0, Math.min(block_bytes, length - done));
    await readFull(file, piece);
    hash.update(piece);
    progress((done += piece.length) / length);
  }
  return hash.digest("hex");
}
