/**
 * Files of master keys: one key a line, 32 bytes in base64, the one that seals first, older ones that still
 * open after it; a line that begins with # is for people. A rotation prepends a line.
 *
 * A file that is missing or malformed is an error for the operator, and nothing is ever written in its
 * place: a key made by mistake would orphan everything that was sealed.
 */

/** The key file cannot be used, or is not the one that sealed; the message is for the operator. */
export class MasterKeyError extends Error {
  override readonly name = "MasterKeyError";
}

/** 32 bytes each, the current one first. */
export type MasterKeyBytes = readonly [Uint8Array, ...Uint8Array[]];

const keyBytes = 32;

/** @throws MasterKeyError */
export function parseKeyFile(text: string, path: string): MasterKeyBytes {
  const lines = text.split("\n").map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  const keys = lines.map((line, at) => {
    let bytes = new Uint8Array(0);
    try {
      bytes = Uint8Array.fromBase64(line);
    } catch {
      // Told below with every other malformed key.
    }
    if (bytes.length !== keyBytes) {
      throw new MasterKeyError(
        `${path}: key ${
          at + 1
        } is not ${keyBytes} bytes in base64. Restore the file from a backup.`,
      );
    }
    return bytes;
  });
  const [current, ...older] = keys;
  if (current === undefined) {
    throw new MasterKeyError(`${path} holds no key. Restore the file from a backup.`);
  }
  return [current, ...older];
}

/** @throws MasterKeyError */
export async function readKeyFile(path: string): Promise<MasterKeyBytes> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    throw new MasterKeyError(
      `The master key ${path} cannot be read. Restore it from a backup, or run \`hive admin init\` if this node is new.`,
      { cause },
    );
  }
  return parseKeyFile(text, path);
}
