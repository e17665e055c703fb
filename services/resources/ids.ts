/** Resource ids: a prefix and 17 hex digits, as EC2 has them. */
import { AwsError } from "../aws/errors.ts";

const digits = 17;

/** @param bytes at least 9 of them */
function hex(bytes: Uint8Array): string {
  return bytes.toHex().slice(0, digits);
}

/** A new random id, for example `vol-0123456789abcdef0`. */
export function newId(prefix: string): string {
  return prefix + hex(crypto.getRandomValues(new Uint8Array(9)));
}

/** The one id that belongs to `parts`: what must be unique by name becomes unique by key. */
export async function idOf(prefix: string, ...parts: readonly string[]): Promise<string> {
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(JSON.stringify(parts)),
  );
  return prefix + hex(new Uint8Array(digest));
}

export interface IdErrors {
  /** For example `InvalidVolume.NotFound`. */
  readonly notFound: string;
  /** For example `InvalidParameterValue`. */
  readonly malformed: string;
  /** For what begins as such an id does and is none, where that has a code of its own. */
  readonly misshapen?: string;
  /** As AWS words it, for example `volume`. */
  readonly noun: string;
  /** As a Describe names the parameter of ids, where it is not the noun's. */
  readonly describedAs?: string;
  /** AWS's sentence for a missing id, where it is not the usual one. */
  readonly missing?: (id: string) => string;
}

/** EC2 takes 8 hex digits (ids of long ago) or 17. */
export function isId(prefix: string, id: string): boolean {
  return id.startsWith(prefix) && /^(?:[0-9a-f]{8}|[0-9a-f]{17})$/.test(id.slice(prefix.length));
}

/** @throws AwsError with the resource's own code */
export function checkId(
  prefix: string,
  id: string,
  errors: IdErrors,
  parameter = `${errors.noun}Id`,
): void {
  if (isId(prefix, id)) return;
  if (id.startsWith(prefix) && errors.misshapen !== undefined) {
    throw new AwsError(errors.misshapen, `Invalid id: "${id}"`);
  }
  throw new AwsError(
    errors.malformed,
    errors.malformed === "InvalidParameterValue"
      ? `Value (${id}) for parameter ${parameter} is invalid. Expected: '${prefix}...'.`
      : `Invalid id: "${id}" (expecting "${prefix}...")`,
  );
}

/** AWS names one id or lists all that are missing. */
export function notFound(ids: readonly string[], errors: IdErrors): AwsError {
  return new AwsError(
    errors.notFound,
    errors.missing !== undefined
      ? errors.missing(ids.join(", "))
      : ids.length === 1
      ? `The ${errors.noun} ID '${ids[0]}' does not exist`
      : `The ${errors.noun} IDs '${ids.join(", ")}' do not exist`,
  );
}
