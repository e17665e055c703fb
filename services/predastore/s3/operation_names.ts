/** Which operation a request asks for, by its method, its target and the sub-resource in its query. */
import { AwsError } from "../../aws/errors.ts";
import { DetailedError, invalidBucketName } from "./call.ts";
import {
  lists,
  methodNotAllowed,
  ofBuckets,
  ofObjects,
  type Selector,
  selectorOf,
} from "./selectors.ts";
import type { Target } from "./target.ts";
import { takesNoVersion } from "./version_ids.ts";
import { torrentOfBucket } from "./withdrawn.ts";

const known = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"];

function selected(method: string, query: URLSearchParams, { kind, operations }: Selector): string {
  const name = operations[method];
  if (name === undefined) throw methodNotAllowed(kind, Object.keys(operations));
  const one = query.has("id") || query.has("annotationName");
  return one ? name : lists[name] ?? name;
}

const keyNeeded = () => new AwsError("InvalidRequest", "Object must have a valid key name.");

function bucketOperation(method: string, query: URLSearchParams, headers: Headers): string {
  if (query.has("session")) return "CreateSession";
  if (query.has("torrent") && method === "GET") throw torrentOfBucket();
  const selector = selectorOf(query, ofBuckets, ["partNumber"]);
  if (selector !== undefined || method !== "POST") takesNoVersion(query);
  if (selector !== undefined) return selected(method, query, selector);
  if (query.has("partNumber")) throw keyNeeded();
  switch (method) {
    case "GET":
      return query.get("list-type") === "2" ? "ListObjectsV2" : "ListObjects";
    case "HEAD":
      return "HeadBucket";
    case "PUT":
      return "CreateBucket";
    case "DELETE":
      return "DeleteBucket";
    case "POST":
      if (headers.get("content-type")?.startsWith("multipart/form-data") === true) {
        return "PostObject";
      }
      throw new DetailedError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        {
          status: 412,
          elements: {
            Condition: "Bucket POST must be of the enclosure-type multipart/form-data",
          },
        },
      );
    default:
      throw methodNotAllowed("BUCKET", ["HEAD", "DELETE", "POST", "GET", "PUT"]);
  }
}

/** What a GET of these means for a bucket, and cannot for a key. */
const ofNoKey: Readonly<Record<string, readonly [code: string, message: string]>> = {
  logging: [
    "NoLoggingStatusForKey",
    "There is no such thing as the ?logging sub-resource for a key",
  ],
  versions: ["InvalidRequest", "There is no such thing as the ?versions sub-resource for a key"],
  uploads: ["InvalidRequest", "Key is not expected for the GET method ?uploads subresource"],
};

function objectOperation(method: string, query: URLSearchParams, headers: Headers): string {
  if (method === "GET" && query.size > 0) {
    for (const [name, [code, message]] of Object.entries(ofNoKey)) {
      if (query.has(name)) throw new AwsError(code, message);
    }
  }
  const copies = headers.has("x-amz-copy-source");
  if (query.has("partNumber") && (method === "PUT" || query.has("uploadId"))) {
    if (method !== "PUT") throw methodNotAllowed("PART", ["PUT"]);
    return copies ? "UploadPartCopy" : "UploadPart";
  }
  const selector = selectorOf(query, ofObjects, ["partNumber"]);
  if (selector !== undefined) {
    // A part without a number is refused where its number is read.
    if (method === "PUT" && query.has("uploadId")) {
      return copies ? "UploadPartCopy" : "UploadPart";
    }
    return selected(method, query, selector);
  }
  switch (method) {
    case "GET":
      return "GetObject";
    case "HEAD":
      return "HeadObject";
    case "PUT":
      if (query.has("renameObject")) return "RenameObject";
      return copies ? "CopyObject" : "PutObject";
    case "DELETE":
      return "DeleteObject";
    default:
      throw methodNotAllowed("OBJECT", ["HEAD", "DELETE", "GET", "PUT"]);
  }
}

/** AWS's name of what is asked for. @throws AwsError `MethodNotAllowed`, `InvalidArgument` */
export function operationOf(method: string, target: Target, headers: Headers): string {
  if (!known.includes(method)) {
    throw new AwsError("BadRequest", "An error occurred when parsing the HTTP request.");
  }
  if (target.bucket === "") {
    if (method !== "GET") throw methodNotAllowed("SERVICE", ["GET"]);
    // A key in a bucket without a name is no list of buckets.
    if (target.key !== "") throw invalidBucketName();
    return target.query.get("x-id") === "ListDirectoryBuckets"
      ? "ListDirectoryBuckets"
      : "ListBuckets";
  }
  return target.key === ""
    ? bucketOperation(method, target.query, headers)
    : objectOperation(method, target.query, headers);
}
