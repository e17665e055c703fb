/** CopyObject. */
import { AwsError } from "../../aws/errors.ts";
import type { ObjectMeta, ObjectRow } from "../index/rows.ts";
import { isCustomers } from "../encryption/customer_seal.ts";
import type { StoredObject } from "../objects/objects.ts";
import type { Tag } from "../objects/settings.ts";
import { documentDate, quoted } from "./answer_parts.ts";
import { largestPut_bytes } from "./body.ts";
import {
  accessDenied,
  invalidArgument,
  notImplementedHeader,
  ownBucket,
  type S3Call,
} from "./call.ts";
import { checksumElements, untellChecksum } from "./checksum_answers.ts";
import { type Algorithm, askedAlgorithm, defaultAlgorithm, isAlgorithm } from "./checksums.ts";
import { writeCondition } from "./conditions.ts";
import { copiedBody, copySource, namedSource, tellSource } from "./copy_source.ts";
import { sse } from "./customer_keys.ts";
import { objectArn } from "./permissions.ts";
import { type Given, newObject, storedHeaders } from "./put_object.ts";
import { toldChecksum } from "./sealed_checksums.ts";
import { storageClassHeader } from "./storage_class.ts";
import { tagConditions } from "./tagging.ts";
import { shownVersion } from "./version_ids.ts";
import { element, xmlResponse } from "./xml.ts";

/** Of parts alone. */
const rangeHeader = "x-amz-copy-source-range";
const redirectHeader = "x-amz-website-redirect-location";

/**
 * Headers with which an object may be copied to itself, also when they ask for what it has; it always may
 * where the bucket's encryption was set, or where its client's own key is left, which it may be copied for.
 */
const changing = [
  storageClassHeader,
  sse,
  `${sse}-customer-algorithm`,
  redirectHeader,
];

/** What the directive COPY takes from the source: all but where a website would redirect to. */
function copiedMeta({ meta }: ObjectRow, given: Given): Pick<ObjectMeta, "headers" | "user"> {
  const { [redirectHeader]: _source, ...headers } = meta.headers;
  const redirect = given.headers[redirectHeader];
  return {
    headers: redirect === undefined ? headers : { ...headers, [redirectHeader]: redirect },
    user: meta.user,
  };
}

/** That of the source, which a copy keeps. */
function knownAlgorithm({ meta }: ObjectRow): Algorithm | undefined {
  const name = meta.checksum?.algorithm;
  return name !== undefined && isAlgorithm(name) ? name : undefined;
}

/** Who copies an object that has tags reads and writes those too. @throws AwsError `AccessDenied` */
async function checkCopiesTags(call: S3Call, tags: readonly Tag[]): Promise<void> {
  const { bucket, key, query } = namedSource(call);
  const version = query.get("versionId");
  const reads = {
    action: version === null ? "s3:GetObjectTagging" : "s3:GetObjectVersionTagging",
    resource: objectArn(bucket, key),
    version,
  };
  const writes = {
    action: "s3:PutObjectTagging",
    resource: objectArn(call.bucket, call.key),
    conditions: tagConditions(tags),
  };
  if (!await call.may(reads) || !await call.may(writes)) throw accessDenied();
}

export async function copyObject(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  // Who asks for a part of it must not get the whole.
  if (call.headers.has(rangeHeader)) throw notImplementedHeader(rangeHeader);
  const source = copySource(call);
  if (source.size > largestPut_bytes) {
    throw new AwsError(
      "InvalidRequest",
      "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
    );
  }
  const directive = call.headers.get("x-amz-metadata-directive") ?? "COPY";
  if (directive !== "COPY" && directive !== "REPLACE") {
    throw invalidArgument(
      "Unknown metadata directive.",
      "x-amz-metadata-directive",
      directive,
    );
  }
  const given = newObject(call, bucket);
  const itself = source.bucket === bucket.id && source.key === call.key &&
    call.store.objects.find(bucket, call.key)?.sequence === source.sequence;
  const changes = changing.some((name) => call.headers.has(name)) ||
    bucket.settings.bucket_key !== undefined || isCustomers(source.meta.seal);
  if (directive === "COPY" && itself && !changes) {
    throw new AwsError(
      "InvalidRequest",
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
  }
  const tagDirective = call.headers.get("x-amz-tagging-directive") ?? "COPY";
  if (tagDirective !== "COPY" && tagDirective !== "REPLACE") {
    throw invalidArgument(
      "Unknown tagging directive.",
      "x-amz-tagging-directive",
      tagDirective,
    );
  }
  const { tags: newTags, ...rest } = given;
  const tags = tagDirective === "COPY" ? source.meta.tags : newTags;
  if (tagDirective === "COPY" && tags !== undefined && tags.length > 0) {
    await checkCopiesTags(call, tags);
  }
  const algorithm = askedAlgorithm(call.headers) ?? knownAlgorithm(source) ?? defaultAlgorithm;
  using body = copiedBody(
    call,
    source,
    { from: 0, to: source.size },
    {
      ...rest,
      ...(directive === "COPY" ? copiedMeta(source, given) : {}),
      ...(tags === undefined ? {} : { tags }),
    },
    algorithm,
  );
  const condition = writeCondition(call.headers);
  const stored = await call.store.objects.put(bucket, call.key, body, condition, "Copy");
  const headers = storedHeaders(bucket, call.key, stored, call.headers);
  const version = shownVersion(bucket, stored.version);
  if (version !== undefined) headers.set("x-amz-version-id", version);
  headers.delete("etag");
  untellChecksum(headers);
  tellSource(headers, source);
  return xmlResponse("CopyObjectResult", copyResult(call.headers, stored), headers);
}

function copyResult(asked: Headers, { etag, modified_ms, meta }: StoredObject) {
  return [
    element("LastModified", documentDate(modified_ms)),
    element("ETag", quoted(etag)),
    checksumElements(toldChecksum(asked, meta.seal, meta.checksum)),
  ];
}
