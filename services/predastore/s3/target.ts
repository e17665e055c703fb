/**
 * What the raw target of a request names: `..`, doubled slashes and every byte that UTF-8 allows belong
 * to the key.
 */
import { DetailedError } from "../../aws/detailed_error.ts";
import { AwsError } from "../../aws/errors.ts";

/** The bucket and key that a path names. */
export interface Target {
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const longestKey_bytes = 1024;

export const invalidSource = (what: string) =>
  new DetailedError("InvalidArgument", `Invalid copy source ${what}`, {
    elements: { ArgumentName: "x-amz-copy-source", ArgumentValue: "x-amz-copy-source" },
  });

const invalidUri = () => new AwsError("InvalidURI", "Couldn't parse the specified URI.");

function percentDecode(text: string): string {
  if (/^[\x21-\x24\x26-\x7e]*$/.test(text)) return text;
  const bytes = encoder.encode(text);
  const out = new Uint8Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== 0x25) {
      out[length++] = bytes[at] ?? 0;
      continue;
    }
    const hex = text === "" ? "" : String.fromCharCode(bytes[at + 1] ?? 0, bytes[at + 2] ?? 0);
    if (!/^[0-9a-fA-F]{2}$/.test(hex)) throw invalidUri();
    out[length++] = parseInt(hex, 16);
    at += 2;
  }
  try {
    return decoder.decode(out.subarray(0, length));
  } catch {
    throw invalidUri();
  }
}

/** @throws AwsError `InvalidURI`, `KeyTooLongError` */
export function parseTarget(target: string): Target {
  const queryAt = target.indexOf("?");
  const path = queryAt < 0 ? target : target.slice(0, queryAt);
  const query = new URLSearchParams(queryAt < 0 ? "" : target.slice(queryAt + 1));
  if (!path.startsWith("/")) throw invalidUri();
  const slash = path.indexOf("/", 1);
  const bucket = percentDecode(slash < 0 ? path.slice(1) : path.slice(1, slash));
  const key = slash < 0 ? "" : percentDecode(path.slice(slash + 1));
  checkKey(key);
  return { bucket, key, query };
}

/**
 * What `x-amz-copy-source` names: with or without a slash before it, and with the one behind the bucket encoded too.
 * @throws AwsError `InvalidArgument`, `KeyTooLongError`
 */
export function copySourceTarget(header: string): Target {
  const path = header.startsWith("/") ? header : `/${header}`;
  try {
    return parseTarget(/^\/[^/?]*%2f/i.test(path) ? path.replace(/%2f/i, "/") : path);
  } catch (error) {
    if (error instanceof AwsError && error.code === "InvalidURI") throw invalidSource("encoding");
    throw error;
  }
}

/** @throws AwsError `KeyTooLongError` */
export function checkKey(key: string): void {
  if (key.length * 3 > longestKey_bytes && encoder.encode(key).length > longestKey_bytes) {
    throw new AwsError("KeyTooLongError", "Your key is too long");
  }
}
