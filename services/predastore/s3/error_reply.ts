/** An error as S3 tells it, and the code for each fault that has no code of its own. */
import { AwsError } from "../../aws/errors.ts";
import { DataLost } from "../extents/extent_reader.ts";
import { ErrorWithHeaders } from "./call.ts";
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

export function errorReply(
  error: AwsError,
  about: {
    readonly method: string;
    readonly path: string;
    readonly bucket: string;
    readonly key: string;
    readonly request_id: string;
  },
): Response {
  const headers = new Headers({ "content-type": "application/xml" });
  if (error instanceof RangeNotSatisfiable) headers.set("content-range", `bytes */${error.size}`);
  if (error instanceof ErrorWithHeaders) {
    for (const [name, value] of Object.entries(error.headers)) headers.set(name, value);
  }
  if (error.status === 503) headers.set("retry-after", "1");
  if (about.method === "HEAD" || error.status === 304) {
    return new Response(null, { status: error.status, headers });
  }
  const body = [
    element("Code", error.code),
    element("Message", error.message),
    error.code.startsWith("NoSuchKey") ? element("Key", about.key) : undefined,
    error.code.includes("Bucket") ? element("BucketName", about.bucket) : undefined,
    error instanceof RangeNotSatisfiable ? element("ActualObjectSize", error.size) : undefined,
    element("Resource", about.path),
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
