/** Multipart uploads: create, upload and copy parts, list them, complete, abort. */
import { createHash } from "node:crypto";
import { AwsError } from "../../aws/errors.ts";
import type { BucketRow, ChecksumMeta, ObjectRow, PartRow, UploadRow } from "../index/rows.ts";
import type { Precondition } from "../objects/objects.ts";
import { sequenceOfUpload } from "../objects/uploads.ts";
import { type BodyOptions, incomingBody, readDocument, usualChecksum } from "./body.ts";
import { owner, quoted } from "./answer_parts.ts";
import { DetailedError, invalidArgument, ownBucket, type S3Call, wholeNumber } from "./call.ts";
import {
  type Algorithm,
  askedAlgorithm,
  badDigest,
  checksumHeader,
  claimedChecksum,
  combineChecksums,
  defaultAlgorithm,
  isAlgorithm,
} from "./checksums.ts";
import { checksumElements, checksumKind, checksumValue, typeHeader } from "./checksum_answers.ts";
import { writeCondition } from "./conditions.ts";
import { tellSeal } from "./encryption.ts";
import { tellAbortion, tellExpiry } from "./expiration.ts";
import { copiedBody, copySource, tellSource } from "./copy_source.ts";
import { newObject, takesNoVersion } from "./put_object.ts";
import { locationOf } from "./location.ts";
import { refuseUnserved } from "./object_headers.ts";
import type { ByteRange } from "./ranges.ts";
import { requireDigest } from "./object_lock.ts";
import { shownClass } from "./storage_class.ts";
import { shownVersion } from "./version_ids.ts";
import {
  children,
  element,
  malformedXml,
  parseXml,
  text,
  type XmlNode,
  xmlResponse,
} from "./xml.ts";

const mostParts = 10_000;
const leastPart_bytes = 5 << 20;

function knownType(asked: string | null): ChecksumMeta["type"] | undefined {
  if (asked === null || asked === "FULL_OBJECT" || asked === "COMPOSITE") return asked ?? undefined;
  throw new AwsError("InvalidRequest", `Value for ${typeHeader} header is invalid.`);
}

/** How the whole object's checksum is made, when the client does not say. */
function checksumType(algorithm: Algorithm, asked: string | null): ChecksumMeta["type"] {
  const type = knownType(asked) ?? (algorithm === "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE");
  const sha = algorithm === "SHA1" || algorithm === "SHA256";
  if ((type === "FULL_OBJECT" && sha) || (type === "COMPOSITE" && algorithm === "CRC64NVME")) {
    throw new AwsError(
      "InvalidRequest",
      `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    );
  }
  return type;
}

export async function createMultipartUpload(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const algorithm = askedAlgorithm(call.headers);
  const checksum = algorithm === undefined ? undefined : {
    algorithm,
    type: checksumType(algorithm, call.headers.get(typeHeader)),
  };
  if (checksum === undefined && knownType(call.headers.get(typeHeader)) !== undefined) {
    throw new AwsError(
      "InvalidRequest",
      `The ${typeHeader} header can only be used with the x-amz-checksum-algorithm header.`,
    );
  }
  const meta = newObject(call, bucket);
  const upload = await call.store.uploads.create(bucket, call.key, meta, checksum);
  const headers = new Headers();
  tellAbortion(headers, bucket, upload);
  tellSeal(headers, meta.seal);
  if (checksum !== undefined) {
    headers.set("x-amz-checksum-algorithm", checksum.algorithm);
    headers.set(typeHeader, checksum.type);
  }
  return xmlResponse(
    "InitiateMultipartUploadResult",
    [
      element("Bucket", bucket.name),
      element("Key", call.key),
      element("UploadId", upload.id),
    ],
    headers,
  );
}

function uploadOf(call: S3Call): UploadRow {
  const id = call.query.get("uploadId") ?? "";
  if (id === "" && call.query.has("partNumber")) {
    throw invalidArgument(
      "This operation does not accept partNumber without uploadId",
      "partNumber",
      call.query.get("partNumber") ?? "",
    );
  }
  try {
    return call.store.uploads.find(ownBucket(call), call.key, id);
  } catch (error) {
    if (!(error instanceof AwsError) || error.code !== "NoSuchUpload") throw error;
    throw new DetailedError(error.code, error.message, {
      status: error.status,
      elements: { UploadId: id },
    });
  }
}

function partNumber(call: S3Call): number {
  const text = call.query.get("partNumber") ?? "";
  const number = Number(text);
  if (!/^\d{1,5}$/.test(text) || number < 1 || number > mostParts) {
    throw invalidArgument(
      `Part number must be an integer between 1 and ${mostParts}, inclusive`,
      "partNumber",
      call.query.get("partNumber") ?? "",
    );
  }
  return number;
}

/** What parts are summed by when they bring no checksum. */
function algorithmOf({ checksum }: UploadRow): Algorithm {
  const begun = checksum?.algorithm;
  return begun !== undefined && isAlgorithm(begun) ? begun : defaultAlgorithm;
}

/**
 * A part's checksum is of the kind that its upload was begun with, and is there where that of the whole is made of
 * the parts' own. @throws AwsError `InvalidRequest`
 */
function checkKind(upload: UploadRow, headers: Headers): void {
  const { algorithm: begun, type } = upload.checksum ?? {};
  const claimed = claimedChecksum(headers)?.algorithm;
  if (begun === undefined || begun === claimed) return;
  if (claimed === undefined && type === "FULL_OBJECT") return;
  throw new AwsError(
    "InvalidRequest",
    `Checksum Type mismatch occurred, expected checksum Type: ${begun.toLowerCase()}, actual checksum Type: ${
      claimed?.toLowerCase() ?? "null"
    }`,
  );
}

/** A part may bring any checksum where its upload named none: the object's is made of the default's. */
function usualPart(call: S3Call): Pick<BodyOptions, "checksum" | "whole"> {
  const { checksum } = usualChecksum(call);
  return checksum === undefined ? {} : { checksum, whole: checksum };
}

export async function uploadPart(call: S3Call): Promise<Response> {
  takesNoVersion(call);
  const upload = uploadOf(call);
  const number = partNumber(call);
  refuseUnserved(call.headers);
  checkKind(upload, call.headers);
  requireDigest(call, upload.meta.lock, "Put Part");
  using body = incomingBody(call, {
    headers: {},
    user: {},
    seal: upload.meta.seal,
    ...(upload.checksum === undefined ? usualPart(call) : { checksum: algorithmOf(upload) }),
  });
  const bucket = ownBucket(call);
  const stored = await call.store.uploads.putPart(bucket, upload, number, body);
  const headers = new Headers({ etag: quoted(stored.etag) });
  tellSeal(headers, upload.meta.seal);
  const { checksum } = stored.meta;
  const asked = upload.checksum !== undefined || claimedChecksum(call.headers) !== undefined;
  if (asked && checksum !== undefined) {
    headers.set(checksumHeader(checksum.algorithm), checksum.value);
  }
  return new Response(null, { headers });
}

export async function uploadPartCopy(call: S3Call): Promise<Response> {
  const upload = uploadOf(call);
  const number = partNumber(call);
  refuseUnserved(call.headers);
  const source = copySource(call);
  const header = call.headers.get("x-amz-copy-source-range");
  let range = { from: 0, to: source.size };
  if (header !== null) {
    range = copiedRange(header, source.size);
  }
  using body = copiedBody(
    call,
    source,
    range,
    {
      headers: {},
      user: {},
      ...(upload.meta.seal === undefined ? {} : { seal: upload.meta.seal }),
    },
    algorithmOf(upload),
  );
  const stored = await call.store.uploads.putPart(ownBucket(call), upload, number, body);
  const headers = new Headers();
  tellSource(headers, source);
  tellSeal(headers, upload.meta.seal);
  const { checksum } = stored.meta;
  return xmlResponse("CopyPartResult", [
    element("LastModified", new Date(stored.modified_ms).toISOString()),
    element("ETag", quoted(stored.etag)),
    upload.checksum && checksumValue(checksum),
  ], headers);
}

/** @throws AwsError `InvalidArgument`, `InvalidRequest` for what is not within the source */
function copiedRange(header: string, size: number): ByteRange {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  const [from, last] = [Number(match?.[1]), Number(match?.[2])];
  const name = "x-amz-copy-source-range";
  if (match === null || from > last) {
    throw invalidArgument(
      `The ${name} value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy`,
      name,
      header,
    );
  }
  if (from >= size) {
    throw new AwsError(
      "InvalidRequest",
      "The specified copy range is invalid for the source object size",
    );
  }
  if (last >= size) {
    throw invalidArgument(
      `Range specified is not valid for source object of size: ${size}`,
      name,
      header,
    );
  }
  return { from, to: last + 1 };
}

interface ChosenPart {
  readonly number: number;
  readonly etag: string;
  readonly checksums: ReadonlyMap<Algorithm, string>;
}

function chosenParts(document: string, upload_id: string): ChosenPart[] {
  if (document === "") {
    throw new AwsError("InvalidRequest", "You must specify at least one part");
  }
  const root = parseXml(document, "CompleteMultipartUpload");
  const parts = children(root, "Part").map((one): ChosenPart => {
    if (typeof one !== "object" || one === null) throw malformedXml();
    const node = one as XmlNode;
    const number = Number(text(node, "PartNumber"));
    const etag = text(node, "ETag")?.replace(/^"(.*)"$/, "$1");
    if (!Number.isInteger(number) || etag === undefined) throw malformedXml();
    if (number < 1) {
      throw invalidArgument("PartNumber must be >= 1", "PartNumber", String(number));
    }
    const checksums = new Map<Algorithm, string>();
    for (const name of Object.keys(node)) {
      const algorithm = name.replace(/^Checksum/, "");
      if (name !== algorithm && isAlgorithm(algorithm)) {
        checksums.set(algorithm, text(node, name) ?? "");
      }
    }
    return { number, etag, checksums };
  });
  if (parts.length === 0 || parts.length > mostParts) throw malformedXml();
  for (const [at, part] of parts.entries()) {
    if (at > 0 && part.number <= (parts[at - 1]?.number ?? 0)) {
      throw new DetailedError(
        "InvalidPartOrder",
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
        { elements: { UploadId: upload_id } },
      );
    }
  }
  return parts;
}

const invalidPart = (upload: UploadRow, part: { readonly number: number; readonly etag: string }) =>
  new DetailedError(
    "InvalidPart",
    "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    { elements: { UploadId: upload.id, PartNumber: String(part.number), ETag: part.etag } },
  );

function matchParts(
  upload: UploadRow,
  chosen: readonly ChosenPart[],
  stored: readonly PartRow[],
): PartRow[] {
  const byNumber = new Map(stored.map((part) => [part.number, part]));
  const parts = chosen.map((wanted) => {
    const part = byNumber.get(wanted.number);
    if (part === undefined || part.etag !== wanted.etag) throw invalidPart(upload, wanted);
    const { algorithm: begun, type } = upload.checksum ?? {};
    if (type === "COMPOSITE" && !wanted.checksums.has(begun as Algorithm)) {
      throw new AwsError(
        "InvalidRequest",
        `The upload was created using a ${begun?.toLowerCase()} checksum. The complete request must include the checksum for each part. It was missing for part ${wanted.number} in the request.`,
      );
    }
    for (const [algorithm, value] of wanted.checksums) {
      if (part.checksum?.algorithm !== algorithm || part.checksum.value !== value) {
        throw invalidPart(upload, wanted);
      }
    }
    return part;
  });
  for (const part of parts.slice(0, -1)) {
    if (part.size < leastPart_bytes) {
      throw new DetailedError(
        "EntityTooSmall",
        "Your proposed upload is smaller than the minimum allowed size",
        {
          elements: {
            ProposedSize: String(part.size),
            MinSizeAllowed: String(leastPart_bytes),
            PartNumber: String(part.number),
            ETag: part.etag,
          },
        },
      );
    }
  }
  return parts;
}

/** MD5 of the parts' MD5s, with their number. */
export function multipartEtag(parts: readonly { readonly etag: string }[]): string {
  const hash = createHash("md5");
  for (const part of parts) hash.update(Uint8Array.fromHex(part.etag));
  return `${hash.digest("hex")}-${parts.length}`;
}

const conflict = (condition: string) =>
  new DetailedError(
    "ConditionalRequestConflict",
    "The conditional request cannot succeed due to a conflicting operation against this resource.",
    { status: 409, elements: { Condition: condition } },
  );

/** A condition that was made true only after the upload began is a conflict: somebody else was at work. */
function completeCondition(call: S3Call, bucket: BucketRow, upload: UploadRow): Precondition {
  const condition = writeCondition(call.headers);
  const begun = sequenceOfUpload(upload.id);
  return (current) => {
    condition(current);
    if (current !== undefined && call.headers.has("if-match") && current.sequence > begun) {
      throw conflict("If-Match");
    }
    if (!call.headers.has("if-none-match")) return;
    const marker = call.store.objects.latest(bucket, upload.key);
    if (
      (marker !== undefined && marker.sequence > begun) ||
      call.store.objects.deletions.isDeletedSince(bucket.id, upload.key, begun)
    ) throw conflict("If-None-Match");
  };
}

export async function completeMultipartUpload(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const chosen = chosenParts(
    await readDocument({ ...call, headers: withoutChecksum(call.headers) }),
    call.query.get("uploadId") ?? "",
  );
  const before = completedBefore(call, bucket, chosen);
  if (before !== undefined) return completed(call, bucket, before);
  const upload = uploadOf(call);
  const type = knownType(call.headers.get(typeHeader));
  if (type !== undefined && type !== (upload.checksum?.type ?? "FULL_OBJECT")) {
    throw new AwsError(
      "InvalidRequest",
      `The upload was created using the ${
        upload.checksum?.type ?? "FULL_OBJECT"
      } checksum mode. The complete request must use the same checksum mode.`,
    );
  }
  const stored = await call.store.uploads.complete(bucket, upload, (all) => {
    const parts = matchParts(upload, chosen, all);
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    const claimedSize = call.headers.get("x-amz-mp-object-size");
    if (claimedSize !== null && Number(claimedSize) !== size) {
      throw new AwsError(
        "InvalidRequest",
        `The provided 'x-amz-mp-object-size' header value ${claimedSize} does not match what was computed: ${size}`,
      );
    }
    const checksum = wholeChecksum(call, upload, parts);
    return {
      parts,
      etag: multipartEtag(parts),
      meta: {
        ...upload.meta,
        upload: upload.id,
        ...(checksum === undefined ? {} : { checksum }),
        // What was computed unasked is told of the whole only.
        ...(checksum === undefined || upload.checksum === undefined ? {} : {
          part_checksums: parts.map((part) => part.checksum?.value ?? ""),
        }),
      },
    };
  }, completeCondition(call, bucket, upload));
  return completed(call, bucket, stored);
}

/** The object that the same upload made of the same parts: who did not hear the answer asks again. */
function completedBefore(
  call: S3Call,
  bucket: BucketRow,
  chosen: readonly ChosenPart[],
): ObjectRow | undefined {
  const object = call.store.objects.find(bucket, call.key);
  const upload = call.query.get("uploadId");
  if (object === undefined || upload === null || object.meta.upload !== upload) return undefined;
  if (!chosen.every(({ etag }) => /^[0-9a-f]{32}$/.test(etag))) return undefined;
  return object.etag === multipartEtag(chosen) ? object : undefined;
}

function completed(
  call: S3Call,
  bucket: BucketRow,
  stored: Pick<ObjectRow, "etag" | "size" | "modified_ms" | "meta" | "version">,
): Response {
  const { checksum, seal } = stored.meta;
  const headers = new Headers();
  const version = shownVersion(bucket, stored.version);
  if (version !== undefined) headers.set("x-amz-version-id", version);
  tellSeal(headers, seal);
  tellExpiry(headers, bucket, { ...stored, key: call.key });
  return xmlResponse("CompleteMultipartUploadResult", [
    element("Location", locationOf(call, call.key)),
    element("Bucket", bucket.name),
    element("Key", call.key),
    element("ETag", quoted(stored.etag)),
    checksumElements(checksum),
  ], headers);
}

/** Here the checksum headers are about the object and not about this request's body. */
function withoutChecksum(headers: Headers): Headers {
  const made = new Headers(headers);
  for (const name of [...made.keys()]) {
    if (/^x-amz-(checksum-|trailer$|sdk-checksum)/.test(name)) made.delete(name);
  }
  return made;
}

function wholeChecksum(
  call: S3Call,
  upload: UploadRow,
  parts: readonly PartRow[],
): ChecksumMeta | undefined {
  const algorithm = algorithmOf(upload);
  const valueOf = ({ checksum }: PartRow) =>
    checksum?.algorithm === algorithm ? checksum.value : checksum?.whole;
  // The system's own parts have none, nor have those of before there was a default.
  if (upload.checksum === undefined && parts.some((part) => valueOf(part) === undefined)) {
    return undefined;
  }
  const checksum = combineChecksums(
    algorithm,
    upload.checksum?.type ?? "FULL_OBJECT",
    parts.map((part) => {
      const value = valueOf(part);
      if (value === undefined) throw invalidPart(upload, part);
      return { value, size: part.size };
    }),
  );
  const claimed = call.headers.get(checksumHeader(algorithm));
  if (claimed !== null && claimed.replace(/-\d+$/, "") !== checksum.value.replace(/-\d+$/, "")) {
    throw badDigest(algorithm);
  }
  return checksum;
}

export async function abortMultipartUpload(call: S3Call): Promise<Response> {
  await call.store.uploads.abort(ownBucket(call), uploadOf(call));
  return new Response(null, { status: 204 });
}

export function listParts(call: S3Call): Response {
  const bucket = ownBucket(call);
  const upload = uploadOf(call);
  const limit = Math.min(1000, wholeNumber(call, "max-parts", 0, 2 ** 31 - 1) ?? 1000);
  const marker = wholeNumber(call, "part-number-marker", 0, 2 ** 31 - 1) ?? 0;
  const rows = call.store.index.uploads.parts(upload.id, marker, limit + 1);
  const parts = rows.slice(0, limit);
  const headers = new Headers();
  tellAbortion(headers, bucket, upload);
  return xmlResponse("ListPartsResult", [
    element("Bucket", bucket.name),
    element("Key", call.key),
    element("UploadId", upload.id),
    element("PartNumberMarker", marker),
    element("NextPartNumberMarker", parts.at(-1)?.number ?? 0),
    element("MaxParts", limit),
    element("IsTruncated", rows.length > limit && limit > 0),
    parts.map((part) =>
      element("Part", [
        element("PartNumber", part.number),
        element("LastModified", new Date(part.modified_ms).toISOString()),
        element("ETag", quoted(part.etag)),
        element("Size", part.size),
        // As S3 does, nothing is told where the upload named no algorithm, whatever its parts brought.
        upload.checksum && checksumValue(part.checksum),
      ])
    ),
    element("Initiator", [
      element("ID", bucket.account_id.padStart(64, "0")),
      element("DisplayName", bucket.account_id),
    ]),
    owner(bucket.account_id),
    element("StorageClass", shownClass(upload.meta.storage_class)),
    checksumKind(upload.checksum),
  ], headers);
}
