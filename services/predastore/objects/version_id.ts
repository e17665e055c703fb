/**
 * Version ids: opaque to clients; for us they begin with the number that orders the versions of a key, so
 * that a listing goes on behind one that is gone.
 */
const numberDigits = 11;

export function newVersionId(sequence: number): string {
  const random = crypto.getRandomValues(new Uint8Array(15)).toBase64({ alphabet: "base64url" });
  return sequence.toString(36).padStart(numberDigits, "0") + random.replaceAll("-", ".");
}

/** The number in a version id; undefined when it is none of ours. */
export function sequenceOf(version: string): number | undefined {
  if (!/^[0-9a-z]{11}[A-Za-z0-9._]{20}$/.test(version)) return undefined;
  return parseInt(version.slice(0, numberDigits), 36);
}
