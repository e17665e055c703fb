/** Which version of an object a request means, and under which id clients know it. */
import { AwsError } from "../../aws/errors.ts";
import type { BucketRow, ObjectRow } from "../index/rows.ts";
import { sequenceOf } from "../objects/version_id.ts";
import { ErrorWithHeaders, invalidArgument, noSuchKey, type S3Call } from "./call.ts";

/** @throws AwsError `InvalidArgument` for what can be no version id */
export function checkedVersion(version: string): string {
  if (version === "null" || sequenceOf(version) !== undefined) return version;
  throw invalidArgument("Invalid version id specified");
}

export const noSuchVersion = () =>
  new AwsError("NoSuchVersion", "The specified version does not exist.", { status: 404 });

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
    if (found === undefined) throw noSuchVersion();
    throw new ErrorWithHeaders(
      "MethodNotAllowed",
      "The specified method is not allowed against this resource.",
      405,
      {
        "x-amz-delete-marker": "true",
        "x-amz-version-id": found.version ?? "null",
        allow: "DELETE",
      },
    );
  }
  const marker = call.store.objects.latest(bucket, key);
  if (marker?.marker !== true) throw noSuchKey();
  throw new ErrorWithHeaders("NoSuchKey", "The specified key does not exist.", 404, {
    "x-amz-delete-marker": "true",
    "x-amz-version-id": marker.version ?? "null",
  });
}
