/** Which version of an object a request means, and under which id clients know it. */
import type { BucketRow, ObjectRow } from "../index/rows.ts";
import { sequenceOf } from "../objects/version_id.ts";
import { httpDate } from "./answer_parts.ts";
import { DetailedError, invalidArgument, noSuchKey, type S3Call } from "./call.ts";

/**
 * @param argument where it stands in the request
 * @throws AwsError `InvalidArgument` for what can be no version id
 */
export function checkedVersion(version: string, argument = "versionId"): string {
  if (version === "") {
    throw invalidArgument("Version id cannot be the empty string", argument, version);
  }
  if (isVersion(version)) return version;
  throw invalidArgument("Invalid version id specified", argument, version);
}

export const isVersion = (version: string) =>
  version === "null" || sequenceOf(version) !== undefined;

export const noSuchVersion = (version: string) =>
  new DetailedError("NoSuchVersion", "The specified version does not exist.", {
    status: 404,
    elements: { VersionId: version },
  });

/** For those who want data where only its deletion stands. */
const isDeleteMarker = (headers: Readonly<Record<string, string>> = {}) =>
  new DetailedError(
    "MethodNotAllowed",
    "The specified method is not allowed against this resource.",
    { status: 405, elements: { ResourceType: "DeleteMarker" }, headers },
  );

/** The version that `versionId` names, if it names one. */
export function askedVersion(query: URLSearchParams): string | undefined {
  const version = query.get("versionId");
  return version === null ? undefined : checkedVersion(version);
}

/** The id under which clients know a version, in a bucket that keeps them. */
export function shownVersion(
  bucket: Pick<BucketRow, "settings">,
  version: string | undefined,
): string | undefined {
  return version ?? (bucket.settings.versioning === undefined ? undefined : "null");
}

/** Tells which version an answer is about, in a bucket that keeps them. */
export function tellVersion(
  headers: Headers,
  bucket: Pick<BucketRow, "settings">,
  { version }: Pick<ObjectRow, "version">,
): Headers {
  const shown = shownVersion(bucket, version);
  if (shown !== undefined) headers.set("x-amz-version-id", shown);
  return headers;
}

/** For those who are about a version's tags, lock or ACL: it must be there, and hold data. */
export function standing(version: string | undefined, now: ObjectRow | undefined): ObjectRow {
  if (now === undefined) throw version === undefined ? noSuchKey() : noSuchVersion(version);
  if (now.marker !== true) return now;
  throw isDeleteMarker({
    allow: "DELETE",
    ...(version === undefined ? {} : {
      "x-amz-delete-marker": "true",
      "x-amz-version-id": now.version ?? "null",
    }),
  });
}

/** The version that a request is about, for which a delete marker does not count as nothing. */
export function meantVersion(call: S3Call, bucket: BucketRow): ObjectRow {
  const version = askedVersion(call.query);
  const { objects } = call.store;
  return standing(
    version,
    version === undefined
      ? objects.latest(bucket, call.key)
      : objects.find(bucket, call.key, version),
  );
}

/** The object that a request means; a delete marker is told of in headers. */
export function meantObject(
  call: S3Call,
  bucket: BucketRow,
  key: string,
  version: string | undefined,
): ObjectRow {
  const found = call.store.objects.find(bucket, key, version);
  if (found !== undefined && found.marker !== true) return found;
  if (version !== undefined) {
    if (found === undefined) throw noSuchVersion(version);
    throw isDeleteMarker({
      "x-amz-delete-marker": "true",
      "x-amz-version-id": found.version ?? "null",
      allow: "DELETE",
      "last-modified": httpDate(found.modified_ms),
    });
  }
  const marker = call.store.objects.latest(bucket, key);
  if (marker?.marker !== true) throw noSuchKey();
  throw new DetailedError("NoSuchKey", "The specified key does not exist.", {
    status: 404,
    headers: {
      "x-amz-delete-marker": "true",
      "x-amz-version-id": marker.version ?? "null",
    },
  });
}

/** What makes a version, or is asked of a bucket, cannot be about one. @throws AwsError `InvalidArgument` */
export function takesNoVersion(query: URLSearchParams): void {
  const version = query.get("versionId");
  if (version === null) return;
  throw invalidArgument("This operation does not accept a version-id.", "versionId", version);
}
