/**
 * What is made of a snapshot that is not encrypted, and shall be, is a copy of all of it; everything else shares
 * chunks. A copy belongs to a volume that nobody sees while it is filled (`deleting`), so that one that was cut off is
 * removed at the next start. One that is whole gets its name, however long the tables do not take that: whether a try
 * that failed has been taken after all nobody can tell, so it must not be given up. Whoever asked for it is told before that
 * that the tables are away, and may ask again.
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
import { untilDone } from "./retries.ts";

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
  readonly firstPauseMs?: number;
  /** How long is waited for the tables to take the name of a copy before it is said that they are away. */
  readonly namePatienceMs?: number;
}

interface Filling {
  readonly over: PromiseWithResolvers<void>;
  /** Rejects when the tables do not take its name: that may be any time. */
  readonly away: PromiseWithResolvers<never>;
}

/** More than one try takes, and less than callers wait. */
const usualNamePatienceMs = 10_000;

export class EncryptedCopies {
  readonly #o: EncryptedCopiesOptions;
  /** Volumes that are being filled. */
  readonly #filling = new Map<string, Filling>();
  readonly #stopping = new AbortController();

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

  /** Returns when the volume is not being filled any more. @throws AwsError when the tables do not let it come to that */
  async filled(volumeId: string): Promise<void> {
    const filling = this.#filling.get(volumeId);
    if (filling !== undefined) await Promise.race([filling.over.promise, filling.away.promise]);
  }

  /**
   * Fills a volume with what a snapshot holds; what came of it goes when that fails.
   * @param name writes down what was made, again if it must be; undefined when nobody wants it any more
   * @throws AwsError also when the tables are away; it is written down then when they are back
   */
  async fill<T>(
    row: VolumeRow,
    source: SnapshotRow,
    name: (map: SavedMap) => Promise<T>,
  ): Promise<T> {
    const filling: Filling = { over: Promise.withResolvers(), away: Promise.withResolvers() };
    filling.away.promise.catch(() => {});
    this.#filling.set(row.volume_id, filling);
    const made = this.#made(row, source, name, filling).finally(() => {
      this.#filling.delete(row.volume_id);
      filling.over.resolve();
    });
    return await Promise.race([made, filling.away.promise]);
  }

  async #made<T>(
    row: VolumeRow,
    source: SnapshotRow,
    name: (map: SavedMap) => Promise<T>,
    { away }: Filling,
  ): Promise<T> {
    const map = await this.#copied(row, source);
    const late = setTimeout(
      () => away.reject(unavailable("The state store")),
      this.#o.namePatienceMs ?? usualNamePatienceMs,
    );
    try {
      const named = await this.#named(row, () => name(map));
      if (named === undefined) await this.#o.references.giveUp(row.volume_id);
      return named;
    } finally {
      clearTimeout(late);
    }
  }

  async #copied({ volume_id, epoch }: VolumeRow, source: SnapshotRow): Promise<SavedMap> {
    try {
      const sizeBlocks = source.size_bytes / blockBytes;
      return await copyBlocks(this.#o.store, source.map, sizeBlocks, volume_id, epoch);
    } catch (error) {
      this.#o.log.error("volume_not_filled", { volume_id, ...errorFields(error) });
      await this.#o.references.giveUp(volume_id);
      throw error instanceof DamagedData ? damagedSource(source.snapshot_id, error) : error;
    }
  }

  async #named<T>({ volume_id }: VolumeRow, name: () => Promise<T>): Promise<T> {
    let named: { readonly as: T } | undefined;
    await untilDone(async () => {
      named = { as: await name() };
    }, {
      signal: this.#stopping.signal,
      firstPauseMs: this.#o.firstPauseMs,
      failed: (error) =>
        this.#o.log.warn("copy_not_written_down", { volume_id, ...errorFields(error) }),
    });
    if (named === undefined) throw unavailable("The state store");
    return named.as;
  }

  /** What has no name yet is removed at the next start. */
  stop(): void {
    this.#stopping.abort();
  }
}
