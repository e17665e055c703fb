/**
 * The node's keys for volumes: the file `secrets/volume-keys.key`, one key a line (32 bytes in base64), the
 * current one first. Volumes' data keys are sealed under the current one; older ones still open.
 *
 * A sealed data key names the master key by a fingerprint and is bound to its volume. A file that is missing
 * or malformed is an error for the operator, and nothing is written in its place.
 */
import {
  type MasterKeyBytes,
  MasterKeyError,
  parseKeyFile,
  readKeyFile,
} from "../../config/key_file.ts";
import {
  MasterKeyRing,
  nonceBytes,
  openBytes,
  sealBytes,
  tagBytes,
} from "../../config/master_keys.ts";
import { VolumeKey, volumeKeyBytes } from "./volume_key.ts";

const purpose = {
  fingerprint: "mulga/viperblock/master-key/id",
  sealing: "mulga/viperblock/volume-keys/v1",
} as const;

/** A data key as the table has it. */
export interface SealedVolumeKey {
  readonly v: 1;
  /** Which master key: a fingerprint that tells nothing of it. */
  readonly master: string;
  /** Base64: nonce, sealed key, tag. */
  readonly key: string;
}

const boundTo = (volumeId: string) => `v1|${volumeId}`;

export class MasterKeys {
  readonly #ring: MasterKeyRing;

  constructor(keys: MasterKeyBytes) {
    this.#ring = new MasterKeyRing(keys, purpose);
  }

  /** The fingerprint of the key that seals. */
  get id(): string {
    return this.#ring.id;
  }

  seal(volumeId: string, { data }: VolumeKey): SealedVolumeKey {
    const { current, id } = this.#ring;
    return { v: 1, master: id, key: sealBytes(current, data, boundTo(volumeId)).toBase64() };
  }

  /** @throws MasterKeyError when another key sealed it, or it was altered */
  open(volumeId: string, sealed: SealedVolumeKey): VolumeKey {
    const master = this.#ring.of(
      sealed.master,
      () =>
        `The key of ${volumeId} is sealed by the master key with fingerprint ${sealed.master}, which is not at hand. Restore the node's file secrets/volume-keys.key.`,
    );
    const data = Buffer.from(sealed.key, "base64");
    try {
      if (sealed.v !== 1) throw new Error(`version ${sealed.v} is not known`);
      if (data.length !== nonceBytes + volumeKeyBytes + tagBytes) throw new Error("wrong length");
      return new VolumeKey(openBytes(master, data, boundTo(volumeId)));
    } catch (cause) {
      throw new MasterKeyError(`The sealed key of ${volumeId} does not open: it was altered.`, {
        cause,
      });
    }
  }
}

/** @throws MasterKeyError */
export function parseMasterKeys(text: string, path: string): MasterKeys {
  return new MasterKeys(parseKeyFile(text, path));
}

/** @throws MasterKeyError */
export async function readMasterKeys(path: string): Promise<MasterKeys> {
  return new MasterKeys(await readKeyFile(path));
}
