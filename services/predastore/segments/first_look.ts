/**
 * What the directories say of themselves as the store starts. All are read at the same time, and each once: one that does
 * not answer holds the start up for as long as one question takes, and is away then.
 */
import type { Disk } from "../disk/disk.ts";
import { answered } from "./answers.ts";
import { type DirectoryIdentity, readIdentity } from "./identity.ts";
import { readMark } from "./sealed_mark.ts";

export interface FirstLook {
  readonly path: string;
  /** Undefined also where it is empty or not there. */
  readonly identity: DirectoryIdentity | undefined;
  /** The fingerprint of the key that sealed there last. */
  readonly mark: string | undefined;
  /** Why it does not tell; undefined where it does. */
  readonly unreadable: unknown;
}

export class StoreMismatch extends Error {
  override readonly name = "StoreMismatch";
}

export async function lookAtAll(
  disk: Disk,
  paths: readonly string[],
  answer_ms: number,
): Promise<readonly FirstLook[]> {
  const look = async (path: string) => ({
    identity: await readIdentity(disk, path),
    mark: await readMark(disk, path),
  });
  return await Promise.all(paths.map(async (path): Promise<FirstLook> => {
    try {
      const seen = await answered(look(path), answer_ms, "read", path);
      return { path, ...seen, unreadable: undefined };
    } catch (error) {
      const unreadable = error ?? new Error(`${path} does not tell whose it is`);
      return { path, identity: undefined, mark: undefined, unreadable };
    }
  }));
}

/**
 * The store's id as the directories tell it; undefined when none does.
 * @throws StoreMismatch
 */
export function storeIdOf(looks: readonly FirstLook[]): bigint | undefined {
  let found: bigint | undefined;
  for (const { path, identity } of looks) {
    if (identity === undefined) continue;
    if (found !== undefined && found !== identity.storeId) {
      throw new StoreMismatch(
        `${path} belongs to another store than the directories before it. Mend "storage.blobs".`,
      );
    }
    found = identity.storeId;
  }
  return found;
}
