/** `mulga-store.json`: tells whose directory this is, whatever path it is mounted at. */
import { join } from "node:path";
import { isAbsent } from "../disk/absent.ts";
import type { Disk } from "../disk/disk.ts";

export interface DirectoryIdentity {
  readonly storeId: bigint;
  readonly directory: number;
  /** Lower numbers have been given to directories of the store, of which some may be gone. */
  readonly next: number;
}

interface IdentityFile {
  readonly version: 1;
  /** Hexadecimal. */
  readonly store_id: string;
  readonly directory: number;
  readonly next?: number;
}

const fileName = "mulga-store.json";

/** Who owns the directory at `path`; undefined when it is empty or not there. */
export async function readIdentity(
  disk: Disk,
  path: string,
): Promise<DirectoryIdentity | undefined> {
  try {
    const text = new TextDecoder().decode(await disk.readWhole(join(path, fileName)));
    const value: IdentityFile = JSON.parse(text);
    if (value.version !== 1) throw new Error(`${path} belongs to another release of the store`);
    const { store_id, directory, next = directory + 1 } = value;
    return { storeId: BigInt(`0x${store_id}`), directory, next };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

export async function writeIdentity(
  disk: Disk,
  path: string,
  { storeId, directory, next }: DirectoryIdentity,
): Promise<void> {
  const file: IdentityFile = {
    version: 1,
    store_id: storeId.toString(16).padStart(16, "0"),
    directory,
    next,
  };
  await disk.writeWhole(join(path, fileName), new TextEncoder().encode(JSON.stringify(file)));
}
