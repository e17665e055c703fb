/** GetObjectAttributes: what is known of an object, as its asker lists it. */
import { AwsError } from "../../aws/errors.ts";
import { invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { httpDate } from "./answer_parts.ts";
import { checksumElements, checksumValue } from "./checksum_answers.ts";
import { readsSealed } from "./encryption.ts";
import { checksumsTold } from "./sealed_checksums.ts";
import { shownClass } from "./storage_class.ts";
import { askedVersion, meantObject, shownVersion } from "./version_ids.ts";
import { element, xmlResponse } from "./xml.ts";

const known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
const mostParts = 1000;

function numberOf(header: string | null, name: string): number | undefined {
  if (header === null) return undefined;
  if (!/^\d{1,10}$/.test(header)) {
    throw invalidArgument(`Provided ${name} not an integer or within integer range`);
  }
  return Number(header);
}

/**
 * The names of what is asked for: commas at the end are none, and between two there is an empty name.
 * @throws AwsError `InvalidArgument`, `InvalidRequest` where nothing is asked for
 */
function askedAttributes({ headers }: S3Call): readonly string[] {
  const header = headers.get("x-amz-object-attributes");
  const names = header === null || /^,*$/.test(header)
    ? []
    : header.replace(/,+$/, "").split(",").map((one) => one.trim());
  const unknown = names.find((one) => !known.includes(one));
  if (unknown !== undefined) {
    throw invalidArgument("Invalid attribute name specified.", "x-amz-object-attributes", unknown);
  }
  if (names.length > 0) return names;
  throw new AwsError(
    "InvalidRequest",
    "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
  );
}

export function getObjectAttributes(call: S3Call): Response {
  const bucket = ownBucket(call);
  const asked = askedAttributes(call);
  const object = meantObject(call, bucket, call.key, askedVersion(call.query));
  readsSealed(call.headers, object.meta.seal);
  const { parts, part_checksums, seal } = object.meta;
  const told = checksumsTold(call.headers, seal);
  const checksum = told(object.meta.checksum);
  const limit = numberOf(call.headers.get("x-amz-max-parts"), "max-parts") ?? mostParts;
  const marker = numberOf(call.headers.get("x-amz-part-number-marker"), "part-number-marker") ?? 0;
  const shown = parts?.slice(marker, marker + Math.min(limit, mostParts)) ?? [];
  // As S3 does, nothing but their number is told of parts where the upload had no checksums.
  const sums = part_checksums;
  const wants = (name: string) => asked.includes(name);
  const version = shownVersion(bucket, object.version);
  return xmlResponse("GetObjectAttributesResponse", [
    wants("ETag") ? element("ETag", object.etag) : undefined,
    wants("Checksum") && checksum !== undefined
      ? element("Checksum", [
        // Of how many parts one is made, ObjectParts tells.
        checksumElements({ ...checksum, value: checksum.value.replace(/-\d+$/, "") }),
      ])
      : undefined,
    wants("ObjectParts") && parts !== undefined
      ? element("ObjectParts", [
        element("PartsCount", parts.length),
        sums && [
          element("PartNumberMarker", marker),
          element("NextPartNumberMarker", shown.length === 0 ? 0 : marker + shown.length),
          element("MaxParts", limit),
          element("IsTruncated", limit > 0 && marker + shown.length < parts.length),
          shown.map((size, at) =>
            element("Part", [
              element("PartNumber", marker + at + 1),
              element("Size", size),
              checksum && checksumValue(told({ ...checksum, value: sums[marker + at] ?? "" })),
            ])
          ),
        ],
      ])
      : undefined,
    wants("StorageClass")
      ? element("StorageClass", shownClass(object.meta.storage_class))
      : undefined,
    wants("ObjectSize") ? element("ObjectSize", object.size) : undefined,
  ], {
    "last-modified": httpDate(object.modified_ms),
    ...(version === undefined ? {} : { "x-amz-version-id": version }),
  });
}
