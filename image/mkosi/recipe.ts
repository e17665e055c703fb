/**
 * Fingerprints of what images are made from, so that an image is made anew exactly when something that
 * goes into it has changed.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";

/** Fingerprint of every file below `directories`: names, contents, links and who may run them. */
export async function recipeOf(directories: readonly string[], extra: string): Promise<string> {
  const parts = [extra];
  const walk = async (directory: string) => {
    const entries: Deno.DirEntry[] = [];
    for await (const entry of Deno.readDir(directory)) entries.push(entry);
    for (const entry of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
      const file = join(directory, entry.name);
      if (entry.isDirectory) {
        parts.push(`${entry.name}/`);
        await walk(file);
      } else if (entry.isSymlink) {
        parts.push(entry.name, await Deno.readLink(file));
      } else if (entry.isFile) {
        const mode = (await Deno.stat(file)).mode ?? 0;
        parts.push(entry.name, (mode & 0o111) === 0 ? "-" : "x", await digestOf(file));
      }
    }
  };
  for (const directory of directories) await walk(directory);
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(parts.join("\0")),
  );
  return new Uint8Array(digest).toHex().slice(0, 12);
}

/** SHA-256 of a file as hexadecimal digits, read piece by piece. */
export async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const piece = new Uint8Array(1 << 20);
  for (let read = await file.read(piece); read !== null; read = await file.read(piece)) {
    hash.update(piece.subarray(0, read));
  }
  return hash.digest("hex");
}
