/** The parts of an upload, by copying from another object. */
import { AwsError } from "../../aws/errors.ts";
import { documentDate, quoted } from "./answer_parts.ts";
import { invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { checksumValue } from "./checksum_answers.ts";
import { copiedBody, copySource, namedSource, tellSource } from "./copy_source.ts";
import { checkPartKey, checkTakesKeys, tellSeal } from "./customer_keys.ts";
import { takesNoEncryption } from "./encryption.ts";
import { algorithmOf, uploadOf } from "./multipart.ts";
import { refuseUnserved } from "./object_headers.ts";
import type { ByteRange } from "./ranges.ts";
import { partNumber } from "./part_number.ts";
import { toldChecksum } from "./sealed_checksums.ts";
import { element, xmlResponse } from "./xml.ts";

export async function uploadPartCopy(call: S3Call): Promise<Response> {
  const number = partNumber(call);
  takesNoEncryption(call.headers);
  refuseUnserved(call.headers);
  namedSource(call);
  const upload = uploadOf(call);
  checkTakesKeys(call, ownBucket(call));
  checkPartKey(call.headers, upload.meta.seal);
  const source = copySource(call);
  const header = call.headers.get("x-amz-copy-source-range");
  let range = { from: 0, to: source.size };
  if (header !== null) {
    range = copiedRange(header, source.size);
  }
  using body = copiedBody(
    call,
    source,
    range,
    {
      headers: {},
      user: {},
      ...(upload.meta.seal === undefined ? {} : { seal: upload.meta.seal }),
    },
    algorithmOf(upload),
  );
  const stored = await call.store.uploads.putPart(ownBucket(call), upload, number, body);
  const headers = new Headers();
  tellSource(headers, source);
  tellSeal(headers, upload.meta.seal, call.headers);
  const checksum = toldChecksum(call.headers, upload.meta.seal, stored.meta.checksum);
  return xmlResponse("CopyPartResult", [
    element("LastModified", documentDate(stored.modified_ms)),
    element("ETag", quoted(stored.etag)),
    upload.checksum && checksumValue(checksum),
  ], headers);
}

/** @throws AwsError `InvalidArgument`, `InvalidRequest` for what is not within the source */
function copiedRange(header: string, size: number): ByteRange {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  const [from, last] = [Number(match?.[1]), Number(match?.[2])];
  const name = "x-amz-copy-source-range";
  if (match === null || from > last) {
    throw invalidArgument(
      `The ${name} value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy`,
      name,
      header,
    );
  }
  if (from >= size) {
    throw new AwsError(
      "InvalidRequest",
      "The specified copy range is invalid for the source object size",
    );
  }
  if (last >= size) {
    throw invalidArgument(
      `Range specified is not valid for source object of size: ${size}`,
      name,
      header,
    );
  }
  return { from, to: last + 1 };
}
