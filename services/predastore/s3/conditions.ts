/** Conditional requests: RFC 9110's order for reads, S3's rules for writes and copies. */
import { AwsError } from "../../aws/errors.ts";
import type { ObjectRow } from "../index/rows.ts";
import type { Precondition } from "../objects/objects.ts";
import { noSuchKey, notImplemented } from "./call.ts";

const failed = (condition: string) =>
  new AwsError(
    "PreconditionFailed",
    `At least one of the pre-conditions you specified did not hold: ${condition}`,
    { status: 412 },
  );

function matches(header: string, etag: string): boolean {
  return header.split(",").some((one) => {
    const tag = one.trim().replace(/^W\//, "").replace(/^"(.*)"$/, "$1");
    return tag === "*" || tag === etag;
  });
}

/** An unreadable date is as if there were none. */
function seconds(value: string | null): number | undefined {
  const ms = value === null ? NaN : Date.parse(value);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

type Described = Pick<ObjectRow, "etag" | "modified_ms">;

/**
 * Whether the client has the object already.
 * @param prefix of the header names, for copies: `x-amz-copy-source-`
 * @throws AwsError `PreconditionFailed`
 */
export function notModified(headers: Headers, object: Described, prefix = ""): boolean {
  const modified = Math.floor(object.modified_ms / 1000);
  const ifMatch = headers.get(`${prefix}if-match`);
  if (ifMatch !== null) {
    if (!matches(ifMatch, object.etag)) throw failed("If-Match");
  } else {
    const since = seconds(headers.get(`${prefix}if-unmodified-since`));
    if (since !== undefined && modified > since) throw failed("If-Unmodified-Since");
  }
  const ifNoneMatch = headers.get(`${prefix}if-none-match`);
  if (ifNoneMatch !== null) return matches(ifNoneMatch, object.etag);
  const since = seconds(headers.get(`${prefix}if-modified-since`));
  return since !== undefined && modified <= since;
}

/**
 * Whether a Range still means the object that the client has a part of: else it gets the whole.
 * The comparison is strong, so a weak tag never fits.
 */
export function rangeHolds(headers: Headers, object: Described): boolean {
  const ifRange = headers.get("if-range")?.trim();
  if (ifRange === undefined) return true;
  if (ifRange.startsWith('"')) return ifRange === `"${object.etag}"`;
  return seconds(ifRange) === Math.floor(object.modified_ms / 1000);
}

/** For the source of a copy, what the client has already is a failed condition. */
export function checkCopySource(headers: Headers, object: Described): void {
  if (notModified(headers, object, "x-amz-copy-source-")) throw failed("x-amz-copy-source-if");
}

/** What a write's headers say of the object that it would replace. */
export function writeCondition(headers: Headers): Precondition {
  const ifMatch = headers.get("if-match");
  const ifNoneMatch = headers.get("if-none-match");
  if (ifNoneMatch !== null && ifNoneMatch.trim() !== "*") throw notImplemented("If-None-Match");
  return (current) => {
    if (ifNoneMatch !== null && current !== undefined) throw failed("If-None-Match");
    if (ifMatch === null) return;
    if (current === undefined) throw noSuchKey();
    if (!matches(ifMatch, current.etag)) throw failed("If-Match");
  };
}
