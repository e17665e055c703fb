/** DeleteObject and DeleteObjects. */
import { AwsError } from "../../aws/errors.ts";
import { errorFields } from "../../log/log.ts";
import type { BucketRow } from "../index/rows.ts";
import { readDocument } from "./body.ts";
import {
  accessDenied,
  bucketOfMany,
  mayIn,
  notImplementedHeader,
  ownBucket,
  type S3Call,
} from "./call.ts";
import { claimedChecksum } from "./checksums.ts";
import { deleteCondition } from "./conditions.ts";
import { bypasses, checkBypass, checkLock } from "./object_lock.ts";
import { comparesEtag, objectArn, type Permission } from "./permissions.ts";
import { checkKey } from "./target.ts";
import { askedVersion, checkedVersion, noSuchVersion } from "./version_ids.ts";
import {
  children,
  element,
  malformedXml,
  parseXml,
  text,
  type XmlNode,
  xmlResponse,
} from "./xml.ts";

/** Conditions on deletes that S3 has for directory buckets only: one that is not looked at must not be ignored. */
const unservedConditions = ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"];

export async function deleteObject(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  for (const name of unservedConditions) {
    if (call.headers.has(name)) throw notImplementedHeader(name);
  }
  const version = askedVersion(call.query);
  checkConditional(version, call.headers.get("if-match"));
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

/** A condition is on what a key has now, not on a version. @throws AwsError `NotImplemented` */
function checkConditional(version: string | undefined, ifMatch: string | null): void {
  if (version !== undefined && ifMatch !== null) throw notImplementedHeader("If-Match");
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
  if (version === undefined) {
    const condition = deleteCondition(ifMatch);
    const { marker } = await call.store.objects.delete(bucket, key, condition);
    return marker === undefined ? { marker: false } : { marker: true, version: marker };
  }
  const { marker } = await call.store.objects.deleteVersion(
    bucket,
    key,
    version,
    (found) => checkLock(found, bypass),
  );
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

interface WantedDeletions {
  readonly quiet: boolean;
  readonly objects: readonly {
    readonly key: string;
    readonly version: string | undefined;
    readonly etag: string | undefined;
  }[];
}

/** Whether a node has no other children than these. */
const only = (node: XmlNode, ...names: readonly string[]) =>
  Object.keys(node).every((name) => names.includes(name) || /^(@|#|xmlns)/.test(name));

/** What a document wants deleted. @throws AwsError for one that S3's schema does not know */
function wantedDeletions(document: string): WantedDeletions {
  if (document === "") throw new AwsError("MissingRequestBodyError", "Request Body is empty");
  const root = parseXml(document, "Delete");
  const wanted = children(root, "Object");
  if (wanted.length === 0 || wanted.length > deletedAtOnce) throw malformedXml();
  if (!only(root, "Object", "Quiet")) throw malformedXml();
  const quiet = text(root, "Quiet") === "true";
  const objects = wanted.map((one) => {
    if (typeof one !== "object" || one === null) throw malformedXml();
    const node = one as XmlNode;
    // A size or a time to compare with is for directory buckets.
    if (!only(node, "Key", "VersionId", "ETag")) throw malformedXml();
    const key = text(node, "Key");
    if (key === undefined) throw malformedXml();
    return { key, version: text(node, "VersionId"), etag: text(node, "ETag") };
  });
  if (objects.some(({ key }) => key === "")) {
    throw new AwsError("UserKeyMustBeSpecified", "User key must be specified.");
  }
  return { quiet, objects };
}

export async function deleteObjects(call: S3Call): Promise<Response> {
  const bucket = bucketOfMany(call);
  checkBypass(call.headers, bucket);
  if (claimedChecksum(call.headers) === undefined && !call.headers.has("content-md5")) {
    throw new AwsError(
      "InvalidRequest",
      "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    );
  }
  const { objects, quiet } = wantedDeletions(await readDocument(call));
  const answers = await Promise.all(objects.map(async ({ key, version, etag }) => {
    try {
      checkKey(key);
      const asked = version === undefined ? undefined : listedVersion(version);
      checkConditional(asked, etag ?? null);
      const resource = objectArn(bucket.name, key);
      const action = asked === undefined ? "s3:DeleteObject" : "s3:DeleteObjectVersion";
      const conditions = etag === undefined ? {} : { "s3:if-match": etag };
      const needed: Permission[] = [{ action, resource, conditions }];
      if (comparesEtag(etag ?? null)) needed.push({ action: "s3:GetObject", resource });
      for (const permission of needed) {
        if (!await mayIn(call, bucket, permission)) throw accessDenied();
      }
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
