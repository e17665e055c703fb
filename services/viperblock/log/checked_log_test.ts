/**
 * A check of a mounted volume's log, on real files that fail, end early, go and grow while it reads: it must name exactly the
 * blocks that are wrong, and no other, whatever the disk does.
 */
import assert from "node:assert/strict";
import { crc32c } from "../../../ffi/crc32c.ts";
import { mapMemory, SystemError, unmap } from "../../../ffi/libc.ts";
import { joined } from "../../aws/bytes.ts";
import { LogSeal } from "../encryption/log_seal.ts";
import { VolumeKey } from "../encryption/volume_key.ts";
import { batchVersion, blockBytes, sealedBatchVersion } from "../format.ts";
import { checkMap } from "../fsck.ts";
import { BlockMap } from "../maps/block_map.ts";
import { MapWriter, smallestPiece } from "../maps/map_stream.ts";
import type { BlockStore } from "../maps/map_objects.ts";
import { checkedFiles, CheckedLog } from "./checked_log.ts";
import { entryWords, firstEntryWord, headerWord, prepareHeader, sealHeader } from "./log_record.ts";

const volumeId = "vol-1";
const epoch = 2;
const sizeBlocks = 4096;
/** Data blocks of each batch; the header stands before them. */
const perBatch = 15;
const batchBlocks = perBatch + 1;
const batches = 20;
const fileBytes = batches * batchBlocks * blockBytes;
const medium = 61; // ENODATA: what Linux calls a sector that cannot be read

const nothingStored: BlockStore = {
  put: () => Promise.resolve(),
  get: () => Promise.resolve(undefined),
  delete: () => Promise.resolve(),
  async *list() {},
};

/** A segment full of batches. @param first the volume's block that its first data block holds */
function segmentBytes(map: BlockMap, segment: number, first: number, key?: VolumeKey) {
  const plain = mapMemory(batchBlocks * blockBytes);
  const sealed = mapMemory(batchBlocks * blockBytes);
  const seal = key === undefined ? undefined : new LogSeal(key, mapMemory);
  const out = new Uint8Array(fileBytes);
  for (let batch = 0; batch < batches; batch++) {
    const position = batch * batchBlocks;
    prepareHeader(
      plain.bytes,
      volumeId,
      epoch,
      key === undefined ? batchVersion : sealedBatchVersion,
      1,
    );
    const words = new Uint32Array(plain.buffer, 0, blockBytes >> 2);
    words[headerWord.segment] = segment;
    words[headerWord.position] = position;
    words[headerWord.sequenceLow] = segment * 1000 + batch;
    words[headerWord.dataCount] = perBatch;
    words[headerWord.entryCount] = perBatch;
    for (let i = 0; i < perBatch; i++) {
      const block = first + batch * perBatch + i;
      const data = plain.bytes.subarray((1 + i) * blockBytes, (2 + i) * blockBytes);
      data.fill(1 + block % 251);
      words.set([block, crc32c(data)], firstEntryWord + i * entryWords);
      map.set(block, segment, position + 1 + i, crc32c(data));
    }
    seal?.sealBatch(plain, sealed, 0, { epoch, segment, position, dataCount: perBatch });
    const from = seal === undefined ? plain : sealed;
    sealHeader(from.bytes.subarray(0, blockBytes));
    out.set(from.bytes, position * blockBytes);
  }
  seal?.[Symbol.dispose]();
  unmap(plain);
  unmap(sealed);
  return out;
}

function checkpointOf(map: BlockMap): Uint8Array<ArrayBuffer> {
  const head = { volumeId, epoch, sizeBlocks, sequence: 0, nextSegment: 9 };
  const writer = new MapWriter(head, map.capture(), []);
  const parts: Uint8Array[] = [];
  while (!writer.done) {
    const piece = new Uint8Array(smallestPiece);
    parts.push(piece.slice(0, writer.fill(piece)));
  }
  return joined(parts);
}

interface Log {
  readonly directory: string;
  readonly key: VolumeKey | undefined;
  readonly map: BlockMap;
  /** Paths of segments 1 and 2. */
  readonly paths: readonly [string, string];
}

/** Each of two segments has 300 blocks: those of the first from block 0 on, of the second from 1000. */
async function withLog(body: (log: Log) => Promise<void>): Promise<void> {
  for (const key of [undefined, new VolumeKey(new Uint8Array(32).fill(7))]) {
    const directory = await Deno.makeTempDir({ prefix: "mulga-checked-", dir: "/var/tmp" });
    try {
      const map = new BlockMap(sizeBlocks);
      const paths = [`${directory}/log-0.seg`, `${directory}/log-1.seg`] as const;
      await Deno.writeFile(paths[0], segmentBytes(map, 1, 0, key));
      await Deno.writeFile(paths[1], segmentBytes(map, 2, 1000, key));
      await body({ directory, key, map, paths });
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }
}

interface Disk {
  /** Called before each read of the log. */
  readonly before?: (path: string, first: number, count: number) => void;
  /** Blocks that the disk cannot read, by file, and what it says of them. */
  readonly bad?: ReadonlyMap<
    string,
    { readonly blocks: readonly number[]; readonly errno: number }
  >;
  /** What the volume's map is afterwards, when it is another; undefined when its engine has ended. */
  readonly later?: () => Uint8Array<ArrayBuffer> | undefined;
}

/** What a check of the volume says, read with files of which the disk cannot read everything. */
async function check({ directory, key, map }: Log, disk: Disk = {}) {
  const paths = new Map<number, string>();
  const files: typeof checkedFiles = {
    ...checkedFiles,
    open(path) {
      const fd = checkedFiles.open(path);
      paths.set(fd, path);
      return fd;
    },
    read(fd, into, length, offset) {
      const path = paths.get(fd) as string;
      const [first, count] = [offset / blockBytes, length / blockBytes];
      disk.before?.(path, first, count);
      const bad = disk.bad?.get(path);
      const hit = bad?.blocks.some((block) => block >= first && block < first + count);
      if (bad !== undefined && hit === true) throw new SystemError("pread", bad.errno);
      return checkedFiles.read(fd, into, length, offset);
    },
  };
  const live = checkpointOf(map);
  return await checkMap(nothingStored, {
    id: volumeId,
    size_bytes: sizeBlocks * blockBytes,
    map: undefined,
    inherited: undefined,
    isMounted: true,
    live,
    books: [],
    log: () => new CheckedLog({ directory, volumeId, key, files }),
    liveAgain: () => Promise.resolve(disk.later === undefined ? live : disk.later()),
  });
}

const unreadable = (segment: number) => `segment ${segment} of its log cannot be read there`;
/** The volume's block at a place of segment 1. */
const blockAt = (index: number) => index - 1 - Math.floor(index / batchBlocks);

Deno.test("a log that is whole is found sound", () =>
  withLog(async (log) => {
    const { is_sound, damage, log_bytes, as_of } = await check(log);
    assert.deepEqual([is_sound, damage, as_of], [true, [], "now"]);
    assert.equal(log_bytes, 2 * batches * perBatch * blockBytes);
  }));

Deno.test("what the disk cannot read in the middle of a log is named, and nothing beside it", () =>
  withLog(async (log) => {
    // A header among them: no block of the volume is in it.
    for (const errno of [5, medium]) {
      const bad = new Map([[log.paths[0], { blocks: [34, 35, 48, 200], errno }]]);
      const report = await check(log, { bad });
      assert.deepEqual(report.damage, [
        { block: blockAt(34), blocks: 2, why: unreadable(1) },
        { block: blockAt(200), blocks: 1, why: unreadable(1) },
      ]);
      assert.deepEqual([report.damaged_blocks, report.is_sound], [3, false]);
    }
  }));

Deno.test("a file whose beginning cannot be read is known by what follows", () =>
  withLog(async (log) => {
    const bad = new Map([[log.paths[0], { blocks: [0, 1], errno: 5 }]]);
    const report = await check(log, { bad });
    assert.deepEqual(report.damage, [{ block: 0, blocks: 1, why: unreadable(1) }]);
  }));

Deno.test("a file that ends early lacks what was behind its end, to the byte", () =>
  withLog(async (log) => {
    for (const length of [301 * blockBytes, 300 * blockBytes + 1000, 300 * blockBytes + 512]) {
      await Deno.truncate(log.paths[0], length);
      const last = Math.floor(length / blockBytes);
      const report = await check(log);
      const first = blockAt(last);
      const blocks = batches * perBatch - first;
      assert.deepEqual(report.damage, [{ block: first, blocks, why: unreadable(1) }]);
    }
    await Deno.truncate(log.paths[0], 100);
    const { damage } = await check(log);
    assert.deepEqual(damage, [{ block: 0, blocks: batches * perBatch, why: unreadable(1) }]);
  }));

Deno.test("a file that grows and ends where no block does is read as far as it has blocks", () =>
  withLog(async (log) => {
    let grown = false;
    const before = (path: string, first: number) => {
      if (path !== log.paths[0] || first === 0 || grown) return;
      grown = true;
      const file = Deno.openSync(path, { append: true });
      file.writeSync(new Uint8Array(3 * blockBytes + 7).fill(9));
      file.close();
    };
    const report = await check(log, { before });
    assert.deepEqual([grown, report.damage, report.is_sound], [true, [], true]);
  }));

Deno.test("a file that disappears is damage only where the map still needs it afterwards", () =>
  withLog(async (log) => {
    let once = true;
    const before = (path: string, first: number) => {
      if (!once || path !== log.paths[0] || first === 0) return;
      once = false;
      Deno.removeSync(path);
    };
    // What is open of it can be read to its end.
    assert.deepEqual((await check(log, { before })).damage, []);
    // Not there at all: the engine has given the segment up meanwhile, or it has not.
    const without = new BlockMap(sizeBlocks);
    assert.deepEqual((await check(log, { later: () => checkpointOf(without) })).damage, []);
    const why = unreadable(1);
    const report = await check(log);
    assert.deepEqual(report.damage, [{ block: 0, blocks: batches * perBatch, why }]);
  }));

Deno.test("a file that is used again for another segment is no damage", () =>
  withLog(async (log) => {
    const moved = new BlockMap(sizeBlocks);
    const again = segmentBytes(moved, 7, 0, log.key);
    let once = true;
    const before = (path: string, first: number) => {
      if (!once || path !== log.paths[0] || first === 0) return;
      once = false;
      Deno.writeFileSync(path, again);
    };
    assert.deepEqual((await check(log, { before, later: () => checkpointOf(moved) })).damage, []);
    assert.equal(once, false);
  }));

Deno.test("an engine that ends meanwhile, directory and all, makes nothing damaged", () =>
  withLog(async (log) => {
    const unchecked =
      "its log could not be checked, for its engine ended meanwhile: check it again";
    await Deno.remove(log.directory, { recursive: true });
    const { damage, damaged_blocks } = await check(log, { later: () => undefined });
    assert.deepEqual([damage, damaged_blocks], [[{ why: unchecked }], 0]);
    await Deno.mkdir(log.directory);
  }));
