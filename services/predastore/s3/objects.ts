/** GetObject, HeadObject, PutObject, CopyObject, DeleteObject and DeleteObjects. */
import { Digest } from "../../../ffi/libcrypto.ts";
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import type { BucketRow, ObjectMeta, ObjectRow, Seal } from "../index/rows.ts";
import type { IncomingBody } from "../objects/bodies.ts";
import type { StoredObject } from "../objects/objects.ts";
import { reusedAfter } from "../extents/piece_memory.ts";
import { incomingBody, largestPut_bytes, readDocument, usualChecksum } from "./body.ts";
import {
  accessDenied,
  bucketOfMany,
  DetailedError,
  invalidArgument,
  mayIn,
  notImplemented,
  ownBucket,
  type S3Call,
  sourceBucket,
  wholeNumber,
} from "./call.ts";
import { checkKey, copySourceTarget } from "./target.ts";
import {
  type Algorithm,
  askedAlgorithm,
  checksumHeader,
  defaultAlgorithm,
  isAlgorithm,
  startChecksum,
} from "./checksums.ts";
import {
  checkCopySource,
  deleteCondition,
  notModified,
  rangeHolds,
  writeCondition,
} from "./conditions.ts";
import { refuseCustomerKey, sealFor, tellSeal } from "./encryption.ts";
import { tellExpiry } from "./expiration.ts";
import { asksChecksum, describe, objectHeaders } from "./object_headers.ts";
import { quoted } from "./answer_parts.ts";
import { bypasses, checkBypass, checkLock, newLock, requireDigest } from "./object_lock.ts";
import { objectArn } from "./permissions.ts";
import { type ByteRange, parseRange } from "./ranges.ts";
import { storageClassHeader } from "./storage_class.ts";
import {
  askedVersion,
  checkedVersion,
  isVersion,
  meantObject,
  noSuchVersion,
  shownVersion,
} from "./version_ids.ts";
import {
  children,
  element,
  malformedXml,
  parseXml,
  text,
  type XmlNode,
  xmlResponse,
} from "./xml.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const redirectHeader = "x-amz-website-redirect-location";

function found(call: S3Call): ObjectRow {
  return meantObject(call, ownBucket(call), call.key, askedVersion(call.query));
}

/** What of the object is asked for: a range, one part, or all. */
function wantedRange(call: S3Call, object: ObjectRow): {
  readonly range: ByteRange | undefined;
  readonly parts: number | undefined;
  /** Which part is asked for. */
  readonly part?: number;
} {
  const number = wholeNumber(call, "partNumber", 1, 10_000);
  const asked = call.headers.get("range");
  if (number === undefined) {
    const header = rangeHolds(call.headers, object) ? asked : null;
    return { range: parseRange(header, object.size), parts: undefined };
  }
  if (asked !== null) {
    throw new AwsError(
      "InvalidRequest",
      "Cannot specify both Range header and partNumber query parameter",
    );
  }
  const parts = object.meta.parts ?? [object.size];
  if (number > parts.length) {
    throw new DetailedError(
      "InvalidPartNumber",
      "The requested partnumber is not satisfiable",
      {
        status: 416,
        elements: {
          PartNumberRequested: String(number),
          ActualPartCount: String(parts.length),
        },
      },
    );
  }
  const from = parts.slice(0, number - 1).reduce((sum, size) => sum + size, 0);
  return {
    range: { from, to: from + (parts[number - 1] ?? 0) },
    parts: object.meta.parts === undefined ? undefined : parts.length,
    part: number,
  };
}

/** What is made of the parts' checksums says nothing of one of them, but its own does. */
function tellPartChecksum(call: S3Call, object: ObjectRow, part: number, headers: Headers): void {
  const { checksum, part_checksums } = object.meta;
  const value = part_checksums?.[part - 1];
  if (checksum?.type !== "COMPOSITE" || value === undefined || !asksChecksum(call.headers)) return;
  headers.set(checksumHeader(checksum.algorithm), value);
  headers.set("x-amz-checksum-type", checksum.type);
}

function prepareRead(call: S3Call): {
  readonly object: ObjectRow;
  readonly status: number;
  readonly headers: Headers;
  readonly range: ByteRange;
} {
  const object = found(call);
  refuseCustomerKey(call.headers);
  const headers = describe(call, object, true);
  if (notModified(call.headers, object)) {
    headers.delete("content-type");
    return { object, status: 304, headers, range: { from: 0, to: 0 } };
  }
  const { range, parts, part } = wantedRange(call, object);
  if (parts !== undefined) headers.set("x-amz-mp-parts-count", String(parts));
  if (range === undefined) {
    headers.set("content-length", String(object.size));
    return { object, status: 200, headers, range: { from: 0, to: object.size } };
  }
  headers.set("content-length", String(range.to - range.from));
  if (range.to > range.from) {
    headers.set("content-range", `bytes ${range.from}-${range.to - 1}/${object.size}`);
  }
  if (range.from > 0 || range.to < object.size) {
    // A checksum of the whole says nothing of a part.
    for (const name of [...headers.keys()]) {
      if (name.startsWith("x-amz-checksum-")) headers.delete(name);
    }
  }
  if (part !== undefined) tellPartChecksum(call, object, part, headers);
  return { object, status: 206, headers, range };
}

export function headObject(call: S3Call): Response {
  const { status, headers } = prepareRead(call);
  return new Response(null, { status, headers });
}

/**
 * How far behind the HTTP server may be with sending. While a piece of 512 KiB is made it has one that it has
 * not looked at, 64 KiB of the one before, and 470 KiB in itself; two pieces are made ahead of it. That is below
 * 2 MiB; `tests/predastore/stalling_reader_test.ts` tells where it is not.
 */
const unsent_bytes = 5 << 19;

/** The first bytes are read before the answer begins, so that what is lost is an error and no stub. */
export async function getObject(call: S3Call): Promise<Response> {
  const { object, status, headers, range } = prepareRead(call);
  if (status === 304) return new Response(null, { status, headers });
  if (range.from === range.to) return new Response(new Uint8Array(0), { status, headers });
  const memory = reusedAfter(unsent_bytes);
  const pieces = call.store.objects.read(object, range.from, range.to, memory);
  const first = await pieces.next();
  if (first.done === true) return new Response(new Uint8Array(0), { status, headers });
  if (first.value.length === range.to - range.from) {
    await pieces.return(undefined);
    return new Response(first.value, { status, headers });
  }
  let ready: Bytes | undefined = first.value;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        if (ready !== undefined) {
          controller.enqueue(ready);
          ready = undefined;
          return;
        }
        const { value, done } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        // The status is sent already: breaking off is the only honest answer.
        call.log.error("read_failed", { key: call.key, ...errorFields(error) });
        controller.error(error);
      }
    },
    async cancel() {
      await pieces.return(undefined);
    },
  }, { highWaterMark: 0 });
  return new Response(body, { status, headers });
}

/** The headers by which a write tells what was stored. */
export function storedHeaders(bucket: BucketRow, key: string, stored: StoredObject): Headers {
  const headers = new Headers({ etag: quoted(stored.etag) });
  tellExpiry(headers, bucket, { ...stored, key });
  // The null version that a suspended bucket gets is told by reads and copies, not by PUT.
  if (stored.version !== undefined) headers.set("x-amz-version-id", stored.version);
  const { checksum, seal } = stored.meta;
  tellSeal(headers, seal);
  if (checksum !== undefined) {
    headers.set(checksumHeader(checksum.algorithm), checksum.value);
    headers.set("x-amz-checksum-type", checksum.type);
  }
  return headers;
}

export async function putObject(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const condition = writeCondition(call.headers);
  const options = newObject(call, bucket);
  requireDigest(call, options.lock, "Put Object");
  using body = incomingBody(call, { ...options, ...usualChecksum(call) });
  const stored = await call.store.objects.put(bucket, call.key, body, condition);
  return new Response(null, { headers: storedHeaders(bucket, call.key, stored) });
}

/** What goes with an object's data. */
type Given =
  & Pick<ObjectMeta, "headers" | "user" | "tags" | "lock" | "storage_class">
  & { readonly seal?: Seal };

/** What makes a version cannot be about one. @throws AwsError `InvalidArgument` */
export function takesNoVersion({ query }: S3Call): void {
  const version = query.get("versionId");
  if (version === null) return;
  throw invalidArgument("This operation does not accept a version-id.", "versionId", version);
}

/** What a new object gets besides its data: from the headers, and from what its bucket gives. */
export function newObject(
  call: S3Call,
  bucket: BucketRow,
): Given {
  takesNoVersion(call);
  const lock = newLock(call, bucket.settings);
  const seal = sealFor(call);
  return {
    ...objectHeaders(call.headers),
    ...(lock === undefined ? {} : { lock }),
    ...(seal === undefined ? {} : { seal }),
  };
}

/** The object that `x-amz-copy-source` names, its conditions checked. */
export function copySource(call: S3Call): ObjectRow {
  const header = call.headers.get("x-amz-copy-source") ?? "";
  const source = copySourceTarget(header);
  if (source.bucket === "" || source.key === "") {
    throw invalidArgument(
      "Invalid copy source object key",
      "x-amz-copy-source",
      "x-amz-copy-source",
    );
  }
  const object = copied(call, source, sourceVersion(call, source.query));
  checkCopySource(call.headers, object);
  return object;
}

/** The version that the source names. S3 has other words for one that can be none where an object is copied whole. */
function sourceVersion({ query }: S3Call, source: URLSearchParams): string | undefined {
  const version = source.get("versionId");
  if (version === null) return undefined;
  if (version !== "" && !isVersion(version) && !query.has("uploadId")) {
    throw new AwsError("InvalidRequest", "Invalid Request");
  }
  return checkedVersion(version, "x-amz-copy-source");
}

/** What is not there is the source, whatever the request's own bucket and key are called. */
const missing: Readonly<Record<string, (of: { bucket: string; key: string }) => object>> = {
  NoSuchBucket: ({ bucket }) => ({ BucketName: bucket }),
  NoSuchKey: ({ key }) => ({ Key: key }),
  NoSuchVersion: ({ key }) => ({ Key: key }),
};

/** A delete marker cannot be copied, nor what is hidden behind one without its version id. */
function copied(
  call: S3Call,
  source: { readonly bucket: string; readonly key: string },
  version: string | undefined,
): ObjectRow {
  try {
    return meantObject(call, sourceBucket(call, source.bucket), source.key, version);
  } catch (error) {
    if (!(error instanceof AwsError)) throw error;
    const elements = missing[error.code]?.(source);
    if (elements !== undefined) {
      throw new DetailedError(error.code, error.message, {
        status: error.status,
        elements: { ...(error instanceof DetailedError ? error.elements : {}), ...elements },
        headers: error instanceof DetailedError ? error.headers : {},
      });
    }
    if (error.code !== "MethodNotAllowed") throw error;
    throw new AwsError(
      "InvalidRequest",
      "The source of a copy request may not specifically refer to a delete marker by version id.",
    );
  }
}

/** Bytes of an object as a body for another. Dispose of it. */
export function copiedBody(
  call: S3Call,
  source: ObjectRow,
  range: ByteRange,
  given: Given,
  algorithm: Algorithm,
): IncomingBody & Disposable {
  const { seal, ...meta } = given;
  const md5 = new Digest("md5");
  const checksum = startChecksum(algorithm);
  return {
    chunks: call.store.objects.read(source, range.from, range.to),
    digests: [md5, checksum],
    expected_bytes: range.to - range.from,
    ...(seal === undefined ? {} : { seal }),
    async finish() {
      return {
        etag: (await md5.finish()).toHex(),
        meta: {
          ...meta,
          checksum: {
            algorithm,
            type: "FULL_OBJECT",
            value: (await checksum.finish()).toBase64(),
          },
        },
      };
    },
    [Symbol.dispose]() {
      md5[Symbol.dispose]();
      checksum[Symbol.dispose]();
    },
  };
}

/**
 * Headers with which an object may be copied to itself, also when they ask for what it has; it always may
 * where the bucket's encryption was set, which it may be copied for.
 */
const changing = [storageClassHeader, "x-amz-server-side-encryption", redirectHeader];

/** What the directive COPY takes from the source: all but where a website would redirect to. */
function copiedMeta({ meta }: ObjectRow, given: Given): Pick<ObjectMeta, "headers" | "user"> {
  const { [redirectHeader]: _source, ...headers } = meta.headers;
  const redirect = given.headers[redirectHeader];
  return {
    headers: redirect === undefined ? headers : { ...headers, [redirectHeader]: redirect },
    user: meta.user,
  };
}

/** That of the source, which a copy keeps. */
function knownAlgorithm({ meta }: ObjectRow): Algorithm | undefined {
  const name = meta.checksum?.algorithm;
  return name !== undefined && isAlgorithm(name) ? name : undefined;
}

export async function copyObject(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const source = copySource(call);
  if (source.size > largestPut_bytes) {
    throw new AwsError(
      "InvalidRequest",
      "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
    );
  }
  const directive = call.headers.get("x-amz-metadata-directive") ?? "COPY";
  if (directive !== "COPY" && directive !== "REPLACE") {
    throw invalidArgument(
      "Unknown metadata directive.",
      "x-amz-metadata-directive",
      directive,
    );
  }
  const given = newObject(call, bucket);
  const itself = source.bucket === bucket.id && source.key === call.key &&
    call.store.objects.find(bucket, call.key)?.sequence === source.sequence;
  const changes = changing.some((name) => call.headers.has(name)) ||
    bucket.settings.bucket_key !== undefined;
  if (directive === "COPY" && itself && !changes) {
    throw new AwsError(
      "InvalidRequest",
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
  }
  const tagDirective = call.headers.get("x-amz-tagging-directive") ?? "COPY";
  if (tagDirective !== "COPY" && tagDirective !== "REPLACE") {
    throw invalidArgument(
      "Unknown tagging directive.",
      "x-amz-tagging-directive",
      tagDirective,
    );
  }
  const { tags: newTags, ...rest } = given;
  const tags = tagDirective === "COPY" ? source.meta.tags : newTags;
  const algorithm = askedAlgorithm(call.headers) ?? knownAlgorithm(source) ?? defaultAlgorithm;
  using body = copiedBody(
    call,
    source,
    { from: 0, to: source.size },
    {
      ...rest,
      ...(directive === "COPY" ? copiedMeta(source, given) : {}),
      ...(tags === undefined ? {} : { tags }),
    },
    algorithm,
  );
  const condition = writeCondition(call.headers);
  const stored = await call.store.objects.put(bucket, call.key, body, condition, "Copy");
  const headers = storedHeaders(bucket, call.key, stored);
  const version = shownVersion(bucket, stored.version);
  if (version !== undefined) headers.set("x-amz-version-id", version);
  headers.delete("etag");
  for (const name of [...headers.keys()]) {
    if (name.startsWith("x-amz-checksum-")) headers.delete(name);
  }
  tellSource(headers, source);
  return xmlResponse("CopyObjectResult", copyResult(stored), headers);
}

/** The version that was copied, where it has an id. */
export function tellSource(headers: Headers, source: ObjectRow): void {
  if (source.version !== undefined) {
    headers.set("x-amz-copy-source-version-id", source.version);
  }
}

function copyResult(stored: StoredObject) {
  const { checksum } = stored.meta;
  return [
    element("LastModified", new Date(stored.modified_ms).toISOString()),
    element("ETag", quoted(stored.etag)),
    checksum && element(`Checksum${checksum.algorithm}`, checksum.value),
    checksum && element("ChecksumType", checksum.type),
  ];
}

/** Conditions on deletes that S3 has for directory buckets only: one that is not looked at must not be ignored. */
const unservedConditions = ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"];
/** The same where many are deleted. */
const unservedElements = ["LastModifiedTime", "Size"];

export async function deleteObject(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  for (const name of unservedConditions) if (call.headers.has(name)) throw notImplemented(name);
  const version = askedVersion(call.query);
  checkBypass(call.headers, bucket);
  const bypass = await bypasses(call);
  const gone = await deleteOne(
    call,
    bucket,
    call.key,
    version,
    call.headers.get("if-match"),
    bypass,
  );
  const headers = new Headers();
  if (gone.marker) headers.set("x-amz-delete-marker", "true");
  if (gone.version !== undefined) headers.set("x-amz-version-id", gone.version);
  return new Response(null, { status: 204, headers });
}

/** @returns whether a delete marker was made or removed, and the version that was */
async function deleteOne(
  call: S3Call,
  bucket: BucketRow,
  key: string,
  version: string | undefined,
  ifMatch: string | null,
  bypass: boolean,
): Promise<{ readonly marker: boolean; readonly version?: string }> {
  const condition = deleteCondition(ifMatch);
  if (version === undefined) {
    const { marker } = await call.store.objects.delete(bucket, key, condition);
    return marker === undefined ? { marker: false } : { marker: true, version: marker };
  }
  const { marker } = await call.store.objects.deleteVersion(bucket, key, version, (found) => {
    condition?.(found);
    checkLock(found, bypass);
  });
  return { marker, version };
}

const deletedAtOnce = 1000;

/** In a list, what can be no version id is one that is not there. */
function listedVersion(version: string): string {
  try {
    return checkedVersion(version);
  } catch {
    throw noSuchVersion(version);
  }
}

export async function deleteObjects(call: S3Call): Promise<Response> {
  const bucket = bucketOfMany(call);
  checkBypass(call.headers, bucket);
  if (
    !call.headers.has("content-md5") &&
    ![...call.headers.keys()].some((name) => name.startsWith("x-amz-checksum-")) &&
    !call.headers.has("x-amz-trailer")
  ) {
    throw new AwsError(
      "InvalidRequest",
      "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    );
  }
  const root = parseXml(await readDocument(call), "Delete");
  const wanted = children(root, "Object");
  if (wanted.length === 0 || wanted.length > deletedAtOnce) throw malformedXml();
  const quiet = text(root, "Quiet") === "true";
  const objects = wanted.map((one) => {
    if (typeof one !== "object" || one === null) throw malformedXml();
    const node = one as XmlNode;
    const key = text(node, "Key");
    if (key === undefined || key === "") throw malformedXml();
    return {
      key,
      version: text(node, "VersionId"),
      etag: text(node, "ETag"),
      unserved: unservedElements.find((name) => node[name] !== undefined),
    };
  });
  const answers = await Promise.all(objects.map(async ({ key, version, etag, unserved }) => {
    try {
      checkKey(key);
      if (unserved !== undefined) throw notImplemented(unserved);
      const asked = version === undefined ? undefined : listedVersion(version);
      const resource = objectArn(bucket.name, key);
      const action = asked === undefined ? "s3:DeleteObject" : "s3:DeleteObjectVersion";
      if (!await mayIn(call, bucket, { action, resource })) throw accessDenied();
      const bypass = await bypasses(call, key);
      const gone = await deleteOne(call, bucket, key, asked, etag ?? null, bypass);
      if (quiet) return undefined;
      return element("Deleted", [
        element("Key", key),
        asked === undefined ? undefined : element("VersionId", asked),
        gone.marker ? element("DeleteMarker", true) : undefined,
        gone.marker ? element("DeleteMarkerVersionId", gone.version) : undefined,
      ]);
    } catch (error) {
      const known = error instanceof AwsError
        ? error
        : new AwsError("InternalError", "We encountered an internal error. Please try again.");
      if (known !== error) call.log.error("delete_failed", { key, ...errorFields(error) });
      return element("Error", [
        element("Key", key),
        version === undefined ? undefined : element("VersionId", version),
        element("Code", known.code),
        element("Message", known.message),
      ]);
    }
  }));
  return xmlResponse("DeleteResult", answers);
}
