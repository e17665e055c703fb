/**
 * The claim code: what somebody at the box reads off its screen, and so proves to be there.
 *
 * Eight random letters and digits, almost forty bits, of which none is mistaken for another, kept until the box is
 * claimed, so that a restart does not make a code on a photo useless. It is compared in constant time
 * and can be tried a few times a minute only.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { readJson, writeDurably } from "./durable_file.ts";

/** No 0 and O, 1, I and L, U and V. */
const letters = "23456789ABCDEFGHJKMNPQRSTWXYZ";
const length = 8;

export interface ClaimCode {
  /** As it is shown: `K7QF-2MXD`. */
  readonly text: string;
  matches(given: string): boolean;
}

function newCode(): string {
  let code = "";
  while (code.length < length) {
    // Bytes past the last whole multiple would favour the first letters.
    const [byte = 255] = crypto.getRandomValues(new Uint8Array(1));
    if (byte < Math.floor(256 / letters.length) * letters.length) {
      code += letters[byte % letters.length];
    }
  }
  return code;
}

const plainForm = new RegExp(`^[${letters}]{${length}}$`);
/** People type small letters, spaces and no hyphen. */
const normal = (given: string) => given.slice(0, 64).toUpperCase().replaceAll(/[\s-]/g, "");
const digest = (text: string) => createHash("sha256").update(text).digest();

/** The code of this box: the one it has, else a new one. */
export async function openClaimCode(path: string): Promise<ClaimCode> {
  let code: unknown;
  try {
    code = (await readJson(path) as { readonly code?: unknown } | undefined)?.code;
  } catch {
    // Damaged: nobody can know what it was, so a new one does.
  }
  if (typeof code !== "string" || !plainForm.test(code)) {
    code = newCode();
    await writeDurably(path, `${JSON.stringify({ version: 1, code })}\n`);
  }
  const held = String(code);
  return {
    text: `${held.slice(0, 4)}-${held.slice(4)}`,
    matches: (given) => timingSafeEqual(digest(normal(given)), digest(held)),
  };
}
