/** Conditions of bucket policies, as far as their form goes: operators, keys, and addresses. What they mean identity knows. */
import { isIP } from "node:net";
import { AwsError } from "../../aws/errors.ts";

const malformed = (message: string) => new AwsError("MalformedPolicy", message);

const operator =
  /^(Null|(ForAllValues:|ForAnyValue:)?(String(Not)?(Equals(IgnoreCase)?|Like)|(Numeric|Date)((Not)?Equals|(Less|Greater)Than(Equals)?)|Bool|BinaryEquals|(Not)?IpAddress|Arn(Not)?(Equals|Like))(IfExists)?)$/;

/** S3's own keys, in lower case. */
const keys = new Set(
  `accessgrantsinstancearn accesspointnetworkorigin allaccessrestrictedtolocalzonegroup authtype dataaccesspointaccount
   dataaccesspointarn delimiter destinationregion if-match if-none-match inventoryaccessibleoptionalfields
   isreplicationpauserequest locationconstraint max-keys object-lock-legal-hold object-lock-mode
   object-lock-remaining-retention-days object-lock-retain-until-date objectcreationoperation prefix requestobjecttagkeys
   resourceaccount signatureage signatureversion tlsversion versionid
   x-amz-acl x-amz-content-sha256 x-amz-copy-source x-amz-grant-full-control x-amz-grant-read x-amz-grant-read-acp
   x-amz-grant-write x-amz-grant-write-acp x-amz-metadata-directive x-amz-object-ownership x-amz-server-side-encryption
   x-amz-server-side-encryption-aws-kms-key-id x-amz-server-side-encryption-customer-algorithm x-amz-storage-class
   x-amz-website-redirect-location`.split(/\s+/),
);
const tagged = /^(existingobjecttag|requestobjecttag|buckettag|accesspointtag)\/./;

/** Keys of other services are theirs to know. */
function isKey(key: string): boolean {
  const match = /^([^:]+):(.+)$/s.exec(key.toLowerCase());
  if (match === null) return false;
  const [, service, name = ""] = match;
  return service !== "s3" || keys.has(name) || tagged.test(name);
}

const list = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [value];

/** An address or a range of them. */
function isRange(value: unknown): boolean {
  if (typeof value !== "string") return false;
  const [address = "", bits, ...more] = value.split("/");
  const version = isIP(address);
  return version !== 0 && more.length === 0 &&
    (bits === undefined || /^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @throws AwsError `MalformedPolicy` */
export function checkConditions(condition: unknown): void {
  if (condition === undefined) return;
  if (!isRecord(condition)) throw malformed("Invalid policy syntax.");
  for (const [name, tests] of Object.entries(condition)) {
    if (!operator.test(name)) throw malformed(`Invalid Condition type : ${name}`);
    if (!isRecord(tests)) throw malformed("Invalid policy syntax.");
    for (const [key, values] of Object.entries(tests)) {
      if (!isKey(key)) throw malformed("Policy has an invalid condition key");
      if (
        key.toLowerCase() === "aws:sourceip" && name !== "Null" && !list(values).every(isRange)
      ) throw malformed("Invalid IP address in Conditions");
    }
  }
}
