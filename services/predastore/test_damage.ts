/** What tests do to a storage directory behind the store's back. */
import { join } from "node:path";

/** Paths of its segments, oldest first. */
export async function segmentsOf(blob: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(join(blob, "segments"))) names.push(name);
  return names.sort().map((name) => join(blob, "segments", name));
}

export async function empty(blob: string): Promise<void> {
  await Deno.remove(blob, { recursive: true });
  await Deno.mkdir(blob);
}

/** One bit of every `step` bytes of every segment, from `first` on. */
export async function flipBits(blob: string, first: number, step: number): Promise<void> {
  for (const path of await segmentsOf(blob)) {
    const bytes = await Deno.readFile(path);
    for (let at = first; at < bytes.length; at += step) bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    await Deno.writeFile(path, bytes);
  }
}

/** Leaves a third of every segment. */
export async function truncate(blob: string): Promise<void> {
  for (const path of await segmentsOf(blob)) {
    await Deno.truncate(path, Math.floor((await Deno.stat(path)).size / 3));
  }
}

export async function zero(blob: string): Promise<void> {
  for (const path of await segmentsOf(blob)) {
    await Deno.writeFile(path, new Uint8Array((await Deno.stat(path)).size));
  }
}
