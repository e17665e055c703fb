/** Files that need not be there: removing or reading one that is missing is no error. */

/** For `catch`: what is missing is as good as removed. */
export function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/** @returns undefined when there is no such file */
export async function textIfThere(path: string | URL): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    ignoreMissing(error);
    return undefined;
  }
}
