/**
 * Checks a dm-verity hash tree as the kernel does, from the data up to the root hash, without a device:
 * cryptsetup's on-disk format 1 with SHA-256.
 */
import { createHash } from "node:crypto";

export interface Region {
  readonly path: string;
  readonly start_bytes: number;
}

const block_bytes = 4096;
const digest_bytes = 32;

async function read(region: Region, at: number, length: number): Promise<Uint8Array> {
  using file = await Deno.open(region.path);
  await file.seek(region.start_bytes + at, Deno.SeekMode.Start);
  const bytes = new Uint8Array(length);
  for (let have = 0; have < length;) {
    const got = await file.read(bytes.subarray(have));
    if (got === null) throw new Error(`${region.path} ends too early`);
    have += got;
  }
  return bytes;
}

/** @returns the root hash of the tree @throws Error when a block does not have the hash it must */
export async function verifiedRootHash(data: Region, hashes: Region): Promise<string> {
  const superblock = await read(hashes, 0, 512);
  const view = new DataView(superblock.buffer);
  const text = (from: number, to: number) =>
    new TextDecoder().decode(superblock.subarray(from, to)).replace(/\0.*$/s, "");
  if (text(0, 8) !== "verity" || view.getUint32(8, true) !== 1) throw new Error("no verity tree");
  if (text(32, 64) !== "sha256") throw new Error(`hashed with ${text(32, 64)}`);
  if (view.getUint32(64, true) !== block_bytes || view.getUint32(68, true) !== block_bytes) {
    throw new Error("blocks of another size");
  }
  const blocks = Number(view.getBigUint64(72, true));
  const salt = superblock.subarray(88, 88 + view.getUint16(80, true));
  const digest = (block: Uint8Array) => createHash("sha256").update(salt).update(block).digest();

  const perBlock = block_bytes / digest_bytes;
  const levels: number[] = [];
  for (let count = blocks; count > 1;) levels.push(count = Math.ceil(count / perBlock));
  // The top level is stored first, behind the superblock's block.
  let below: Uint8Array | undefined;
  for (const [level, count] of levels.entries()) {
    const before = levels.slice(level + 1).reduce((sum, one) => sum + one, 1);
    const stored = await read(hashes, before * block_bytes, count * block_bytes);
    const children = level === 0 ? blocks : levels[level - 1] ?? 0;
    for (let child = 0; child < children;) {
      const some = Math.min(256, children - child);
      const bytes = below === undefined
        ? await read(data, child * block_bytes, some * block_bytes)
        : below.subarray(child * block_bytes, (child + some) * block_bytes);
      for (let one = 0; one < some; one++, child++) {
        const got = digest(bytes.subarray(one * block_bytes, (one + 1) * block_bytes));
        const at = child * digest_bytes;
        if (!got.equals(stored.subarray(at, at + digest_bytes))) {
          throw new Error(`block ${child} of level ${level} is not what its hash says`);
        }
      }
    }
    below = stored;
  }
  if (below === undefined) throw new Error("an empty tree");
  return digest(below.subarray(0, block_bytes)).toString("hex");
}
