/** Who signed the policy of a form, and whether they did. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { signedAt } from "../../aws/signatures/claims.ts";
import { onlyVersion4, signatureDiffers } from "../../aws/signatures/s3_claims.ts";
import { type SigningGrant, type SigningScope, unknownKey } from "../../aws/signatures/sigv4.ts";
import { invalidArgument } from "./call.ts";

export interface FormSignature {
  readonly scope: SigningScope;
  readonly grant: SigningGrant;
  readonly signing_key: Uint8Array;
  readonly amz_date: string;
}

type Fields = ReadonlyMap<string, string>;

export function neededField(fields: Fields, name: string): string {
  const value = fields.get(name.toLowerCase());
  if (value !== undefined && value !== "") return value;
  throw invalidArgument(
    `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
    name,
    "",
  );
}

const ofSignature = [
  "policy",
  "X-Amz-Algorithm",
  "X-Amz-Credential",
  "X-Amz-Date",
  "X-Amz-Signature",
];
const ofVersion2 = ["policy", "AWSAccessKeyId", "signature"];
const hasSome = (fields: Fields, names: readonly string[]) =>
  names.some((name) => fields.has(name.toLowerCase()));

/** Whether anybody signed the form, however badly. */
export const isSignedForm = (fields: Fields) =>
  hasSome(fields, ofSignature) || hasSome(fields, ofVersion2);

/** @throws AwsError as S3 refuses what is malformed, not signed, or signed by nobody it knows */
export async function verifyForm(
  fields: Fields,
  lookup: (scope: SigningScope) => Promise<SigningGrant>,
): Promise<FormSignature> {
  if (!hasSome(fields, ofSignature.slice(1)) && hasSome(fields, ofVersion2.slice(1))) {
    for (const name of ofVersion2) neededField(fields, name);
    throw onlyVersion4();
  }
  const [policy = "", algorithm = "", credential = "", amz_date = "", signature = ""] = ofSignature
    .map((name) => neededField(fields, name));
  if (algorithm !== "AWS4-HMAC-SHA256") {
    throw invalidArgument("Only AWS4-HMAC-SHA256 is supported", "X-Amz-Algorithm", algorithm);
  }
  const claimed = scopeOf(credential);
  if (signedAt(amz_date) === undefined) {
    throw invalidArgument(
      "X-Amz-Date must be formated via ISO8601 Long format",
      "X-Amz-Date",
      amz_date,
    );
  }
  const token = fields.get("x-amz-security-token");
  const scope = token === undefined ? claimed : { ...claimed, session_token: token };
  let grant: SigningGrant;
  try {
    grant = await lookup(scope);
  } catch (cause) {
    throw unknownKey(cause, scope);
  }
  const signing_key = Uint8Array.fromBase64(grant.key);
  const expected = createHmac("sha256", signing_key).update(policy).digest();
  const given = /^[0-9a-f]{64}$/.test(signature) ? Buffer.from(signature, "hex") : undefined;
  if (given === undefined || !timingSafeEqual(given, expected)) {
    throw signatureDiffers({ scope, signature }, policy);
  }
  return { scope, grant, signing_key, amz_date };
}

function scopeOf(credential: string): SigningScope {
  const fail = (message: string) => invalidArgument(message, "x-amz-credential", credential);
  const [access_key_id = "", date = "", region = "", service, end, ...more] = credential.split("/");
  if (end === undefined || more.length > 0) {
    throw fail(
      'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  if (!/^\d{8}$/.test(date)) {
    throw fail(
      `incorrect date format "${date}". This date in the credential must be in the format "yyyyMMdd".`,
    );
  }
  if (service !== "s3") {
    throw fail(`incorrect service "${service}". This endpoint belongs to "s3".`);
  }
  if (end !== "aws4_request") {
    throw fail(`incorrect terminal "${end}". This endpoint uses "aws4_request".`);
  }
  return { access_key_id, date, region, service };
}
