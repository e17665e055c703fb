/** Signs a folder of release files: `SHA256SUMS` over all of them, and its signature beside it. */
import { join } from "node:path";
import { sign } from "./keys.ts";
import { formatSums, signatureName, sumOfFile, sumsName } from "./sums.ts";

/**
 * Writes `SHA256SUMS` of `names` in `directory` and, with a key, `SHA256SUMS.sig`. An older signature
 * goes first: a list never stands beside a signature that is not its own.
 * @param privateKey text of a PEM file; absent for a release that nobody signs
 */
export async function writeSums(
  directory: string,
  names: readonly string[],
  privateKey?: { readonly text: string; readonly path: string },
  progress: (name: string, read_bytes: number) => void = () => {},
): Promise<void> {
  const sums = new Map<string, string>();
  for (const name of names) {
    sums.set(name, await sumOfFile(join(directory, name), (read) => progress(name, read)));
  }
  const content = new TextEncoder().encode(formatSums(sums));
  await Deno.remove(join(directory, signatureName)).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  const signature = privateKey === undefined
    ? undefined
    : await sign(content, privateKey.text, privateKey.path);
  await Deno.writeFile(join(directory, sumsName), content);
  if (signature !== undefined) await Deno.writeFile(join(directory, signatureName), signature);
}
