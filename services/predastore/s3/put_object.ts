/** PutObject, and what every write of a new object has in common with it. */
import type { BucketRow, ObjectMeta, Seal } from "../index/rows.ts";
import type { StoredObject } from "../objects/objects.ts";
import { quoted } from "./answer_parts.ts";
import { incomingBody, usualChecksum } from "./body.ts";
import { ownBucket, type S3Call } from "./call.ts";
import { tellChecksum } from "./checksum_answers.ts";
import { writeCondition } from "./conditions.ts";
import { tellSeal } from "./customer_keys.ts";
import { sealFor } from "./encryption.ts";
import { tellExpiry } from "./expiration.ts";
import { objectHeaders } from "./object_headers.ts";
import { newLock, requireDigest } from "./object_lock.ts";
import { toldChecksum } from "./sealed_checksums.ts";
import { takesNoVersion } from "./version_ids.ts";

/** What goes with an object's data. */
export type Given =
  & Pick<ObjectMeta, "headers" | "user" | "tags" | "lock" | "storage_class">
  & { readonly seal?: Seal };

/** What a new object gets besides its data: from the headers, and from what its bucket gives. */
export function newObject(
  call: S3Call,
  bucket: BucketRow,
): Given {
  takesNoVersion(call.query);
  const lock = newLock(call, bucket.settings);
  const given = objectHeaders(call.headers);
  const seal = sealFor(call, bucket);
  return {
    ...given,
    ...(lock === undefined ? {} : { lock }),
    ...(seal === undefined ? {} : { seal }),
  };
}

/** The headers by which a write tells what was stored. */
export function storedHeaders(
  bucket: BucketRow,
  key: string,
  stored: StoredObject,
  asked: Headers,
): Headers {
  const headers = new Headers({ etag: quoted(stored.etag) });
  tellExpiry(headers, bucket, { ...stored, key });
  // The null version that a suspended bucket gets is told by reads and copies, not by PUT.
  if (stored.version !== undefined) headers.set("x-amz-version-id", stored.version);
  tellSeal(headers, stored.meta.seal, asked);
  tellChecksum(headers, toldChecksum(asked, stored.meta.seal, stored.meta.checksum));
  return headers;
}

export async function putObject(call: S3Call): Promise<Response> {
  const bucket = ownBucket(call);
  const condition = writeCondition(call.headers);
  const options = newObject(call, bucket);
  requireDigest(call, options.lock, "Put Object");
  using body = incomingBody(call, { ...options, ...usualChecksum(call) });
  const stored = await call.store.objects.put(bucket, call.key, body, condition);
  return new Response(null, { headers: storedHeaders(bucket, call.key, stored, call.headers) });
}
