/**
 * ListObjects, ListObjectsV2 and ListMultipartUploads: keys in the order of their bytes, grouped by a
 * delimiter.
 *
 * Whatever lies below a common prefix is jumped over by one seek, so that a page costs what it shows and
 * not what it skips. A token names the last thing that was shown, which makes pages stable while keys
 * come and go.
 */
import { keyBytes } from "../index/columns.ts";
import type { ListedObject } from "../index/rows.ts";
import type { Store } from "../store.ts";
import { documentDate, initiator, owner, quoted } from "./answer_parts.ts";
import { checksumKind } from "./checksum_answers.ts";
import {
  integer,
  invalidArgument,
  mostInteger,
  ownBucket,
  type S3Call,
  wholeNumber,
} from "./call.ts";
import { shownClass } from "./storage_class.ts";
import { urlEncode } from "./url_encoding.ts";
import { element, xmlResponse } from "./xml.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface ListRequest {
  readonly prefix: string;
  readonly delimiter: string;
  /** Shown are keys and common prefixes after this. */
  readonly after: string;
  readonly limit: number;
}

export interface ListPage {
  readonly objects: readonly ListedObject[];
  readonly prefixes: readonly string[];
  readonly truncated: boolean;
  /** The last key or common prefix of the page. */
  readonly last: string;
}

/** The first key after all that start with `prefix`; undefined when there can be none. */
export function afterPrefix(prefix: Bytes): Bytes | undefined {
  for (let length = prefix.length; length > 0; length--) {
    if ((prefix[length - 1] ?? 0) < 255) {
      const bound = prefix.slice(0, length);
      bound[length - 1] = (bound[length - 1] ?? 0) + 1;
      return bound;
    }
  }
  return undefined;
}

function compare(a: Bytes, b: Bytes): number {
  return Buffer.compare(a, b);
}

export function listObjects(store: Store, bucket: number, request: ListRequest): ListPage {
  const { prefix, delimiter, limit } = request;
  const objects: ListedObject[] = [];
  const prefixes: string[] = [];
  const prefixBytes = keyBytes(prefix);
  const after = keyBytes(request.after);
  let last = "";
  if (limit === 0) return { objects, prefixes, truncated: false, last };
  let start: Bytes | undefined = prefixBytes;
  let inclusive = true;
  if (request.after !== "" && compare(after, prefixBytes) >= 0) {
    start = after;
    inclusive = false;
    // A page that ended with a common prefix goes on behind all of it.
    const group = delimiter === "" || !request.after.startsWith(prefix)
      ? -1
      : request.after.indexOf(delimiter, prefix.length);
    if (group >= 0) {
      start = afterPrefix(keyBytes(request.after.slice(0, group + delimiter.length)));
      inclusive = true;
    }
  }
  let batch = 64;
  while (start !== undefined) {
    const wanted: number = Math.min(batch, limit - objects.length - prefixes.length + 1);
    const rows = store.index.objects.listFrom(bucket, start, inclusive, wanted);
    let jumped = false;
    for (const row of rows) {
      if (!row.key.startsWith(prefix)) return { objects, prefixes, truncated: false, last };
      if (objects.length + prefixes.length === limit) {
        return { objects, prefixes, truncated: true, last };
      }
      const group = delimiter === "" ? -1 : row.key.indexOf(delimiter, prefix.length);
      if (group >= 0) {
        last = row.key.slice(0, group + delimiter.length);
        prefixes.push(last);
        start = afterPrefix(keyBytes(last));
        inclusive = true;
        jumped = true;
        break;
      }
      last = row.key;
      objects.push(row);
      start = keyBytes(row.key);
      inclusive = false;
    }
    if (!jumped && rows.length < wanted) break;
    // Few rows are fetched where groups follow each other, many where plain keys do.
    batch = jumped ? 4 : Math.min(1001, batch * 4);
  }
  return { objects, prefixes, truncated: false, last };
}

/** @throws AwsError `InvalidArgument` for an encoding that is none */
export function encoder(call: S3Call): (text: string) => string {
  const encoding = call.query.get("encoding-type");
  if (encoding === null) return (text) => text;
  if (encoding.toLowerCase() !== "url") {
    throw invalidArgument(
      "Invalid Encoding Method specified in Request",
      "encoding-type",
      encoding,
    );
  }
  return urlEncode;
}

/** Told back as it was asked for. */
export const encodingType = (call: S3Call) =>
  element("EncodingType", call.query.get("encoding-type") ?? undefined);

/**
 * What may be told besides is how a restore gets on, which no object here ever needs.
 * @throws AwsError `InvalidArgument`
 */
export function checkOptionalAttributes({ headers }: S3Call): void {
  const name = "x-amz-optional-object-attributes";
  const asked = headers.get(name)?.split(",").map((one) => one.trim()) ?? [];
  const unknown = asked.find((one) => one !== "RestoreStatus");
  if (unknown !== undefined) {
    throw invalidArgument("Invalid attribute name specified", name, unknown);
  }
}

function contents(object: ListedObject, encode: (text: string) => string, withOwner?: string) {
  return element("Contents", [
    element("Key", encode(object.key)),
    element("LastModified", documentDate(object.modified_ms)),
    element("ETag", quoted(object.etag)),
    checksumKind(object.checksum),
    element("Size", object.size),
    withOwner === undefined ? undefined : owner(withOwner),
    element("StorageClass", shownClass(object.storage_class)),
  ]);
}

export const commonPrefixes = (prefixes: readonly string[], encode: (text: string) => string) =>
  prefixes.map((prefix) => element("CommonPrefixes", element("Prefix", encode(prefix))));

const longestPage = 1000;
/** How much a page holds, whatever was asked for. */
export const pageOf = (asked: number) => Math.min(longestPage, asked);

/** What a page may hold, as it was asked for. @throws AwsError `InvalidArgument` */
const maxKeys = (call: S3Call) =>
  wholeNumber(call, "max-keys", 0, mostInteger, "maxKeys") ?? longestPage;

/** Each version of the listing has parameters that the other one refuses. @throws AwsError `InvalidArgument` */
function refuseOthers(call: S3Call, of: Readonly<Record<string, string>>): void {
  integer(call, "max-keys");
  for (const [name, message] of Object.entries(of)) {
    if (call.query.has(name)) throw invalidArgument(message, name);
  }
}

const ofV2 = {
  "continuation-token": "continuation-token only supported in REST.GET.BUCKET with list-type=2",
  "start-after": "startAfter only supported in REST.GET.BUCKET with list-type=2",
};
const ofV1 = { marker: "Marker unsupported with REST.GET.BUCKET in list-type=2" };

export function listObjectsV1(call: S3Call): Response {
  refuseOthers(call, ofV2);
  const bucket = ownBucket(call);
  checkOptionalAttributes(call);
  const encode = encoder(call);
  const prefix = call.query.get("prefix") ?? "";
  const delimiter = call.query.get("delimiter") ?? "";
  const marker = call.query.get("marker") ?? "";
  const asked = maxKeys(call);
  const page = listObjects(call.store, bucket.id, {
    prefix,
    delimiter,
    after: marker,
    limit: pageOf(asked),
  });
  return xmlResponse("ListBucketResult", [
    element("Name", bucket.name),
    element("Prefix", encode(prefix)),
    element("Marker", encode(marker)),
    page.truncated && delimiter !== "" ? element("NextMarker", encode(page.last)) : undefined,
    element("MaxKeys", asked),
    delimiter === "" ? undefined : element("Delimiter", encode(delimiter)),
    encodingType(call),
    element("IsTruncated", page.truncated),
    page.objects.map((object) => contents(object, encode, bucket.account_id)),
    commonPrefixes(page.prefixes, encode),
  ], { "x-amz-bucket-region": bucket.region });
}

const tokenEncoder = new TextEncoder();

const wrongToken = () =>
  invalidArgument("The continuation token provided is incorrect", "continuation-token");

function tokenOf(last: string): string {
  return tokenEncoder.encode(`1${last}`).toBase64({ alphabet: "base64url" });
}

function readToken(token: string): string {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(Uint8Array.fromBase64(token, { alphabet: "base64url" }));
    if (text.startsWith("1")) return text.slice(1);
  } catch {
    // Any other token than ours is told below.
  }
  throw wrongToken();
}

export function listObjectsV2(call: S3Call): Response {
  refuseOthers(call, ofV1);
  const bucket = ownBucket(call);
  checkOptionalAttributes(call);
  const encode = encoder(call);
  const prefix = call.query.get("prefix") ?? "";
  const delimiter = call.query.get("delimiter") ?? "";
  const token = call.query.get("continuation-token");
  const startAfter = call.query.get("start-after") ?? "";
  if (token === "") throw wrongToken();
  const after = token === null ? startAfter : readToken(token);
  const asked = maxKeys(call);
  const page = listObjects(call.store, bucket.id, {
    prefix,
    delimiter,
    after,
    limit: pageOf(asked),
  });
  const fetchOwner = call.query.get("fetch-owner") === "true";
  return xmlResponse("ListBucketResult", [
    element("Name", bucket.name),
    element("Prefix", encode(prefix)),
    // Where a token says where to go on, this says nothing.
    call.query.has("start-after") && token === null
      ? element("StartAfter", encode(startAfter))
      : undefined,
    element("ContinuationToken", token ?? undefined),
    page.truncated ? element("NextContinuationToken", tokenOf(page.last)) : undefined,
    element("KeyCount", page.objects.length + page.prefixes.length),
    element("MaxKeys", asked),
    delimiter === "" ? undefined : element("Delimiter", encode(delimiter)),
    encodingType(call),
    element("IsTruncated", page.truncated),
    page.objects.map((object) =>
      contents(object, encode, fetchOwner ? bucket.account_id : undefined)
    ),
    commonPrefixes(page.prefixes, encode),
  ], { "x-amz-bucket-region": bucket.region });
}

/** Whether a page may have ended with that upload: one that has ended meanwhile still says where. */
function isMarkerOf(call: S3Call, key: string, id: string): boolean {
  const upload = call.store.index.uploads.find(id);
  return upload === undefined ? /^[0-9a-z]+\.[\w-]{24}$/.test(id) : upload.key === key;
}

export function listMultipartUploads(call: S3Call): Response {
  const bucket = ownBucket(call);
  const encode = encoder(call);
  const prefix = call.query.get("prefix") ?? "";
  const delimiter = call.query.get("delimiter") ?? "";
  const keyMarker = call.query.get("key-marker") ?? "";
  const idMarker = keyMarker === "" ? "" : call.query.get("upload-id-marker") ?? "";
  if (idMarker !== "" && !isMarkerOf(call, keyMarker, idMarker)) {
    throw invalidArgument("Invalid uploadId marker", "upload-id-marker", idMarker);
  }
  const limit = pageOf(wholeNumber(call, "max-uploads", 0, mostInteger) ?? longestPage);
  const uploads: ReturnType<typeof call.store.index.uploads.listFrom> = [];
  const prefixes: string[] = [];
  let truncated = false;
  // Without an id marker, all uploads of the marker's key are behind us.
  let key: Bytes = keyBytes(keyMarker);
  let id = keyMarker !== "" && idMarker === "" ? "\u{10ffff}" : idMarker;
  const first = keyBytes(prefix);
  if (compare(key, first) < 0) {
    key = first;
    id = "";
  }
  let batch = longestPage;
  scan: for (;;) {
    const wanted = Math.min(batch, limit - uploads.length - prefixes.length + 1);
    const rows = call.store.index.uploads.listFrom(bucket.id, key, id, wanted);
    let jumped = false;
    for (const row of rows) {
      if (!row.key.startsWith(prefix)) break scan;
      key = keyBytes(row.key);
      id = row.id;
      const group = delimiter === "" ? -1 : row.key.indexOf(delimiter, prefix.length);
      const common = group < 0 ? undefined : row.key.slice(0, group + delimiter.length);
      if (common !== keyMarker && uploads.length + prefixes.length === limit) {
        truncated = limit > 0;
        break scan;
      }
      if (common === undefined) {
        uploads.push(row);
        continue;
      }
      if (common !== keyMarker) prefixes.push(common);
      const behind = afterPrefix(keyBytes(common));
      if (behind === undefined) break scan;
      key = behind;
      id = "";
      jumped = true;
      break;
    }
    if (!jumped && rows.length < wanted) break;
    batch = jumped ? 4 : Math.min(longestPage, batch * 4);
  }
  const last = uploads.at(-1);
  const lastPrefix = prefixes.at(-1);
  const endsWithPrefix = lastPrefix !== undefined &&
    (last === undefined || compare(keyBytes(lastPrefix), keyBytes(last.key)) > 0);
  return xmlResponse("ListMultipartUploadsResult", [
    element("Bucket", bucket.name),
    element("KeyMarker", encode(keyMarker)),
    element("UploadIdMarker", idMarker),
    // These are told whether there is more or not.
    element("NextKeyMarker", encode(endsWithPrefix ? lastPrefix : last?.key ?? "")),
    element("NextUploadIdMarker", endsWithPrefix ? "" : last?.id ?? ""),
    delimiter === "" ? undefined : element("Delimiter", encode(delimiter)),
    call.query.has("prefix") ? element("Prefix", encode(prefix)) : undefined,
    encodingType(call),
    element("MaxUploads", limit),
    element("IsTruncated", truncated),
    uploads.map((upload) =>
      element("Upload", [
        element("Key", encode(upload.key)),
        element("UploadId", upload.id),
        initiator(bucket.account_id),
        owner(bucket.account_id),
        element("StorageClass", shownClass(upload.meta.storage_class)),
        element("Initiated", documentDate(upload.created_ms)),
        checksumKind(upload.checksum),
      ])
    ),
    commonPrefixes(prefixes, encode),
  ]);
}
