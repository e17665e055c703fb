/**
 * The data keys of encrypted volumes, sealed in the table `ebs_keys`, a row for each volume that has one.
 *
 * A key is made before its volume and outlives it for as long as anything that the volume wrote is needed;
 * then it is discarded, and nobody can read what may be left of it. A key that does not open concerns its volume
 * alone: others are served, and every use of it is an error that says what to do.
 */
import { errorFields, type Log } from "../../log/log.ts";
import { Conflict, type Row } from "../../state/table.ts";
import { type MasterKeys, readMasterKeys, type SealedVolumeKey } from "./master_keys.ts";
import { KeyGone, type VolumeKeys } from "./sealed_objects.ts";
import { VolumeKey } from "./volume_key.ts";

/** What the ring needs of its table. */
export interface KeyTable {
  get(key: string): Row<SealedVolumeKey> | undefined;
  list(): readonly Row<SealedVolumeKey>[];
  read(key: string): Promise<Row<SealedVolumeKey> | undefined>;
  create(key: string, value: SealedVolumeKey): Promise<Row<SealedVolumeKey>>;
  update(key: string, value: SealedVolumeKey, revision: number): Promise<Row<SealedVolumeKey>>;
  delete(key: string): Promise<void>;
}

export interface Rewrapped {
  readonly keys: number;
  /** Sealed by the current master key only now. */
  readonly rewrapped: number;
  /** Sealed by a master key that is not at hand, or altered. */
  readonly unreadable: readonly string[];
}

export class KeyRing implements VolumeKeys {
  readonly #table: KeyTable;
  readonly #path: string;
  readonly #log: Log;
  #masters: MasterKeys | undefined;
  readonly #opened = new Map<string, { readonly revision: number; readonly key: VolumeKey }>();

  /** @param path the node's file of master keys */
  constructor(table: KeyTable, path: string, log: Log) {
    this.#table = table;
    this.#path = path;
    this.#log = log;
  }

  /** Reads the master keys (again). A node whose file cannot be used goes on with what is not encrypted. */
  async load(): Promise<void> {
    try {
      this.#masters = await readMasterKeys(this.#path);
    } catch (error) {
      this.#log.error("volume_master_key_unusable", errorFields(error));
    }
  }

  #open(row: Row<SealedVolumeKey>): VolumeKey {
    const known = this.#opened.get(row.key);
    if (known !== undefined && known.revision >= row.revision) return known.key;
    if (this.#masters === undefined) {
      throw new KeyGone(
        `the master key ${this.#path}, by which volumes' keys are sealed, is not usable`,
      );
    }
    let key: VolumeKey;
    try {
      key = this.#masters.open(row.key, row.value);
    } catch (cause) {
      throw new KeyGone(cause instanceof Error ? cause.message : String(cause), { cause });
    }
    this.#opened.set(row.key, { revision: row.revision, key });
    return key;
  }

  /** @throws KeyGone when there is one that does not open */
  of(volumeId: string): VolumeKey | undefined {
    const row = this.#table.get(volumeId);
    // The local copy of the table may be behind: what is encrypted must not be stored in the clear for that.
    return row === undefined ? this.#opened.get(volumeId)?.key : this.#open(row);
  }

  /** The key of a volume that has to have one. @throws KeyGone */
  async require(volumeId: string): Promise<VolumeKey> {
    const row = await this.#table.read(volumeId);
    if (row === undefined) throw new KeyGone(`the key of ${volumeId}, which is encrypted, is gone`);
    return this.#open(row);
  }

  /** Makes the key of a new volume; one that is there already stays. @throws KeyGone */
  async make(volumeId: string): Promise<void> {
    if (this.#masters === undefined) await this.load();
    const existing = await this.#table.read(volumeId);
    if (existing !== undefined) {
      this.#open(existing);
      return;
    }
    if (this.#masters === undefined) {
      throw new KeyGone(`the master key ${this.#path}, to seal a volume's key, is not usable`);
    }
    try {
      this.#open(
        await this.#table.create(volumeId, this.#masters.seal(volumeId, VolumeKey.make())),
      );
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      await this.require(volumeId);
    }
  }

  /** Discards those of the keys that nobody needs. */
  async discard(volumeIds: Iterable<string>, needed: ReadonlySet<string>): Promise<void> {
    for (const volumeId of volumeIds) {
      if (needed.has(volumeId)) continue;
      const isThere = await this.#table.read(volumeId) !== undefined;
      if (isThere) await this.#table.delete(volumeId);
      // Somebody else may have discarded it, or a try that seemed to fail.
      this.#opened.delete(volumeId);
      if (isThere) this.#log.info("volume_key_discarded", { volume_id: volumeId });
    }
  }

  /** Reads the master keys again and seals every key by the current one. May be repeated. */
  async rewrap(): Promise<Rewrapped> {
    const masters = await readMasterKeys(this.#path);
    this.#masters = masters;
    const unreadable: string[] = [];
    let rewrapped = 0;
    const rows = this.#table.list();
    for (const { key: volumeId } of rows) {
      const row = await this.#table.read(volumeId);
      if (row === undefined || row.value.master === masters.id) continue;
      try {
        const sealed = masters.seal(volumeId, masters.open(volumeId, row.value));
        await this.#table.update(volumeId, sealed, row.revision);
        rewrapped++;
      } catch (error) {
        this.#log.error("volume_key_not_rewrapped", {
          volume_id: volumeId,
          ...errorFields(error),
        });
        unreadable.push(volumeId);
      }
    }
    return { keys: rows.length, rewrapped, unreadable };
  }
}
