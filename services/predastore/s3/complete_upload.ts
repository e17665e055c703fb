/** An upload made an object: the parts that the client chose, checked against those stored. */
import { createHash } from "node:crypto";
import { AwsError } from "../../aws/errors.ts";
import type { BucketRow, ChecksumMeta, ObjectRow, PartRow, UploadRow } from "../index/rows.ts";
import type { Precondition } from "../objects/objects.ts";
import { sequenceOfUpload } from "../objects/uploads.ts";
import { quoted } from "./answer_parts.ts";
import { readDocument } from "./body.ts";
import { DetailedError, invalidArgument, ownBucket, type S3Call } from "./call.ts";
import {
  type Algorithm,
  badDigest,
  combineChecksums,
  headerChecksum,
  invalidChecksum,
  isAlgorithm,
  isLater,
  isWellFormed,
} from "./checksums.ts";
import { checksumElements, typeHeader } from "./checksum_answers.ts";
import { writeCondition } from "./conditions.ts";
import { refuseSource } from "./copy_source.ts";
import { checkPartKey, namesKey, tellSeal } from "./customer_keys.ts";
import { tellExpiry } from "./expiration.ts";
import { locationOf } from "./location.ts";
import { algorithmOf, knownType, otherKind, uploadOf } from "./multipart.ts";
import { mostParts } from "./part_number.ts";
import { keptChecksum, openedParts, toldChecksum } from "./sealed_checksums.ts";
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

const leastPart_bytes = 5 << 20;

interface ChosenPart {
  readonly number: number;
  readonly etag: string;
  readonly checksum: { readonly name: Algorithm; readonly value: string } | undefined;
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
    return { number, etag, checksum: chosenChecksum(node) };
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

/** The checksum that a chosen part is told to have. @throws AwsError `InvalidArgument` */
function chosenChecksum(part: XmlNode): ChosenPart["checksum"] {
  const found: { name: Algorithm; value: string }[] = [];
  for (const element of Object.keys(part)) {
    const name = element.replace(/^Checksum/, "");
    if (name !== element && isAlgorithm(name)) {
      found.push({ name, value: text(part, element) ?? "" });
    }
  }
  const [only, ...more] = found;
  if (only === undefined) return undefined;
  if (more.length === 0 && isWellFormed(only.name, only.value)) return only;
  throw invalidArgument(
    "Invalid Base64 or multiple checksums present in request",
    "Checksum",
    found.map(({ name, value }) => `${name}:${value};`).sort().join(""),
  );
}

const invalidPart = (upload: UploadRow, part: { readonly number: number; readonly etag: string }) =>
  new DetailedError(
    "InvalidPart",
    "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    { elements: { UploadId: upload.id, PartNumber: String(part.number), ETag: part.etag } },
  );

/** Whether a part was stored with that checksum. Later kinds are kept only where the upload named theirs. */
const hasChecksum = (
  upload: UploadRow,
  { checksum }: PartRow,
  { name, value }: NonNullable<ChosenPart["checksum"]>,
) =>
  (upload.checksum !== undefined || !isLater(name)) && checksum?.algorithm === name &&
  checksum.value === value;

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
    const { checksum } = wanted;
    if (checksum === undefined && type === "COMPOSITE") {
      throw new AwsError(
        "InvalidRequest",
        `The upload was created using a ${begun?.toLowerCase()} checksum. The complete request must include the checksum for each part. It was missing for part ${wanted.number} in the request.`,
      );
    }
    if (checksum !== undefined && begun !== undefined && checksum.name !== begun) {
      throw new AwsError(
        "BadDigest",
        `The ${checksum.name.toLowerCase()} you specified for part ${wanted.number} did not match what we received.`,
      );
    }
    if (checksum !== undefined && !hasChecksum(upload, part, checksum)) {
      throw invalidPart(upload, wanted);
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
function multipartEtag(parts: readonly { readonly etag: string }[]): string {
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
  refuseSource(call);
  const chosen = chosenParts(
    await readDocument({ ...call, headers: withoutChecksum(call.headers) }),
    call.query.get("uploadId") ?? "",
  );
  const before = completedBefore(call, bucket, chosen);
  if (before !== undefined) return completed(call, bucket, before);
  const upload = uploadOf(call);
  // A key is needed for checksums alone; one that comes along has to be the parts'.
  if (namesKey(call.headers)) checkPartKey(call.headers, upload.meta.seal);
  const claimed = claimedWhole(call.headers, upload);
  const claimedSize = sizeOfWhole(call.headers);
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
    const compared = chosen.some((part) => part.checksum !== undefined);
    const opened = openedParts(call.headers, upload, all, compared);
    const parts = matchParts(upload, chosen, opened);
    const kept = new Map(all.map((part) => [part.number, part.checksum?.value ?? ""]));
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    if (claimedSize !== undefined && claimedSize !== size) {
      throw new AwsError(
        "InvalidRequest",
        `The provided 'x-amz-mp-object-size' header value ${claimedSize} does not match what was computed: ${size}`,
      );
    }
    const checksum = wholeChecksum(upload, parts);
    if (claimed !== undefined && upload.checksum !== undefined && claimed !== checksum?.value) {
      throw badDigest(algorithmOf(upload));
    }
    return {
      parts,
      etag: multipartEtag(parts),
      meta: {
        ...upload.meta,
        upload: upload.id,
        ...(checksum === undefined ? {} : {
          checksum: keptChecksum(call.headers, upload.meta.seal, checksum),
        }),
        // What was computed unasked is told of the whole only.
        ...(checksum === undefined || upload.checksum === undefined ? {} : {
          part_checksums: parts.map((part) => kept.get(part.number) ?? ""),
        }),
      },
    };
  }, completeCondition(call, bucket, upload)).catch((error) => {
    // Who asks again does so also while the first is still answered.
    const meanwhile = isNoSuchUpload(error) ? completedBefore(call, bucket, chosen) : undefined;
    if (meanwhile === undefined) throw error;
    return meanwhile;
  });
  return completed(call, bucket, stored);
}

const isNoSuchUpload = (error: unknown) =>
  error instanceof AwsError && error.code === "NoSuchUpload";

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
  const { seal } = stored.meta;
  const checksum = toldChecksum(call.headers, seal, stored.meta.checksum);
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

/**
 * The checksum that the client says the object has: of one made of the parts' own, with their number. Where the
 * upload named no algorithm it is compared with nothing, as at S3. @throws AwsError `InvalidRequest`
 */
function claimedWhole(headers: Headers, { checksum }: UploadRow): string | undefined {
  const claimed = headerChecksum(headers);
  if (claimed === undefined) return undefined;
  const { name, value } = claimed;
  if (!isWellFormed(name, value.replace(/-\d+$/, ""))) throw invalidChecksum(name);
  if (checksum === undefined ? isLater(name) : name !== checksum.algorithm) {
    throw otherKind(checksum?.algorithm, name);
  }
  return value;
}

/** @throws AwsError `InvalidRequest` */
function sizeOfWhole(headers: Headers): number | undefined {
  const value = headers.get("x-amz-mp-object-size");
  if (value === null) return undefined;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw new AwsError(
    "InvalidRequest",
    `Value for x-amz-mp-object-size header is ${
      /^-\d+$/.test(value) ? "less than zero" : "invalid"
    }: '${value}'`,
  );
}

function wholeChecksum(
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
  return combineChecksums(
    algorithm,
    upload.checksum?.type ?? "FULL_OBJECT",
    parts.map((part) => {
      const value = valueOf(part);
      if (value === undefined) throw invalidPart(upload, part);
      return { value, size: part.size };
    }),
  );
}
