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
  checksumHeader,
  combineChecksums,
  isAlgorithm,
} from "./checksums.ts";
import { checksumElements, typeHeader } from "./checksum_answers.ts";
import { writeCondition } from "./conditions.ts";
import { tellSeal } from "./encryption.ts";
import { tellExpiry } from "./expiration.ts";
import { locationOf } from "./location.ts";
import { algorithmOf, knownType, mostParts, uploadOf } from "./multipart.ts";
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
