/** What a request says of the form of its body, in `x-amz-content-sha256`: looked at whether it has a body or not. */
import { AwsError } from "../../aws/errors.ts";
import { invalidArgument, notImplemented } from "./call.ts";

const hash = /^[0-9a-f]{64}$/i;
/** Signed with a key pair, which only AWS takes. */
const byKeyPair = [
  "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
  "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
];
const unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const known = [
  "UNSIGNED-PAYLOAD",
  unsignedTrailer,
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
  ...byKeyPair,
];
const takeTrailers = ["PutObject", "UploadPart"];

/** @throws AwsError `InvalidArgument` for a form that is none, `InvalidRequest` for one that the operation does not take */
export function checkPayloadForm(action: string, form: string | undefined): void {
  if (form === undefined || hash.test(form)) return;
  if (!known.includes(form)) {
    throw invalidArgument(
      `x-amz-content-sha256 must be ${known.join(", ")} or a valid sha256 value.`,
      "x-amz-content-sha256",
      form,
    );
  }
  if (form === unsignedTrailer && !takeTrailers.includes(action)) {
    throw new AwsError(
      "InvalidRequest",
      "The value of x-amz-content-sha256 header is invalid.",
    );
  }
}

/** A body in a form that cannot be read is not taken for its content. @throws AwsError `NotImplemented` */
export function refuseKeyPairs(form: string | undefined): void {
  if (byKeyPair.includes(form ?? "")) throw notImplemented(`x-amz-content-sha256: ${form}`);
}
