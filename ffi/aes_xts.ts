/**
 * AES-256-XTS, in place or from one memory to another, for units of up to a few KiB that are read each by
 * itself. Two libraries compute the same; the one that this processor runs faster is taken, which is measured
 * once in a thread: OpenSSL 3.5 (Debian 13) uses the processor's wide AES, OpenSSL 3.0 (Debian 12) does
 * not, and there libgcrypt, which apt itself needs, does.
 *
 * One object belongs to one thread. A unit is named by its tweak; the same tweak and key must not meet
 * other data where an onlooker may see both, which is the caller's matter. XTS tells nobody that a unit
 * was altered: what was opened has to be held against a checksum.
 */
import { mapMemory, type Memory, unmap } from "./libc.ts";
import { libcryptoXts } from "./libcrypto_xts.ts";
import { beginLibgcrypt, libgcryptXts } from "./libgcrypt_xts.ts";
import type { UnitCipher } from "./unit_cipher.ts";

export const xtsKeyBytes = 64;

/** Makes a cipher of the key; undefined where the library is missing. */
export type MakeXts = (key: Uint8Array<ArrayBuffer>) => UnitCipher | undefined;

/** Both libraries, the one that must be there first. */
export const xtsLibraries: readonly MakeXts[] = [libcryptoXts, libgcryptXts];

const unitBytes = 4096;
const sampleUnits = 32;

/** Milliseconds for a few units, the best of some tries; Infinity where the library is missing. */
function measured(make: MakeXts, memory: Memory): number {
  using cipher = make(crypto.getRandomValues(new Uint8Array(xtsKeyBytes)));
  if (cipher === undefined) return Infinity;
  let best_ms = Infinity;
  for (let time = 0; time < 5; time++) {
    const started = performance.now();
    for (let i = 0; i < sampleUnits; i++) {
      cipher.name(time, 0, i);
      cipher.seal(memory, 0, memory, unitBytes, unitBytes);
    }
    best_ms = Math.min(best_ms, performance.now() - started);
  }
  return best_ms;
}

function fastest(): MakeXts {
  const memory = mapMemory(2 * unitBytes, { low: true });
  const times = xtsLibraries.map((make) => measured(make, memory));
  unmap(memory);
  return xtsLibraries[times.indexOf(Math.min(...times))] ?? libcryptoXts;
}

/** Before several threads make ciphers: a library may not be begun by two at once. OpenSSL's looks after that itself. */
export function beginXts(): void {
  beginLibgcrypt();
}

let chosen: MakeXts | undefined;

/** @param key 64 bytes: the two halves must not be the same */
export function aesXts(key: Uint8Array<ArrayBuffer>): UnitCipher {
  if (key.length !== xtsKeyBytes) throw new RangeError("an AES-256-XTS key has 64 bytes");
  chosen ??= fastest();
  const cipher = chosen(key);
  if (cipher === undefined) throw new Error("no library computes AES-256-XTS any more");
  return cipher;
}
