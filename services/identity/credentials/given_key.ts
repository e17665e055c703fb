/**
 * The administrator's access key when somebody else made it: a seed, or the claim of a box, whose
 * answer could not wait for this service. It lies in a file of this service's own directory until the
 * first start has put it, sealed, into the state store; then the file goes.
 */
import { type GivenAdminKey, givenKeyVersion, isAccessKey } from "../contract.ts";
import { ignoreMissing, textIfThere } from "../../config/missing_files.ts";

/** The file is there and cannot be used; the message says what to do. */
export class GivenKeyError extends Error {
  override readonly name = "GivenKeyError";
}

/** @returns undefined when there is none. @throws GivenKeyError */
export async function readGivenKey(path: string): Promise<GivenAdminKey | undefined> {
  const text = await textIfThere(path);
  if (text === undefined) return undefined;
  let said: Partial<GivenAdminKey & { version: unknown }> | null = null;
  try {
    said = JSON.parse(text);
  } catch {
    // Told below: the text itself is a secret.
  }
  const { version, access_key_id, secret_access_key } = said ?? {};
  if (
    version !== givenKeyVersion || typeof access_key_id !== "string" ||
    typeof secret_access_key !== "string" || !isAccessKey({ access_key_id, secret_access_key })
  ) {
    throw new GivenKeyError(
      `${path} holds no access key of version ${givenKeyVersion}; remove the file, and the ` +
        `administrator gets a key that is made here.`,
    );
  }
  return { access_key_id, secret_access_key };
}

/** Removes the file once the key is in the state store. */
export async function forgetGivenKey(path: string): Promise<void> {
  await Deno.remove(path).catch(ignoreMissing);
}
