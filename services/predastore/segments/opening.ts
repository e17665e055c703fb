/**
 * Which directory has which number as the store starts: its own where it tells, a new one where it is empty, and one that is
 * given again and again where it does not tell.
 */
import { errorFields, type Log } from "../../log/log.ts";
import type { Disk } from "../disk/disk.ts";
import { callsAtOnce, LimitedDisk } from "../disk/limited_disk.ts";
import type { Code } from "../extents/code.ts";
import type { ObjectIndex } from "../index/object_index.ts";
import { BlobDirectory } from "./blob_directory.ts";
import { type FirstLook, StoreMismatch } from "./first_look.ts";

export interface DirectoriesOptions {
  readonly disk: Disk;
  /** One for each, in the order of the configuration. */
  readonly looks: readonly FirstLook[];
  /** The fingerprint of the key that seals here; none where nothing is sealed. */
  readonly mark?: string;
  /** What most bodies are coded with: space is told by it, and its k directories must be there. */
  readonly usual: Code;
  readonly reserve_bytes: number;
  readonly segment_bytes: number;
  /** How long a directory may take to answer before it counts as away. */
  readonly answer_ms: number;
  /** How many records are listed for a directory that is away. */
  readonly most_untold?: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}

const highestDirectory = 254;
/** Where the index has the number that a path was given and that stands on no disk. */
const unusedAt = (path: string) => `directory_unused ${path}`;

/** Inside a transaction: the number for what has come to a path. There are few: one that stands on no disk is given there again. */
export function numberFor(index: ObjectIndex, path: string): number | undefined {
  const unused = index.value(unusedAt(path));
  if (unused !== undefined) return Number(unused);
  const number = Number(index.value("next_directory") ?? 0);
  if (number > highestDirectory) return undefined;
  index.setValue("next_directory", String(number + 1));
  index.setValue(unusedAt(path), String(number));
  return number;
}

/** The number that was given to a path may stand on its disk. */
export function numberIsUsed(index: ObjectIndex, path: string): void {
  index.transaction(() => index.removeValue(unusedAt(path)));
}

/** What part of the time that a directory has to answer a read waits for its turn. */
const readPart = 0.1;

/** With calls to one directory that has no answer, those to the others go on. */
function limited({ disk, looks, usual, answer_ms }: DirectoriesOptions): Disk {
  const spare = looks.length - usual.k;
  // Where it alone has what is read, nobody else can be asked.
  const late_ms = usual.m > 0 ? readPart * answer_ms : answer_ms;
  return new LimitedDisk(disk, callsAtOnce(spare), late_ms);
}

export function blobDirectory(
  options: DirectoriesOptions,
  storeId: bigint,
  index: ObjectIndex,
  path: string,
  number: number,
): BlobDirectory {
  return new BlobDirectory({
    disk: limited(options),
    path,
    number,
    storeId,
    nextNumber: () => Number(index.value("next_directory") ?? 0),
    segmentBytes: options.segment_bytes,
    firstSegment: index.segments.unused(number),
    unsyncedFrom: index.segments.position(number)?.segment ?? 0,
    answer_ms: options.answer_ms,
    now: options.now,
    onOffline: (reason) =>
      options.log.error("blob_directory_offline", { path, ...errorFields(reason) }),
  });
}

/** One for each path, those that cannot be used offline. @throws StoreMismatch */
export async function openAll(
  options: DirectoriesOptions,
  storeId: bigint,
  index: ObjectIndex,
): Promise<readonly BlobDirectory[]> {
  const { looks } = options;
  let next = Number(index.value("next_directory") ?? 0);
  for (const { identity } of looks) next = Math.max(next, identity?.next ?? 0);
  // There are few numbers: one that no directory could be named with is given again.
  const unused = looks.map(({ path }) => index.value(unusedAt(path)));
  const numbers = looks.map(({ identity }, at) =>
    identity?.directory ?? Number(unused[at] ?? next++)
  );
  index.transaction(() => {
    index.setValue("next_directory", String(next));
    for (const { path } of looks) index.removeValue(unusedAt(path));
  });
  const all: BlobDirectory[] = [];
  for (const [at, { path }] of looks.entries()) {
    const number = numbers[at] ?? highestDirectory + 1;
    if (number > highestDirectory) {
      throw new RangeError("too many blob directories came and went");
    }
    if (all.some((other) => other.number === number)) {
      throw new StoreMismatch(
        `${path} is a copy of another blob directory. Mend "storage.blobs".`,
      );
    }
    all.push(blobDirectory(options, storeId, index, path, number));
  }
  await Promise.all(all.map(async (directory, at) => {
    try {
      if (looks[at]?.unreadable !== undefined) throw looks[at].unreadable;
      await directory.prepare();
    } catch (error) {
      directory.goOffline(error);
    }
  }));
  index.transaction(() => {
    for (const [at, { path, number, mayBeNamed }] of all.entries()) {
      if (looks[at]?.identity === undefined && !mayBeNamed) {
        index.setValue(unusedAt(path), String(number));
      }
    }
  });
  return all;
}
