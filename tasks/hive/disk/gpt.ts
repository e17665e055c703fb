/**
 * GUID partition tables, read and relabelled without any program: on disks, loop devices and image
 * files alike.
 *
 * Both headers and the table are checked by their CRC-32; a damaged primary falls back to the copy at
 * the end of the disk. A relabelling writes the copy first, then the primary, so that a power cut
 * leaves one sound table. Everything here is in bytes; sectors appear only where the table says them.
 */
import { crc32 } from "node:zlib";

export interface Partition {
  /** Counted from 1, as the kernel does. */
  readonly number: number;
  /** GUIDs are lower case. */
  readonly type: string;
  readonly uuid: string;
  readonly name: string;
  readonly start_bytes: number;
  readonly size_bytes: number;
  /** Flags as the table has them, for example bit 60: read-only. */
  readonly attributes: bigint;
}

export interface PartitionTable {
  readonly disk_uuid: string;
  readonly sector_bytes: number;
  readonly partitions: readonly Partition[];
}

/** Types that the appliance's disks have (discoverable partitions specification). */
export const partitionTypes = {
  esp: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
  "root-x86-64": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
  "root-x86-64-verity": "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
  "root-arm64": "b921b045-1df0-41c3-af44-4c6f280d3fae",
  "root-arm64-verity": "df3300ce-d69f-4c92-978c-9bfb0f38d820",
  var: "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
} as const;

/** There is no sound table; the message says of which disk. */
export class NoPartitionTable extends Error {
  override readonly name = "NoPartitionTable";
}

const magic = "EFI PART";
const header_bytes = 92;
const unused = "00000000-0000-0000-0000-000000000000";

interface Header {
  readonly sector_bytes: number;
  /** Where the header stands. */
  readonly at_bytes: number;
  readonly header: Uint8Array<ArrayBuffer>;
  readonly entries_at_bytes: number;
  readonly entry_bytes: number;
  readonly entries: Uint8Array<ArrayBuffer>;
  /** The other header's place, in sectors. */
  readonly other_sector: number;
}

const view = (bytes: Uint8Array<ArrayBuffer>) => new DataView(bytes.buffer, bytes.byteOffset);

/** The mixed-endian GUID of the table's format. */
function guid(bytes: Uint8Array): string {
  const hex = bytes.toHex();
  const pair = (from: number, count: number) =>
    (hex.slice(from * 2, (from + count) * 2).match(/../g) ?? []).reverse().join("");
  return `${pair(0, 4)}-${pair(4, 2)}-${pair(6, 2)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

async function readAt(
  file: Deno.FsFile,
  at: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  await file.seek(at, Deno.SeekMode.Start);
  let filled = 0;
  while (filled < length) {
    const got = await file.read(bytes.subarray(filled));
    if (got === null) break;
    filled += got;
  }
  return bytes.subarray(0, filled);
}

async function writeAt(file: Deno.FsFile, at: number, bytes: Uint8Array): Promise<void> {
  await file.seek(at, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}

async function headerAt(
  file: Deno.FsFile,
  sector_bytes: number,
  at_bytes: number,
): Promise<Header | undefined> {
  const header = await readAt(file, at_bytes, sector_bytes);
  if (header.length < header_bytes) return undefined;
  if (new TextDecoder().decode(header.subarray(0, 8)) !== magic) return undefined;
  const fields = view(header);
  const size = fields.getUint32(12, true);
  if (size < header_bytes || size > sector_bytes) return undefined;
  if (headerSum(header, size) !== fields.getUint32(16, true)) return undefined;
  const entry_bytes = fields.getUint32(84, true);
  const count = fields.getUint32(80, true);
  if (entry_bytes < 128 || entry_bytes > 4096 || count < 1 || count > 1024) return undefined;
  const entries_at_bytes = Number(fields.getBigUint64(72, true)) * sector_bytes;
  const entries = await readAt(file, entries_at_bytes, count * entry_bytes);
  if (entries.length < count * entry_bytes || crc32(entries) !== fields.getUint32(88, true)) {
    return undefined;
  }
  const other_sector = Number(fields.getBigUint64(32, true));
  return { sector_bytes, at_bytes, header, entries_at_bytes, entry_bytes, entries, other_sector };
}

function headerSum(header: Uint8Array, size: number): number {
  const blank = header.slice(0, size);
  blank.fill(0, 16, 20);
  return crc32(blank);
}

/** The primary header, or the copy at the end when that is damaged. */
async function findHeader(file: Deno.FsFile): Promise<Header | undefined> {
  const size = await file.seek(0, Deno.SeekMode.End);
  for (const sector_bytes of [512, 4096]) {
    const primary = await headerAt(file, sector_bytes, sector_bytes);
    if (primary !== undefined) return primary;
  }
  for (const sector_bytes of [512, 4096]) {
    if (size < 3 * sector_bytes) continue;
    const end = Math.floor(size / sector_bytes) * sector_bytes - sector_bytes;
    const copy = await headerAt(file, sector_bytes, end);
    if (copy !== undefined) return copy;
  }
  return undefined;
}

function partitionsOf(found: Header): Partition[] {
  const partitions: Partition[] = [];
  for (let at = 0; at < found.entries.length; at += found.entry_bytes) {
    const entry = found.entries.subarray(at, at + found.entry_bytes);
    const type = guid(entry.subarray(0, 16));
    if (type === unused) continue;
    const first = Number(view(entry).getBigUint64(32, true));
    const last = Number(view(entry).getBigUint64(40, true));
    partitions.push({
      number: at / found.entry_bytes + 1,
      type,
      uuid: guid(entry.subarray(16, 32)),
      name: new TextDecoder("utf-16le").decode(entry.subarray(56, 128)).replace(/\0.*$/s, ""),
      start_bytes: first * found.sector_bytes,
      size_bytes: (last - first + 1) * found.sector_bytes,
      attributes: view(entry).getBigUint64(48, true),
    });
  }
  return partitions;
}

/** @throws NoPartitionTable when neither header is sound */
export async function readPartitionTable(path: string): Promise<PartitionTable> {
  using file = await Deno.open(path);
  const found = await findHeader(file);
  if (found === undefined) {
    throw new NoPartitionTable(`${path} has no sound GUID partition table.`);
  }
  return {
    disk_uuid: guid(found.header.subarray(56, 72)),
    sector_bytes: found.sector_bytes,
    partitions: partitionsOf(found),
  };
}

/**
 * Gives a partition another name. The kernel hears of it at the next reading of the table; programs
 * that read the disk itself (systemd-sysupdate does) see it at once.
 */
export async function renamePartition(path: string, number: number, name: string): Promise<void> {
  if (name.length > 36) throw new RangeError(`"${name}" is too long for a partition`);
  using file = await Deno.open(path, { read: true, write: true });
  const found = await findHeader(file);
  if (found === undefined) {
    throw new NoPartitionTable(`${path} has no sound GUID partition table.`);
  }
  const other = await headerAt(file, found.sector_bytes, found.other_sector * found.sector_bytes);
  const both = other === undefined ? [found] : [found, other];
  // The copy at the end first: its header's own place is the greater one.
  for (const one of both.sort((a, b) => b.at_bytes - a.at_bytes)) {
    const at = (number - 1) * one.entry_bytes;
    if (at + one.entry_bytes > one.entries.length) {
      throw new RangeError(`${path} has no partition ${number}`);
    }
    const field = new Uint8Array(72);
    for (let letter = 0; letter < name.length; letter++) {
      view(field).setUint16(letter * 2, name.charCodeAt(letter), true);
    }
    one.entries.set(field, at + 56);
    view(one.header).setUint32(88, crc32(one.entries), true);
    const size = view(one.header).getUint32(12, true);
    view(one.header).setUint32(16, headerSum(one.header, size), true);
    await writeAt(file, one.entries_at_bytes, one.entries);
    await writeAt(file, one.at_bytes, one.header);
    await file.sync();
  }
}

function guidBytes(text: string): Uint8Array<ArrayBuffer> {
  const hex = text.replaceAll("-", "");
  const bytes = Uint8Array.fromHex(hex);
  const flip = (from: number, to: number) => bytes.subarray(from, to).reverse();
  flip(0, 4);
  flip(4, 6);
  flip(6, 8);
  return bytes;
}

const entryCount = 128;
const entrySize = 128;

/**
 * Writes a new table over whatever stood there: the copy at the end, then the primary, so that a disk
 * has a table only when everything else of it was written before.
 */
export async function writePartitionTable(path: string, table: PartitionTable): Promise<void> {
  using file = await Deno.open(path, { read: true, write: true });
  const sector = table.sector_bytes;
  const sectors = Math.floor(await file.seek(0, Deno.SeekMode.End) / sector);
  const tableSectors = Math.ceil(entryCount * entrySize / sector);
  const first = 2 + tableSectors;
  const last = sectors - 2 - tableSectors;
  const entries = new Uint8Array(tableSectors * sector);
  for (const one of table.partitions) {
    const start = one.start_bytes / sector;
    const end = (one.start_bytes + one.size_bytes) / sector - 1;
    if (!Number.isInteger(start) || !Number.isInteger(end) || start < first || end > last) {
      throw new RangeError(`partition ${one.number} does not fit on ${path}`);
    }
    const entry = entries.subarray((one.number - 1) * entrySize, one.number * entrySize);
    entry.set(guidBytes(one.type), 0);
    entry.set(guidBytes(one.uuid), 16);
    const fields = view(entry);
    fields.setBigUint64(32, BigInt(start), true);
    fields.setBigUint64(40, BigInt(end), true);
    fields.setBigUint64(48, one.attributes, true);
    for (let letter = 0; letter < one.name.length; letter++) {
      fields.setUint16(56 + letter * 2, one.name.charCodeAt(letter), true);
    }
  }
  const header = (own: number, other: number, entriesAt: number) => {
    const block = new Uint8Array(sector);
    const fields = view(block);
    block.set(new TextEncoder().encode(magic));
    fields.setUint32(8, 0x10000, true);
    fields.setUint32(12, header_bytes, true);
    fields.setBigUint64(24, BigInt(own), true);
    fields.setBigUint64(32, BigInt(other), true);
    fields.setBigUint64(40, BigInt(first), true);
    fields.setBigUint64(48, BigInt(last), true);
    block.set(guidBytes(table.disk_uuid), 56);
    fields.setBigUint64(72, BigInt(entriesAt), true);
    fields.setUint32(80, entryCount, true);
    fields.setUint32(84, entrySize, true);
    fields.setUint32(88, crc32(entries.subarray(0, entryCount * entrySize)), true);
    fields.setUint32(16, headerSum(block, header_bytes), true);
    return block;
  };
  await writeAt(file, (sectors - 1 - tableSectors) * sector, entries);
  await writeAt(file, (sectors - 1) * sector, header(sectors - 1, 1, sectors - 1 - tableSectors));
  await file.sync();
  await writeAt(file, 2 * sector, entries);
  await writeAt(file, sector, header(1, sectors - 1, 2));
  // For programs that know no such tables: one partition over everything.
  const protective = new Uint8Array(sector);
  protective.set([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00, 0x00], 446);
  view(protective).setUint32(458, Math.min(sectors - 1, 0xffff_ffff), true);
  protective.set([0x55, 0xaa], 510);
  await writeAt(file, 0, protective);
  await file.sync();
}
