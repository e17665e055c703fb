/** Versions: whether a bucket keeps them, and which there are. */
import { AwsError } from "../../aws/errors.ts";
import { keyBytes } from "../index/columns.ts";
import type { BucketRow, ListedVersion } from "../index/rows.ts";
import { sequenceOf } from "../objects/version_id.ts";
import { documentDate, owner, quoted } from "./answer_parts.ts";
import { checksumKind } from "./checksum_answers.ts";
import { integer, invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { done, oneOf, readRoot, setBucket } from "./document.ts";
import {
  afterPrefix,
  checkOptionalAttributes,
  commonPrefixes,
  encoder,
  encodingType,
  pageOf,
} from "./listing.ts";
import { shownClass } from "./storage_class.ts";
import { checkedVersion } from "./version_ids.ts";
import { element, text, xmlResponse } from "./xml.ts";

export async function putBucketVersioning(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "VersioningConfiguration");
  const status = text(root, "Status");
  if (status === undefined) {
    throw new AwsError(
      "IllegalVersioningConfigurationException",
      "The Versioning element must be specified",
    );
  }
  const versioning = oneOf(status, "Enabled", "Suspended");
  if (text(root, "MfaDelete")?.toLowerCase() === "enabled") {
    throw new AwsError(
      "NotImplemented",
      "A header you provided implies functionality that is not implemented: MfaDelete",
      { status: 501 },
    );
  }
  await setBucket(call, (now) => {
    if (now.lock !== undefined && versioning === "Suspended") {
      throw new AwsError(
        "InvalidBucketState",
        "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
        { status: 409 },
      );
    }
    return { versioning };
  });
  return done();
}

export function getBucketVersioning(call: S3Call): Response {
  const { versioning } = ownBucket(call).settings;
  return xmlResponse(
    "VersioningConfiguration",
    versioning === undefined ? [] : [element("Status", versioning)],
  );
}

interface VersionPage {
  readonly versions: ListedVersion[];
  readonly prefixes: string[];
  readonly truncated: boolean;
  /** Where the next page begins. */
  readonly next: { readonly key: string; readonly version: string };
}

function page(call: S3Call, bucket: BucketRow, limit: number): VersionPage {
  const prefix = call.query.get("prefix") ?? "";
  const delimiter = call.query.get("delimiter") ?? "";
  const keyMarker = call.query.get("key-marker") ?? "";
  const versionMarker = call.query.get("version-id-marker") ?? "";
  const versions: ListedVersion[] = [];
  const prefixes: string[] = [];
  let next = { key: "", version: "" };
  let start: Uint8Array<ArrayBuffer> | undefined = keyBytes(prefix);
  // Nothing of the marker's key itself is below 0; without a marker all of the first key is below infinity.
  let below = Number.MAX_SAFE_INTEGER;
  // No key comes before the first one: a version of it is behind all there is.
  if (versionMarker !== "" && keyMarker === "") start = undefined;
  if (keyMarker !== "" && start !== undefined && Buffer.compare(keyBytes(keyMarker), start) >= 0) {
    start = keyBytes(keyMarker);
    below = versionMarker === "" ? 0 : markerSequence(call, bucket, keyMarker, versionMarker);
    const group = delimiter === "" || !keyMarker.startsWith(prefix)
      ? -1
      : keyMarker.indexOf(delimiter, prefix.length);
    if (group >= 0) {
      start = afterPrefix(keyBytes(keyMarker.slice(0, group + delimiter.length)));
      below = Number.MAX_SAFE_INTEGER;
    }
  }
  let batch = 256;
  while (start !== undefined) {
    const wanted = Math.min(batch, limit - versions.length - prefixes.length + 1);
    const rows = call.store.index.objects.listVersionsFrom(bucket.id, start, below, wanted);
    let jumped = false;
    for (const row of rows) {
      if (!row.key.startsWith(prefix)) return { versions, prefixes, truncated: false, next };
      if (versions.length + prefixes.length === limit) {
        return { versions, prefixes, truncated: limit > 0, next };
      }
      const group = delimiter === "" ? -1 : row.key.indexOf(delimiter, prefix.length);
      if (group >= 0) {
        const common = row.key.slice(0, group + delimiter.length);
        prefixes.push(common);
        next = { key: common, version: "" };
        start = afterPrefix(keyBytes(common));
        below = Number.MAX_SAFE_INTEGER;
        jumped = true;
        break;
      }
      versions.push(row);
      next = { key: row.key, version: row.version };
      start = keyBytes(row.key);
      below = row.sequence;
    }
    if (!jumped && rows.length < wanted) break;
    // As in a listing of objects: few where groups follow each other.
    batch = jumped ? 4 : Math.min(1001, batch * 4);
  }
  return { versions, prefixes, truncated: false, next };
}

function markerSequence(call: S3Call, bucket: BucketRow, key: string, version: string): number {
  if (version !== "null") return sequenceOf(version) ?? 0;
  return call.store.objects.find(bucket, key, "null")?.sequence ?? 0;
}

/** A version to go on behind is one of a key. @throws AwsError `InvalidArgument` */
function checkMarkers({ query }: S3Call): void {
  const version = query.get("version-id-marker");
  if (version === null) return;
  if (!query.has("key-marker")) {
    throw invalidArgument(
      "A version-id marker cannot be specified without a key marker.",
      "version-id-marker",
      version,
    );
  }
  if (version === "") {
    throw invalidArgument("A version-id marker cannot be empty.", "version-id-marker", version);
  }
  checkedVersion(version, "version-id-marker");
}

export function listObjectVersions(call: S3Call): Response {
  const asked = integer(call, "max-keys") ?? 1000;
  checkMarkers(call);
  const bucket = ownBucket(call);
  checkOptionalAttributes(call);
  const encode = encoder(call);
  if (asked < 0) throw invalidArgument("max-keys cannot be negative", "max-keys");
  const { versions, prefixes, truncated, next } = page(call, bucket, pageOf(asked));
  const delimiter = call.query.get("delimiter");
  return xmlResponse("ListVersionsResult", [
    element("Name", bucket.name),
    element("Prefix", encode(call.query.get("prefix") ?? "")),
    element("KeyMarker", encode(call.query.get("key-marker") ?? "")),
    element("VersionIdMarker", call.query.get("version-id-marker") ?? ""),
    truncated ? element("NextKeyMarker", encode(next.key)) : undefined,
    truncated && next.version !== "" ? element("NextVersionIdMarker", next.version) : undefined,
    element("MaxKeys", asked),
    delimiter === null ? undefined : element("Delimiter", encode(delimiter)),
    encodingType(call),
    element("IsTruncated", truncated),
    versions.map((one) =>
      element(one.marker ? "DeleteMarker" : "Version", [
        element("Key", encode(one.key)),
        element("VersionId", one.version),
        element("IsLatest", one.latest),
        element("LastModified", documentDate(one.modified_ms)),
        one.marker ? undefined : [
          element("ETag", quoted(one.etag)),
          checksumKind(one.checksum),
          element("Size", one.size),
        ],
        owner(bucket.account_id),
        one.marker ? undefined : element("StorageClass", shownClass(one.storage_class)),
      ])
    ),
    commonPrefixes(prefixes, encode),
  ]);
}
