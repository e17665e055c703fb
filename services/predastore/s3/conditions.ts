/** Conditional requests: RFC 9110's order for reads, S3's rules for writes and copies. */
import type { ObjectRow } from "../index/rows.ts";
import type { Precondition } from "../objects/objects.ts";
import { DetailedError, noSuchKey } from "./call.ts";

const failed = (condition: string) =>
  new DetailedError(
    "PreconditionFailed",
    "At least one of the pre-conditions you specified did not hold",
    { status: 412, elements: { Condition: condition } },
  );

/** A condition that S3 does not take on a write. */
const notTaken = (header: string, why: string) =>
  new DetailedError(
    "NotImplemented",
    "A header you provided implies functionality that is not implemented",
    { status: 501, elements: { Header: header, additionalMessage: why } },
  );

const otherValue = (header: string) =>
  notTaken(header, `We don't accept the provided value of ${header} header for this API`);

function matches(header: string, etag: string): boolean {
  return header.split(",").some((one) => {
    const tag = one.trim().replace(/^W\//, "").replace(/^"/, "").replace(/"$/, "");
    return tag === "*" || tag === etag;
  });
}

/** An unreadable date is as if there were none. */
function seconds(value: string | null): number | undefined {
  const ms = value === null ? NaN : Date.parse(value);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

/** The prefix of the headers that ask about the source of a copy, as AWS names it to clients. */
const shownSource = "x-amz-copy-source-";

type Described = Pick<ObjectRow, "etag" | "modified_ms">;

/**
 * Whether the client has the object already.
 * @param prefix of the header names, for copies: `x-amz-copy-source-`
 * @throws AwsError `PreconditionFailed`
 */
export function notModified(headers: Headers, object: Described, prefix = ""): boolean {
  return unchangedBy(headers, object, prefix) !== undefined;
}

/** The condition by which the client has the object already. */
function unchangedBy(headers: Headers, object: Described, prefix: string): string | undefined {
  const modified = Math.floor(object.modified_ms / 1000);
  const ifMatch = headers.get(`${prefix}if-match`);
  if (ifMatch !== null) {
    if (!matches(ifMatch, object.etag)) throw failed(`${prefix}If-Match`);
  } else {
    const since = seconds(headers.get(`${prefix}if-unmodified-since`));
    if (since !== undefined && modified > since) throw failed(`${prefix}If-Unmodified-Since`);
  }
  const ifNoneMatch = headers.get(`${prefix}if-none-match`);
  if (ifNoneMatch !== null) {
    return matches(ifNoneMatch, object.etag) ? "If-None-Match" : undefined;
  }
  const since = seconds(headers.get(`${prefix}if-modified-since`));
  // A time that has not come says nothing of the object.
  const said = since !== undefined && since * 1000 <= Date.now();
  return said && modified <= since ? "If-Modified-Since" : undefined;
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
  const unchanged = unchangedBy(headers, object, shownSource);
  if (unchanged !== undefined) throw failed(shownSource + unchanged);
}

/**
 * What a write's headers say of the object that it would replace.
 * @throws AwsError `NotImplemented` for conditions that S3 does not take on writes
 */
export function writeCondition(headers: Headers): Precondition {
  const ifMatch = headers.get("if-match");
  const ifNoneMatch = headers.get("if-none-match");
  if (ifMatch !== null && ifNoneMatch !== null) {
    throw notTaken(
      "If-Match,If-None-Match",
      "Multiple conditional request headers present in the request",
    );
  }
  if (ifNoneMatch !== null && ifNoneMatch.trim() !== "*") throw otherValue("If-None-Match");
  if (ifMatch !== null && ifMatch.trim() === "*") throw otherValue("If-Match");
  return (current) => {
    if (ifNoneMatch !== null && current !== undefined) throw failed("If-None-Match");
    if (ifMatch !== null) demand(ifMatch, current);
  };
}

/** What a delete's header says, where any object may be meant. */
export function deleteCondition(ifMatch: string | null): Precondition | undefined {
  return ifMatch === null ? undefined : (current) => demand(ifMatch, current);
}

function demand(ifMatch: string, current: ObjectRow | undefined): void {
  if (current === undefined) throw noSuchKey();
  if (!matches(ifMatch, current.etag)) throw failed("If-Match");
}
