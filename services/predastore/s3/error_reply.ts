/** An error as S3 tells it, and the code for each fault that has no code of its own. */
import { AwsError } from "../../aws/errors.ts";
import { ShortChunk } from "../../aws/signatures/chunked.ts";
import { DataLost } from "../extents/extent_reader.ts";
import { DetailedError } from "./call.ts";
import { RangeNotSatisfiable } from "./ranges.ts";
import { element, Raw } from "./xml.ts";

/** What the client may see of any error. */
export function publicError(error: unknown): AwsError {
  if (error instanceof AwsError) return error;
  return new AwsError(
    "InternalError",
    error instanceof DataLost
      ? "The object cannot be read: too few of its shards are sound. The operator's log tells which."
      : "We encountered an internal error. Please try again.",
    { status: 500, cause: error },
  );
}

interface About {
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
  readonly request_id: string;
}

/** Codes that are about a bucket, or about what is not set for it. */
const ofBuckets =
  /^(NoSuchBucket.*|BucketNotEmpty|BucketAlready.*|InvalidBucketName|NoSuchTagSet|(NoSuch.*|Replication)Configuration(NotFoundError)?|ObjectLockConfigurationNotFoundError|OwnershipControlsNotFoundError)$/;

/** What a code's document has besides, whoever refuses. */
function usual(code: string, { method, bucket, key }: About): Readonly<Record<string, string>> {
  if (code === "NoSuchKey" || code === "ConditionalRequestConflict") return { Key: key };
  if (code === "NoSuchVersion") return { Key: key };
  if (code === "MethodNotAllowed") {
    const kind = bucket === "" ? "SERVICE" : key === "" ? "BUCKET" : "OBJECT";
    return { Method: method, ResourceType: kind };
  }
  // What is not configured for an object, or by an id of its own, names no bucket.
  const named = ofBuckets.test(code) && code !== "NoSuchConfiguration" &&
    code !== "NoSuchObjectLockConfiguration";
  return named ? { BucketName: bucket } : {};
}

/** What the one who refuses tells. */
function told(error: AwsError): Readonly<Record<string, string>> {
  if (error instanceof RangeNotSatisfiable) {
    return { RangeRequested: error.asked, ActualObjectSize: String(error.size) };
  }
  if (error instanceof ShortChunk) {
    return { Chunk: String(error.chunk), BadChunkSize: String(error.size) };
  }
  return error instanceof DetailedError ? error.elements : {};
}

export function errorReply(
  error: AwsError,
  about: About,
): Response {
  const headers = new Headers({ "content-type": "application/xml" });
  if (error instanceof DetailedError) {
    for (const [name, value] of Object.entries(error.headers)) headers.set(name, value);
  }
  if (error.status === 503) headers.set("retry-after", "1");
  if (about.method === "HEAD" || error.status === 304) {
    return new Response(null, { status: error.status, headers });
  }
  const elements = { ...usual(error.code, about), ...told(error) };
  const body = [
    element("Code", error.code),
    element("Message", error.message),
    ...Object.entries(elements).map(([name, value]) => element(name, value)),
    element("RequestId", about.request_id),
    element("HostId", about.request_id),
  ];
  // Unlike all other documents of S3, an error has no namespace.
  const text = body.map((one) => one instanceof Raw ? one.text : "").join("");
  return new Response(`<?xml version="1.0" encoding="UTF-8"?>\n<Error>${text}</Error>`, {
    status: error.status,
    headers,
  });
}
