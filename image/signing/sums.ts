/**
 * `SHA256SUMS` as `sha256sum` writes and checks it: which files a release has, and what each must be.
 *
 * It is read from strangers: names are bare names (never a path that leads out of the folder), a name
 * stands there once, and what is no such line is refused as a whole.
 */
import { createHash } from "node:crypto";
import { SignatureError } from "./keys.ts";

/** Name of file to SHA-256 in lower-case hex. */
export type Sums = ReadonlyMap<string, string>;

/** The list itself and its signature, as they are called beside the files. */
export const sumsName = "SHA256SUMS";
export const signatureName = "SHA256SUMS.sig";

/** A list of a release has a dozen lines; many releases in one folder are still far below this. */
export const sums_max_bytes = 1 << 20;

const line = /^([0-9a-f]{64}) [ *]([A-Za-z0-9_][A-Za-z0-9._+~-]*)$/;

/** @throws SignatureError when it is no such list */
export function parseSums(text: string): Sums {
  const sums = new Map<string, string>();
  for (const [at, one] of text.split("\n").entries()) {
    if (one === "") continue;
    const match = line.exec(one);
    const [, sum, name] = match ?? [];
    if (sum === undefined || name === undefined) {
      throw new SignatureError(`${sumsName}: line ${at + 1} is no checksum and file name.`);
    }
    if (sums.has(name)) throw new SignatureError(`${sumsName} names ${name} twice.`);
    sums.set(name, sum);
  }
  if (sums.size === 0) throw new SignatureError(`${sumsName} is empty.`);
  return sums;
}

export function formatSums(sums: Sums): string {
  return [...sums].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, sum]) => `${sum}  ${name}\n`).join("");
}

/** SHA-256 of a file, read once from start to end. */
export async function sumOfFile(
  path: string,
  progress: (read_bytes: number) => void = () => {},
): Promise<string> {
  const hash = createHash("sha256");
  let read = 0;
  using file = await Deno.open(path);
  const buffer = new Uint8Array(1 << 20);
  for (let got = await file.read(buffer); got !== null; got = await file.read(buffer)) {
    hash.update(buffer.subarray(0, got));
    progress(read += got);
  }
  return hash.digest("hex");
}
