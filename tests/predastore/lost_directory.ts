/** Takes a directory away from a store that goes on writing into it: at one moment, and for good. */
export async function loseDirectory(path: string): Promise<void> {
  // File by file it would be gone by and by, and not at all when one is made meanwhile.
  await Deno.rename(path, `${path}.lost`);
  await Deno.remove(`${path}.lost`, { recursive: true });
}
