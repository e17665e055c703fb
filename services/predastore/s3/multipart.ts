/** Multipart uploads: begun, found again, listed and given up. */
import { AwsError } from "../../aws/errors.ts";
import type { ChecksumMeta, UploadRow } from "../index/rows.ts";
import { documentDate, initiator, owner, quoted } from "./answer_parts.ts";
import { DetailedError, invalidArgument, ownBucket, type S3Call, wholeNumber } from "./call.ts";
import {
  type Algorithm,
  askedAlgorithm,
  defaultAlgorithm,
  isAlgorithm,
  typesOf,
} from "./checksums.ts";
import { checksumKind, checksumValue, typeHeader } from "./checksum_answers.ts";
import { checkPartKey, namesKey, tellSeal } from "./customer_keys.ts";
import { tellAbortion } from "./expiration.ts";
import { newObject } from "./put_object.ts";
import { checksumsTold } from "./sealed_checksums.ts";
import { shownClass } from "./storage_class.ts";
import { element, xmlResponse } from "./xml.ts";

export function knownType(asked: string | null): ChecksumMeta["type"] | undefined {
  const type = asked?.toUpperCase();
  if (type === undefined || type === "FULL_OBJECT" || type === "COMPOSITE") return type;
  throw new AwsError("InvalidRequest", `Value for ${typeHeader} header is invalid.`);
}

/** How the whole object's checksum is made, when the client does not say. */
function checksumType(algorithm: Algorithm, asked: string | null): ChecksumMeta["type"] {
  const types = typesOf(algorithm);
  const type = knownType(asked) ?? types[0];
  if (type !== undefined && types.includes(type)) return type;
  throw new AwsError(
    "InvalidRequest",
    `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
  );
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
  tellSeal(headers, meta.seal, call.headers);
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

export function uploadOf(call: S3Call): UploadRow {
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

/** For a checksum of another kind than that which the upload was begun with. */
export const otherKind = (begun: string | undefined, given: string | undefined) =>
  new AwsError(
    "InvalidRequest",
    `Checksum Type mismatch occurred, expected checksum Type: ${
      begun?.toLowerCase() ?? "null"
    }, actual checksum Type: ${given?.toLowerCase() ?? "null"}`,
  );

/** What parts are summed by when they bring no checksum. */
export function algorithmOf({ checksum }: UploadRow): Algorithm {
  const begun = checksum?.algorithm;
  return begun !== undefined && isAlgorithm(begun) ? begun : defaultAlgorithm;
}

export async function abortMultipartUpload(call: S3Call): Promise<Response> {
  await call.store.uploads.abort(ownBucket(call), uploadOf(call));
  return new Response(null, { status: 204 });
}

export function listParts(call: S3Call): Response {
  const bucket = ownBucket(call);
  const upload = uploadOf(call);
  // Without their key nothing is told of parts that would tell of their content.
  if (namesKey(call.headers)) checkPartKey(call.headers, upload.meta.seal);
  const told = checksumsTold(call.headers, upload.meta.seal);
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
        element("LastModified", documentDate(part.modified_ms)),
        element("ETag", quoted(part.etag)),
        element("Size", part.size),
        // As S3 does, nothing is told where the upload named no algorithm, whatever its parts brought.
        upload.checksum &&
        checksumValue(told(part.checksum)),
      ])
    ),
    initiator(bucket.account_id),
    owner(bucket.account_id),
    element("StorageClass", shownClass(upload.meta.storage_class)),
    checksumKind(upload.checksum),
  ], headers);
}
