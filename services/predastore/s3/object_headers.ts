/**
 * The headers that an object is stored and given back with: system headers, user metadata, checksums;
 * and the headers that ask for what is not served, which are refused by name and never ignored.
 */
import { askedAcl } from "./acl.ts";
import { httpDate, quoted } from "./answer_parts.ts";
import { frontReplyHeaders } from "../../gateway/contract.ts";
import type { BucketRow, ObjectMeta, ObjectRow } from "../index/rows.ts";
import { AwsError } from "../../aws/errors.ts";
import {
  invalidArgument,
  isAnonymous,
  notImplementedHeader,
  ownBucket,
  type S3Call,
} from "./call.ts";
import { asksChecksum, tellChecksum } from "./checksum_answers.ts";
import { tellSeal } from "./customer_keys.ts";
import { checkAskedSeal } from "./encryption.ts";
import { tellExpiry } from "./expiration.ts";
import { tellLock } from "./object_lock.ts";
import { toldChecksum } from "./sealed_checksums.ts";
import { askedClass, tellClass } from "./storage_class.ts";
import { tagsOfHeader } from "./tagging.ts";
import { tellUserMetadata, userMetadata } from "./user_metadata.ts";
import { shownVersion } from "./version_ids.ts";

const kept = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-type",
  "expires",
  "x-amz-website-redirect-location",
] as const;
const defaultContentType = "binary/octet-stream";

/** Values that change nothing, for headers that ask for what is not served. */
const harmless: Readonly<Record<string, readonly string[]>> = {
  "x-amz-write-offset-bytes": [],
  "x-amz-bucket-namespace": ["global"],
};

/**
 * @param aclRefused what is said of an ACL that is not the owner's
 * @throws AwsError `NotImplemented` naming the header; `AccessControlListNotSupported`, and what encryption is refused with
 */
export function refuseUnserved(headers: Headers, aclRefused?: () => AwsError): void {
  askedAcl(headers, aclRefused);
  checkAskedSeal(headers);
  for (const [name, allowed] of Object.entries(harmless)) {
    const value = headers.get(name);
    if (value === null || allowed.includes(value)) continue;
    throw notImplementedHeader(name);
  }
}

type Given = Pick<ObjectMeta, "headers" | "user" | "tags" | "storage_class">;

/**
 * What of a request's headers is kept with its object.
 * @throws AwsError `MetadataTooLarge`, `InvalidStorageClass`, `InvalidRedirectLocation`
 */
export function objectHeaders(from: Headers): Given {
  refuseUnserved(from);
  const headers: Record<string, string> = {};
  for (const name of kept) {
    let value = from.get(name);
    if (value === null || (name === "content-type" && value === "")) continue;
    if (name === "x-amz-website-redirect-location" && !/^(https?:\/\/|\/)/.test(value)) {
      throw new AwsError(
        "InvalidRedirectLocation",
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
      );
    }
    if (name === "content-encoding") {
      // `aws-chunked` is how the body travels, not how the object is encoded.
      value = value.split(",").filter((one) => one.trim().toLowerCase() !== "aws-chunked")
        .join(",").trim();
      if (value === "") continue;
    }
    headers[name] = value;
  }
  const tagging = from.get("x-amz-tagging");
  const storage_class = askedClass(from);
  return {
    headers,
    user: userMetadata(from),
    ...(tagging === null ? {} : { tags: tagsOfHeader(tagging) }),
    ...(storage_class === undefined ? {} : { storage_class }),
  };
}

/** Query parameters that replace headers of an answer, on signed requests only. */
const overrides: Readonly<Record<string, string>> = {
  "response-cache-control": "cache-control",
  "response-content-disposition": "content-disposition",
  "response-content-encoding": "content-encoding",
  "response-content-language": "content-language",
  "response-content-type": "content-type",
  "response-expires": "expires",
};

const notOverridable = (parameter: string, value: string) =>
  invalidArgument(
    `${parameter} is not in the set of overridable response headers. Please refer to the S3 API documentation for a complete list of overridable response headers.`,
    parameter,
    value,
  );

const isCurrent = (call: S3Call, bucket: BucketRow, { key, sequence }: ObjectRow) =>
  !call.query.has("versionId") || call.store.objects.find(bucket, key)?.sequence === sequence;

/** The headers that describe an object in the answer to GET and HEAD. */
export function describe(call: S3Call, object: ObjectRow): Headers {
  const headers = new Headers({
    "accept-ranges": "bytes",
    "content-type": defaultContentType,
    etag: quoted(object.etag),
    "last-modified": httpDate(object.modified_ms),
  });
  const set = (name: string, value: string) => {
    try {
      headers.set(name, value);
    } catch {
      throw invalidArgument(`The value for ${name} cannot be a header.`);
    }
  };
  for (const [name, value] of Object.entries(object.meta.headers)) set(name, value);
  tellUserMetadata(headers, object.meta.user);
  for (const [parameter, value] of call.query) {
    if (!parameter.startsWith("response-")) continue;
    const name = overrides[parameter];
    if (name === undefined) throw notOverridable(parameter, value);
    if (isAnonymous(call)) {
      throw new AwsError(
        "InvalidRequest",
        "Request specific response headers cannot be used for anonymous GET requests.",
      );
    }
    set(name, value);
  }
  const { checksum, tags, lock, seal, storage_class } = object.meta;
  const bucket = ownBucket(call);
  if (bucket.settings.lifecycle !== undefined && isCurrent(call, bucket, object)) {
    tellExpiry(headers, bucket, object);
  }
  const version = shownVersion(bucket, object.version);
  if (version !== undefined) headers.set("x-amz-version-id", version);
  if (tags !== undefined && tags.length > 0) {
    headers.set("x-amz-tagging-count", String(tags.length));
  }
  tellLock(headers, lock);
  tellSeal(headers, seal, call.headers);
  tellClass(headers, storage_class);
  if (asksChecksum(call.headers)) {
    tellChecksum(headers, toldChecksum(call.headers, seal, checksum));
  }
  const encoding = headers.get("content-encoding");
  if (encoding !== null) headers.set(frontReplyHeaders.contentEncoding, encoding);
  return headers;
}
