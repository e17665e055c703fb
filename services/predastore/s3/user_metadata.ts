/**
 * User metadata: any text may be kept, but a header is not any text. As S3 does, what is not plain ASCII is given
 * back encoded by RFC 2047, and what has characters that cannot be printed is counted and not given back.
 */
import { AwsError } from "../../aws/errors.ts";

const userPrefix = "x-amz-meta-";
const largest_bytes = 2048;
const encoder = new TextEncoder();

/** What of headers, or of a form's fields, is user metadata. @throws AwsError `MetadataTooLarge` */
export function userMetadata(from: Iterable<readonly [string, string]>): Record<string, string> {
  const user: Record<string, string> = {};
  let size = 0;
  for (const [name, value] of from) {
    if (!name.startsWith(userPrefix)) continue;
    const short = name.slice(userPrefix.length);
    size += short.length + encoder.encode(value).length;
    user[short] = value;
  }
  if (size <= largest_bytes) return user;
  throw new AwsError(
    "MetadataTooLarge",
    "Your metadata headers exceed the maximum allowed metadata size",
  );
}

/** The value as a header has it; undefined when none can. */
function shown(value: string): string | undefined {
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) return undefined;
  return /^[\t\x20-\x7e]*$/.test(value) ? value : `=?UTF-8?B?${encoder.encode(value).toBase64()}?=`;
}

export function tellUserMetadata(headers: Headers, user: Readonly<Record<string, string>>): void {
  let missing = 0;
  for (const [name, value] of Object.entries(user)) {
    const text = shown(value);
    try {
      if (text === undefined) missing++;
      else headers.set(userPrefix + name, text);
    } catch {
      // A form may have a name that no header can have.
      missing++;
    }
  }
  if (missing > 0) headers.set("x-amz-missing-meta", String(missing));
}
