/** Annotations, of which no object here has any. */
import { ownBucket, type S3Call, wholeNumber } from "./call.ts";
import { done, notFound } from "./document.ts";
import { askedVersion, meantObject, shownVersion } from "./version_ids.ts";
import { element, xmlResponse } from "./xml.ts";

const mostAnnotations = 1_000;

/** The version that is asked about, told in a header of its own. */
function told(call: S3Call): Record<string, string> {
  const bucket = ownBucket(call);
  const { version } = meantObject(call, bucket, call.key, askedVersion(call.query));
  const shown = shownVersion(bucket, version);
  return shown === undefined ? {} : { "x-amz-object-version-id": shown };
}

export function listObjectAnnotations(call: S3Call): Response {
  const headers = told(call);
  const most = wholeNumber(call, "max-annotation-results", 1, mostAnnotations) ?? mostAnnotations;
  return xmlResponse("ListObjectAnnotationsOutput", [
    element("Bucket", call.bucket),
    element("Key", call.key),
    element("AnnotationPrefix", call.query.get("annotation-prefix") ?? undefined),
    element("MaxAnnotationResults", most),
    element("AnnotationCount", 0),
  ], headers);
}

export function getObjectAnnotation(call: S3Call): never {
  told(call);
  throw notFound("NoSuchAnnotation", "The specified annotation does not exist on this object.");
}

export function deleteObjectAnnotation(call: S3Call): Response {
  const headers = told(call);
  const answer = done(204);
  for (const [name, value] of Object.entries(headers)) answer.headers.set(name, value);
  return answer;
}
