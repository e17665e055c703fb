/** What a copy is made of: the source that a request names, and its bytes as a body for another object. */
import { Digest } from "../../../ffi/libcrypto.ts";
import { AwsError } from "../../aws/errors.ts";
import type { ObjectRow } from "../index/rows.ts";
import { isCustomers } from "../encryption/customer_seal.ts";
import type { IncomingBody } from "../objects/bodies.ts";
import { otherEtag } from "./body.ts";
import { DetailedError, invalidArgument, type S3Call, sourceBucket } from "./call.ts";
import { type Algorithm, startChecksum } from "./checksums.ts";
import { checkCopySource } from "./conditions.ts";
import { customerKey, keyToRead, sourceSse } from "./customer_keys.ts";
import type { Given } from "./put_object.ts";
import type { ByteRange } from "./ranges.ts";
import { keptChecksum } from "./sealed_checksums.ts";
import { copySourceTarget, invalidSource, type Target } from "./target.ts";
import { checkedVersion, isVersion, meantObject } from "./version_ids.ts";

/** What `x-amz-copy-source` names, be it there or not. @throws AwsError `InvalidArgument` */
export function namedSource({ headers }: S3Call): Target {
  const source = copySourceTarget(headers.get("x-amz-copy-source") ?? "");
  if (source.bucket === "") throw invalidSource("bucket name");
  if (source.key === "") throw invalidSource("object key");
  return source;
}

/** What is no copy is not made of anything. @throws AwsError `InvalidArgument` */
export function refuseSource({ headers }: S3Call): void {
  const source = headers.get("x-amz-copy-source");
  if (source === null) return;
  throw invalidArgument(
    "You can only specify a copy source header for copy requests.",
    "x-amz-copy-source",
    source,
  );
}

/** The object that `x-amz-copy-source` names, its conditions checked. */
export function copySource(call: S3Call): ObjectRow {
  const source = namedSource(call);
  const object = copied(call, source, sourceVersion(call, source.query));
  keyToRead(call.headers, object.meta.seal, sourceSse);
  checkCopySource(call.headers, object);
  return object;
}

/** The version that the source names. S3 has other words for one that can be none where an object is copied whole. */
function sourceVersion({ query }: S3Call, source: URLSearchParams): string | undefined {
  const version = source.get("versionId");
  if (version === null) return undefined;
  if (version !== "" && !isVersion(version) && !query.has("uploadId")) {
    throw new AwsError("InvalidRequest", "Invalid Request");
  }
  return checkedVersion(version, "x-amz-copy-source");
}

/** What is not there is the source, whatever the request's own bucket and key are called. */
const missing: Readonly<Record<string, (of: { bucket: string; key: string }) => object>> = {
  NoSuchBucket: ({ bucket }) => ({ BucketName: bucket }),
  NoSuchKey: ({ key }) => ({ Key: key }),
  NoSuchVersion: ({ key }) => ({ Key: key }),
};

/** A delete marker cannot be copied, nor what is hidden behind one without its version id. */
function copied(
  call: S3Call,
  source: { readonly bucket: string; readonly key: string },
  version: string | undefined,
): ObjectRow {
  try {
    return meantObject(call, sourceBucket(call, source.bucket), source.key, version);
  } catch (error) {
    if (!(error instanceof AwsError)) throw error;
    const elements = missing[error.code]?.(source);
    if (elements !== undefined) {
      throw new DetailedError(error.code, error.message, {
        status: error.status,
        elements: { ...(error instanceof DetailedError ? error.elements : {}), ...elements },
        headers: error instanceof DetailedError ? error.headers : {},
      });
    }
    if (error.code !== "MethodNotAllowed") throw error;
    throw new AwsError(
      "InvalidRequest",
      "The source of a copy request may not specifically refer to a delete marker by version id.",
    );
  }
}

/** Bytes of an object as a body for another. Dispose of it. */
export function copiedBody(
  call: S3Call,
  source: ObjectRow,
  range: ByteRange,
  given: Given,
  algorithm: Algorithm,
): IncomingBody & Disposable {
  const { seal, ...meta } = given;
  const opening = keyToRead(call.headers, source.meta.seal, sourceSse);
  const sealing = isCustomers(seal) ? customerKey(call.headers) : undefined;
  // An ETag that is not the MD5 needs none.
  const md5 = sealing === undefined ? new Digest("md5") : undefined;
  const checksum = startChecksum(algorithm);
  return {
    chunks: call.store.objects.read(source, range.from, range.to, undefined, opening),
    digests: md5 === undefined ? [checksum] : [md5, checksum],
    expected_bytes: range.to - range.from,
    ...(seal === undefined ? {} : { seal }),
    ...(sealing === undefined ? {} : { customer_key: sealing }),
    async finish() {
      return {
        etag: md5 === undefined ? otherEtag() : (await md5.finish()).toHex(),
        meta: {
          ...meta,
          checksum: keptChecksum(call.headers, seal, {
            algorithm,
            type: "FULL_OBJECT",
            value: (await checksum.finish()).toBase64(),
          }),
        },
      };
    },
    [Symbol.dispose]() {
      md5?.[Symbol.dispose]();
      checksum[Symbol.dispose]();
    },
  };
}

/** The version that was copied, where it has an id. */
export function tellSource(headers: Headers, source: ObjectRow): void {
  if (source.version !== undefined) {
    headers.set("x-amz-copy-source-version-id", source.version);
  }
}
