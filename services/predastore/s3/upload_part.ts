/** The parts of an upload, by their bytes. */
import type { UploadRow } from "../index/rows.ts";
import { quoted } from "./answer_parts.ts";
import { type BodyOptions, incomingBody, usualChecksum } from "./body.ts";
import { ownBucket, type S3Call } from "./call.ts";
import { checksumHeader, claimedChecksum } from "./checksums.ts";
import { checkPartKey, checkTakesKeys, tellSeal } from "./customer_keys.ts";
import { takesNoEncryption } from "./encryption.ts";
import { algorithmOf, otherKind, uploadOf } from "./multipart.ts";
import { refuseUnserved } from "./object_headers.ts";
import { requireDigest } from "./object_lock.ts";
import { partNumber } from "./part_number.ts";
import { toldChecksum } from "./sealed_checksums.ts";
import { takesNoVersion } from "./version_ids.ts";

/**
 * A part's checksum is of the kind that its upload was begun with, and is there where that of the whole is made of
 * the parts' own. @throws AwsError `InvalidRequest`
 */
function checkKind(upload: UploadRow, headers: Headers): void {
  const { algorithm: begun, type } = upload.checksum ?? {};
  const claimed = claimedChecksum(headers)?.algorithm;
  if (begun === undefined || begun === claimed) return;
  if (claimed === undefined && type === "FULL_OBJECT") return;
  throw otherKind(begun, claimed);
}

/** A part may bring any checksum where its upload named none: the object's is made of the default's. */
function usualPart(call: S3Call): Pick<BodyOptions, "checksum" | "whole"> {
  const { checksum } = usualChecksum(call);
  return checksum === undefined ? {} : { checksum, whole: checksum };
}

export async function uploadPart(call: S3Call): Promise<Response> {
  takesNoVersion(call.query);
  const number = partNumber(call);
  const upload = uploadOf(call);
  takesNoEncryption(call.headers);
  refuseUnserved(call.headers);
  checkTakesKeys(call, ownBucket(call));
  checkPartKey(call.headers, upload.meta.seal);
  checkKind(upload, call.headers);
  requireDigest(call, upload.meta.lock, "Put Part");
  using body = incomingBody(call, {
    headers: {},
    user: {},
    seal: upload.meta.seal,
    ...(upload.checksum === undefined ? usualPart(call) : { checksum: algorithmOf(upload) }),
  });
  const bucket = ownBucket(call);
  const stored = await call.store.uploads.putPart(bucket, upload, number, body);
  const headers = new Headers({ etag: quoted(stored.etag) });
  tellSeal(headers, upload.meta.seal, call.headers);
  const checksum = toldChecksum(call.headers, upload.meta.seal, stored.meta.checksum);
  const asked = upload.checksum !== undefined || claimedChecksum(call.headers) !== undefined;
  if (asked && checksum !== undefined) {
    headers.set(checksumHeader(checksum.algorithm), checksum.value);
  }
  return new Response(null, { headers });
}
