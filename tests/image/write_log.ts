/**
 * Every write that a machine made to its disk, in order, as QEMU's `blklogwrites` keeps them (the form of
 * Linux's dm-log-writes), and the disk as a power cut at any of those writes may leave it: what the
 * machine had flushed is there; of what came after, each write may have reached the disk or not, and the
 * last one may be torn between two sectors. That is more than a killed QEMU shows, whose host keeps all
 * that was written, flushed or not.
 *
 * A log is read once its machine is off.
 */
import type { Random } from "../kit/random.ts";

const sector = 512;
const magic = 0x6a_7366_7773_6872n;
const flushFlag = 1;
const discardFlag = 4;

/** How large the sparse file may become into which QEMU writes: it does not grow by itself. */
const room = 2 ** 36;

interface Entry {
  /** Where on the disk, in bytes. */
  readonly offset: number;
  /** 0 for a flush alone. */
  readonly bytes: number;
  readonly flush: boolean;
  /** Where in the log its data begins. A discard has none: it promises nothing about what is read then. */
  readonly data: number | undefined;
}

/** A moment in a log: so many of its entries had been made. */
export type Moment = number;

/** Makes the file that a machine's `writeLog` names. */
export async function makeWriteLog(path: string): Promise<void> {
  using file = await Deno.open(path, { createNew: true, write: true });
  await file.truncate(room);
}

async function readAt(file: Deno.FsFile, at: number, buffer: Uint8Array): Promise<void> {
  await file.seek(at, Deno.SeekMode.Start);
  for (let got = 0; got < buffer.length;) {
    const read = await file.read(buffer.subarray(got));
    if (read === null) throw new Error(`The log ends within ${at} and ${at + buffer.length}.`);
    got += read;
  }
}

/** @param bytes whole sectors */
function isZero(bytes: Uint8Array): boolean {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  // A loop: gigabytes go through it.
  for (let at = 0; at < words.length; at++) if (words[at] !== 0) return false;
  return true;
}

/** How many entries a log says that it has; right after a flush, all that came before. */
export async function entriesOf(path: string): Promise<Moment> {
  using file = await Deno.open(path);
  const head = new Uint8Array(sector);
  await readAt(file, 0, head);
  const view = new DataView(head.buffer);
  if (view.getBigUint64(0, true) !== magic || view.getUint32(24, true) !== sector) {
    throw new Error(`${path} is no log of writes.`);
  }
  return Number(view.getBigUint64(16, true));
}

export class WriteLog {
  private constructor(readonly path: string, readonly entries: readonly Entry[]) {}

  static async open(path: string): Promise<WriteLog> {
    const count = await entriesOf(path);
    using file = await Deno.open(path);
    const entries: Entry[] = [];
    const head = new Uint8Array(32);
    const view = new DataView(head.buffer);
    let at = sector;
    for (let number = 0; number < count; number++) {
      await readAt(file, at, head);
      const flags = Number(view.getBigUint64(16, true));
      const bytes = Number(view.getBigUint64(8, true)) * sector;
      const discard = (flags & discardFlag) !== 0;
      entries.push({
        offset: Number(view.getBigUint64(0, true)) * sector,
        bytes,
        flush: (flags & flushFlag) !== 0,
        data: discard ? undefined : at + sector,
      });
      at += sector + (discard ? 0 : bytes);
    }
    return new WriteLog(path, entries);
  }

  /** Bytes written between two moments. */
  bytes(from: Moment, to: Moment): number {
    return this.entries.slice(from, to)
      .reduce((sum, { data, bytes }) => sum + (data === undefined ? 0 : bytes), 0);
  }

  /**
   * A random moment. Half of the time each write is as likely as any other; else each stretch between two
   * flushes is, so that the short ones, by which states change, do not drown in bulk data.
   */
  moment(random: Random, from: Moment = 0, to: Moment = this.entries.length): Moment {
    if (random.next() < 0.5) return from + 1 + random.below(to - from);
    const flushes = [from];
    for (let at = from; at < to; at++) if (this.entries[at]?.flush) flushes.push(at + 1);
    const which = random.below(flushes.length);
    const [begin, end] = [flushes[which] ?? from, flushes[which + 1] ?? to];
    return Math.min(to, begin + 1 + random.below(Math.max(1, end - begin)));
  }

  /**
   * Turns `disk`, a raw file as it was before the log began, into what it may be when the power fails at
   * `moment`. @returns what became of the writes after the last flush, for a message
   */
  async cut(disk: string, moment: Moment, random: Random): Promise<string> {
    using log = await Deno.open(this.path);
    using target = await Deno.open(disk, { read: true, write: true });
    const apply = async ({ offset, data }: Entry, from: number, to: number) => {
      if (data === undefined) return;
      const buffer = new Uint8Array(Math.min(1 << 20, to - from));
      for (let at = from; at < to; at += buffer.length) {
        const part = buffer.subarray(0, Math.min(buffer.length, to - at));
        await readAt(log, data + at, part);
        // Zeroes by the gigabyte, where file systems are made: what is a hole already stays one.
        if (isZero(part)) {
          const there = new Uint8Array(part.length);
          await readAt(target, offset + at, there);
          if (isZero(there)) continue;
        }
        await target.seek(offset + at, Deno.SeekMode.Start);
        for (let put = 0; put < part.length;) put += await target.write(part.subarray(put));
      }
    };
    let flushed = 0;
    for (let at = 0; at < moment; at++) if (this.entries[at]?.flush) flushed = at + 1;
    for (const entry of this.entries.slice(0, flushed)) await apply(entry, 0, entry.bytes);
    // Of what a disk's cache holds, all, nothing or any part may have been written when it goes dark.
    const likely = random.pick([0, 0.2, 0.5, 0.8, 1]);
    const after = this.entries.slice(flushed, moment);
    let kept = 0;
    for (const [at, entry] of after.entries()) {
      const last = at === after.length - 1;
      if (!last && random.next() >= likely) continue;
      kept++;
      const sectors = entry.bytes / sector;
      await apply(entry, 0, (last ? random.below(sectors + 1) : sectors) * sector);
    }
    return `${kept} of ${after.length} writes that were not flushed`;
  }
}
