/**
 * What is made of a snapshot that is not encrypted, and shall be, is a copy of all of it; everything else shares
 * chunks. A copy belongs to a volume that nobody sees while it is filled (`deleting`), so that one that was cut off is
 * removed at the next start.
 */
import { AwsError, unavailable } from "../aws/errors.ts";
import { errorFields, type Log } from "../log/log.ts";
import type { KeyRing } from "./encryption/key_ring.ts";
import { copyBlocks } from "./encryption/reseal.ts";
import { KeyGone } from "./encryption/sealed_objects.ts";
import { blockBytes, DamagedData } from "./format.ts";
import type { BlockStore, SavedMap } from "./maps/map_objects.ts";
import type { SnapshotRow, VolumeRow } from "./records.ts";
import type { References } from "./references.ts";

/** Whether what is made of a source is encrypted. @throws AwsError */
export function encryptionOf(
  wanted: boolean | undefined,
  source: SnapshotRow | undefined,
): boolean {
  if (source?.encrypted === true && wanted === false) {
    throw new AwsError(
      "InvalidParameterCombination",
      `The snapshot '${source.snapshot_id}' is encrypted, and so is all that is made of it.`,
    );
  }
  return wanted ?? source?.encrypted === true;
}

function damagedSource(snapshotId: string, cause: DamagedData): AwsError {
  return new AwsError(
    "IncorrectState",
    `The snapshot '${snapshotId}' is damaged: ${cause.message}. \`hive volume fsck ${snapshotId}\` says what is.`,
    { cause },
  );
}

export interface EncryptedCopiesOptions {
  readonly store: BlockStore;
  readonly keys: KeyRing;
  readonly log: Log;
  readonly references: References;
}

export class EncryptedCopies {
  readonly #o: EncryptedCopiesOptions;
  /** Volumes that are being filled, and when that is over. */
  readonly #filling = new Map<string, Promise<void>>();

  constructor(options: EncryptedCopiesOptions) {
    this.#o = options;
  }

  async makeKey(volumeId: string): Promise<void> {
    try {
      await this.#o.keys.make(volumeId);
    } catch (cause) {
      throw cause instanceof KeyGone ? unavailable("The node's key for volumes", cause) : cause;
    }
  }

  /** Returns when the volume is not being filled any more. */
  async filled(volumeId: string): Promise<void> {
    await this.#filling.get(volumeId);
  }

  /** Fills a volume with what a snapshot holds; what came of it goes when that fails. */
  async fill({ volume_id, epoch }: VolumeRow, source: SnapshotRow): Promise<SavedMap> {
    const over = Promise.withResolvers<void>();
    this.#filling.set(volume_id, over.promise);
    try {
      const sizeBlocks = source.size_bytes / blockBytes;
      return await copyBlocks(this.#o.store, source.map, sizeBlocks, volume_id, epoch);
    } catch (error) {
      this.#o.log.error("volume_not_filled", { volume_id, ...errorFields(error) });
      await this.#o.references.giveUp(volume_id);
      throw error instanceof DamagedData ? damagedSource(source.snapshot_id, error) : error;
    } finally {
      this.#filling.delete(volume_id);
      over.resolve();
    }
  }
}
