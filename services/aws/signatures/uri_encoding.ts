/**
 * The three ways in which Signature Version 4 writes a request target down.
 *
 * All work on bytes: a target that is no valid UTF-8 or has a stray `%` still has exactly one
 * canonical form, so that nothing a client sends can make this throw.
 */

/** Letters, digits, `-._~`: what is never escaped. */
const unreserved = new Uint8Array(256);
for (const char of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
  unreserved[char.charCodeAt(0)] = 1;
}
const slash = 0x2f;
const percent = 0x25;
const escapes = Array.from(
  { length: 256 },
  (_, byte) => "%" + byte.toString(16).toUpperCase().padStart(2, "0"),
);
const encoder = new TextEncoder();

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** @param decode takes `%41` for the byte it stands for, instead of for three characters */
function encode(text: string, keepSlash: boolean, decode: boolean): string {
  const plain = keepSlash ? /^[A-Za-z0-9\-._~/]*$/ : /^[A-Za-z0-9\-._~]*$/;
  if (plain.test(text)) return text;
  const bytes = encoder.encode(text);
  let out = "";
  for (let at = 0; at < bytes.length; at++) {
    let byte = bytes[at] ?? 0;
    if (decode && byte === percent) {
      const high = hexDigit(bytes[at + 1]);
      const low = hexDigit(bytes[at + 2]);
      if (high >= 0 && low >= 0) {
        byte = high * 16 + low;
        at += 2;
      }
    }
    out += unreserved[byte] === 1 || (keepSlash && byte === slash)
      ? String.fromCharCode(byte)
      : escapes[byte];
  }
  return out;
}

/** S3: the path escaped once, as sent and (where that differs) as AWS would escape it. */
export function onceEncodedPaths(path: string): readonly string[] {
  const canonical = encode(path, true, true) || "/";
  const asSent = /^[\x21-\x7e]+$/.test(path) ? path : canonical;
  return asSent === canonical ? [canonical] : [canonical, asSent];
}

/** All but S3: the path as sent, without dot segments and doubled slashes, escaped once more. */
export function doubleEncodedPath(path: string, normalise: boolean): string {
  if (!normalise) return encode(path, true, false) || "/";
  if (path === "/" || path === "") return "/";
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  const trailing = kept.length > 0 && path.endsWith("/") ? "/" : "";
  return encode(`/${kept.join("/")}${trailing}`, true, false);
}

/** Names and values escaped afresh and sorted; a presigned query leaves its signature out. */
export function canonicalQuery(query: string, presigned: boolean): string {
  if (query === "") return "";
  const pairs: [string, string][] = [];
  for (const part of query.split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = encode(equals < 0 ? part : part.slice(0, equals), false, true);
    if (presigned && name === "X-Amz-Signature") continue;
    pairs.push([name, equals < 0 ? "" : encode(part.slice(equals + 1), false, true)]);
  }
  pairs.sort((a, b) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0);
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}
