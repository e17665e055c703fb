/** A small file of this service that is whole or not there: written beside, synced, then renamed. */
import { dirname } from "node:path";
import { ignoreMissing, textIfThere } from "../config/missing_files.ts";

export async function writeDurably(path: string, content: string): Promise<void> {
  const beside = `${path}.new`;
  {
    using file = await Deno.open(beside, {
      write: true,
      create: true,
      truncate: true,
      mode: 0o600,
    });
    const bytes = new TextEncoder().encode(content);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
  }
  await Deno.rename(beside, path);
  // The new name itself must survive a power cut too.
  using directory = await Deno.open(dirname(path));
  await directory.sync();
}

/** The JSON of a file; undefined when there is none. @throws SyntaxError when it is no JSON */
export async function readJson(path: string): Promise<unknown> {
  const text = await textIfThere(path);
  return text === undefined ? undefined : JSON.parse(text);
}

/** Removes a file so that it stays removed; what is not there is removed already. */
export async function removeDurably(path: string): Promise<void> {
  await Deno.remove(path).catch(ignoreMissing);
  using directory = await Deno.open(dirname(path));
  await directory.sync();
}
