/**
 * The node's keys for volumes: the file `secrets/volume-keys.key`, one key a line (32 bytes in base64), the
 * current one first. Volumes' data keys are sealed under the current one; older ones still open.
 *
 * A sealed data key names the master key by a fingerprint and is bound to its volume. A file that is missing
 * or malformed is an error for the operator, and nothing is written in its place.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import {
  type MasterKeyBytes,
  MasterKeyError,
  parseKeyFile,
  readKeyFile,
} from "../../config/key_file.ts";
import { VolumeKey, volumeKeyBytes } from "./volume_key.ts";

/** A data key as the table has it. */
export interface SealedVolumeKey {
  readonly v: 1;
  /** Which master key: a fingerprint that tells nothing of it. */
  readonly master: string;
  /** Base64: nonce, sealed key, tag. */
  readonly key: string;
}

interface MasterKey {
  readonly id: string;
  readonly wrapping: Uint8Array;
}

const nonceBytes = 12;
const tagBytes = 16;

const derive = (key: Uint8Array, purpose: string, bytes: number) =>
  new Uint8Array(hkdfSync("sha256", key, new Uint8Array(0), purpose, bytes));

const boundTo = (volumeId: string) => new TextEncoder().encode(`v1|${volumeId}`);

export class MasterKeys {
  readonly #current: MasterKey;
  readonly #known: ReadonlyMap<string, MasterKey>;

  constructor(keys: MasterKeyBytes) {
    const made = keys.map((key) => ({
      id: derive(key, "mulga/viperblock/master-key/id", 8).toHex(),
      wrapping: derive(key, "mulga/viperblock/volume-keys/v1", 32),
    }));
    this.#current = made[0] as MasterKey;
    this.#known = new Map(made.map((key) => [key.id, key]));
  }

  /** The fingerprint of the key that seals. */
  get id(): string {
    return this.#current.id;
  }

  seal(volumeId: string, { data }: VolumeKey): SealedVolumeKey {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#current.wrapping, nonce);
    cipher.setAAD(boundTo(volumeId));
    const sealed = [nonce, cipher.update(data), cipher.final(), cipher.getAuthTag()];
    return { v: 1, master: this.#current.id, key: Buffer.concat(sealed).toString("base64") };
  }

  /** @throws MasterKeyError when another key sealed it, or it was altered */
  open(volumeId: string, sealed: SealedVolumeKey): VolumeKey {
    const master = this.#known.get(sealed.master);
    if (master === undefined) {
      throw new MasterKeyError(
        `The key of ${volumeId} is sealed by the master key with fingerprint ${sealed.master}, which is not at hand. Restore the node's file secrets/volume-keys.key.`,
      );
    }
    const data = Buffer.from(sealed.key, "base64");
    try {
      if (sealed.v !== 1) throw new Error(`version ${sealed.v} is not known`);
      if (data.length !== nonceBytes + volumeKeyBytes + tagBytes) throw new Error("wrong length");
      const nonce = data.subarray(0, nonceBytes);
      const decipher = createDecipheriv("aes-256-gcm", master.wrapping, nonce);
      decipher.setAAD(boundTo(volumeId));
      decipher.setAuthTag(data.subarray(-tagBytes));
      const plain = [decipher.update(data.subarray(nonceBytes, -tagBytes)), decipher.final()];
      return new VolumeKey(new Uint8Array(Buffer.concat(plain)));
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
