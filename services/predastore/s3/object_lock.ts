/** Object lock over the wire: a bucket's configuration, and the retention and legal hold of versions. */
import { AwsError } from "../../aws/errors.ts";
import type { BucketRow, ObjectRow, Revised } from "../index/rows.ts";
import { defaultLock, isLocked, mayChange } from "../objects/object_lock.ts";
import type { BucketSettings, ObjectLock, Retention } from "../objects/settings.ts";
import { needsDigest, readDocument } from "./body.ts";
import {
  accessDenied,
  bucketOfMany,
  invalidArgument,
  mayIn,
  ownBucket,
  type S3Call,
} from "./call.ts";
import { done, maybeNode, notFound, oneOf, readRoot, requiredText, setBucket } from "./document.ts";
import { objectArn } from "./permissions.ts";
import { remainingDays } from "./request_conditions.ts";
import { askedVersion, meantObject, standing } from "./version_ids.ts";
import { element, malformedXml, parseXml, text, type XmlNode, xmlResponse } from "./xml.ts";

const invalidRequest = (message: string) => new AwsError("InvalidRequest", message);

/** How long a bucket retains what is written into it. @throws AwsError `InvalidArgument` */
function period(retention: XmlNode, name: "Days" | "Years", most: number): number | undefined {
  const value = text(retention, name);
  if (value === undefined) return undefined;
  if (!/^-?\d{1,12}$/.test(value)) throw malformedXml();
  const number = Number(value);
  if (number < 1) {
    throw invalidArgument(
      "Default retention period must be a positive integer value.",
      name,
      value,
    );
  }
  if (number > most) throw invalidArgument("Default retention period too large.", name, value);
  return number;
}

export async function putObjectLockConfiguration(call: S3Call): Promise<Response> {
  ownBucket(call);
  needsDigest(call);
  const document = await readDocument(call);
  if (document === "") throw new AwsError("MissingRequestBodyError", "Request Body is empty");
  const root = parseXml(document, "ObjectLockConfiguration");
  if (text(root, "ObjectLockEnabled") !== "Enabled") throw malformedXml();
  const rule = maybeNode(root, "Rule");
  const retention = rule === undefined ? undefined : maybeNode(rule, "DefaultRetention");
  if (rule !== undefined && retention === undefined) throw malformedXml();
  let lock: BucketSettings["lock"] = {};
  if (retention !== undefined) {
    const days = period(retention, "Days", 36_500);
    const years = period(retention, "Years", 100);
    if ((days === undefined) === (years === undefined)) throw malformedXml();
    lock = {
      default: {
        mode: oneOf(text(retention, "Mode"), "GOVERNANCE", "COMPLIANCE"),
        ...(days === undefined ? {} : { days }),
        ...(years === undefined ? {} : { years }),
      },
    };
  }
  await setBucket(call, (now) => {
    if (now.versioning !== "Enabled") {
      throw new AwsError(
        "InvalidBucketState",
        "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        { status: 409 },
      );
    }
    return { lock };
  });
  return done();
}

export function getObjectLockConfiguration(call: S3Call): Response {
  const { lock } = ownBucket(call).settings;
  if (lock === undefined) {
    throw notFound(
      "ObjectLockConfigurationNotFoundError",
      "Object Lock configuration does not exist for this bucket",
    );
  }
  const rule = lock.default;
  return xmlResponse("ObjectLockConfiguration", [
    element("ObjectLockEnabled", "Enabled"),
    rule && element(
      "Rule",
      element("DefaultRetention", [
        element("Mode", rule.mode),
        rule.days === undefined ? undefined : element("Days", rule.days),
        rule.years === undefined ? undefined : element("Years", rule.years),
      ]),
    ),
  ]);
}

const noLock = () => invalidRequest("Bucket is missing Object Lock Configuration");

function lockedBucket(call: S3Call) {
  const bucket = ownBucket(call);
  if (bucket.settings.lock === undefined) throw noLock();
  return bucket;
}

const modeHeader = "x-amz-object-lock-mode";
const untilHeader = "x-amz-object-lock-retain-until-date";
const holdHeader = "x-amz-object-lock-legal-hold";

/** When retention ends. @throws AwsError `InvalidArgument` for what is no time to come */
function instant(value: string): number {
  const ms = /^\d{4}-\d\d-\d\dT/.test(value) ? Date.parse(value) : NaN;
  if (Number.isNaN(ms)) {
    throw invalidArgument(
      "The retain until date must be provided in ISO 8601 format",
      untilHeader,
      value,
    );
  }
  if (ms <= Date.now()) {
    throw invalidArgument("The retain until date must be in the future!", untilHeader, value);
  }
  return ms;
}

/** The lock that a write's headers ask for. @throws AwsError */
function askedLock(call: S3Call, settings: BucketSettings): ObjectLock | undefined {
  const mode = call.headers.get(modeHeader);
  const until = call.headers.get(untilHeader);
  const hold = call.headers.get(holdHeader);
  if (mode === null && until === null && (hold === null || hold === "OFF")) return undefined;
  if (settings.lock === undefined) {
    // Written otherwise than where the lock of an object that is there is meant.
    throw invalidRequest("Bucket is missing ObjectLockConfiguration");
  }
  if ((mode === null) !== (until === null)) {
    throw invalidArgument(
      `${untilHeader} and ${modeHeader} must both be supplied`,
      mode === null ? modeHeader : untilHeader,
    );
  }
  if (mode !== null && mode !== "GOVERNANCE" && mode !== "COMPLIANCE") {
    throw invalidArgument("Unknown wormMode directive.", modeHeader, mode);
  }
  if (hold !== null && hold !== "ON" && hold !== "OFF") {
    throw invalidArgument("Legal Hold must be either of 'ON' or 'OFF'", holdHeader, hold);
  }
  const retention = mode === null || until === null
    ? undefined
    : { mode, until_ms: instant(until) } as Retention;
  return {
    ...(retention === undefined ? {} : { retention }),
    ...(hold === "ON" ? { legal_hold: true } : {}),
  };
}

const bypassHeader = "x-amz-bypass-governance-retention";

/** @throws AwsError `InvalidArgument` where there is no lock that could be bypassed */
export function checkBypass(headers: Headers, { settings }: Pick<BucketRow, "settings">): void {
  if (settings.lock !== undefined || !headers.has(bypassHeader)) return;
  throw invalidArgument(
    `${bypassHeader} is only applicable to Object Lock enabled buckets.`,
    bypassHeader,
  );
}

/** What locks a new object: what its headers ask for, and what its bucket gives where they ask for no retention. */
export function newLock(call: S3Call, settings: BucketSettings): ObjectLock | undefined {
  const asked = askedLock(call, settings);
  const given = defaultLock(settings, Date.now());
  return asked === undefined || given === undefined ? asked ?? given : { ...given, ...asked };
}

/**
 * What is to be kept unchanged has to come unchanged: AWS demands a digest of it. Who writes through a form or for
 * somebody else brings none.
 * @throws AwsError `InvalidRequest`
 */
export function requireDigest(call: S3Call, lock: ObjectLock | undefined, what: string): void {
  if (lock?.retention === undefined && lock?.legal_hold !== true) return;
  if (call.verified === undefined || call.verified.signature === "") return;
  for (const name of call.headers.keys()) {
    if (/^(content-md5|x-amz-checksum-.+|x-amz-sdk-checksum-algorithm|x-amz-trailer)$/.test(name)) {
      return;
    }
  }
  throw invalidRequest(
    `Content-MD5 OR x-amz-checksum- HTTP header is required for ${what} requests with Object Lock parameters`,
  );
}

/** Whether the caller asks to bypass governance, and may. */
export async function bypasses(call: S3Call, key = call.key): Promise<boolean> {
  if (call.headers.get(bypassHeader)?.toLowerCase() !== "true") return false;
  const resource = objectArn(call.bucket, key);
  if (!await call.may({ action: "s3:BypassGovernanceRetention", resource })) throw accessDenied();
  return true;
}

/** @throws AwsError `AccessDenied` when a lock protects the version */
export function checkLock(object: ObjectRow | undefined, bypass: boolean): void {
  if (object === undefined || !isLocked(object, Date.now(), bypass)) return;
  throw new AwsError("AccessDenied", "Access Denied because object protected by object lock.", {
    status: 403,
  });
}

async function change(
  call: S3Call,
  make: (now: ObjectLock) => ObjectLock,
  revised?: Revised,
): Promise<Response> {
  const bucket = lockedBucket(call);
  const version = askedVersion(call.query);
  await call.store.objects.annotate(bucket, call.key, version, (found) => {
    const { tags, lock = {} } = standing(version, found).meta;
    return { ...(tags === undefined ? {} : { tags }), lock: make(lock) };
  }, revised);
  return done();
}

/** Policies may look at what a document asks for, so the caller is asked about behind it. @throws AwsError `AccessDenied` */
async function demand(
  call: S3Call,
  action: string,
  conditions: Readonly<Record<string, string>>,
): Promise<void> {
  const bucket = bucketOfMany(call);
  const resource = objectArn(bucket.name, call.key);
  const version = call.query.get("versionId");
  if (!await mayIn(call, bucket, { action, resource, version, conditions })) throw accessDenied();
}

export async function putObjectRetention(call: S3Call): Promise<Response> {
  bucketOfMany(call);
  const root = await readRoot(call, "Retention");
  const mode = text(root, "Mode");
  const until = text(root, "RetainUntilDate");
  if ((mode === undefined) !== (until === undefined)) throw malformedXml();
  const retention = mode === undefined || until === undefined ? undefined : {
    mode: oneOf(mode, "GOVERNANCE", "COMPLIANCE"),
    until_ms: instant(until),
  };
  await demand(
    call,
    "s3:PutObjectRetention",
    retention === undefined ? {} : {
      "s3:object-lock-mode": retention.mode,
      "s3:object-lock-retain-until-date": new Date(retention.until_ms).toISOString(),
      "s3:object-lock-remaining-retention-days": remainingDays(retention.until_ms),
    },
  );
  lockedBucket(call);
  const bypass = await bypasses(call);
  return await change(call, ({ retention: now, ...rest }) => {
    if (!mayChange(now, retention, Date.now(), bypass)) {
      throw new AwsError("AccessDenied", "Access Denied because object protected by object lock.", {
        status: 403,
      });
    }
    return { ...rest, ...(retention === undefined ? {} : { retention }) };
  }, "Retention:Put");
}

const noSuchLock = () =>
  notFound(
    "NoSuchObjectLockConfiguration",
    "The specified object does not have a ObjectLock configuration",
  );

export function getObjectRetention(call: S3Call): Response {
  const bucket = lockedBucket(call);
  const { lock } = meantObject(call, bucket, call.key, askedVersion(call.query)).meta;
  if (lock?.retention === undefined) throw noSuchLock();
  return xmlResponse("Retention", [
    element("Mode", lock.retention.mode),
    element("RetainUntilDate", new Date(lock.retention.until_ms).toISOString()),
  ]);
}

export async function putObjectLegalHold(call: S3Call): Promise<Response> {
  bucketOfMany(call);
  const root = await readRoot(call, "LegalHold");
  const status = oneOf(requiredText(root, "Status"), "ON", "OFF");
  await demand(call, "s3:PutObjectLegalHold", { "s3:object-lock-legal-hold": status });
  return await change(call, (now) => ({ ...now, legal_hold: status === "ON" }));
}

export function getObjectLegalHold(call: S3Call): Response {
  const bucket = lockedBucket(call);
  const { lock } = meantObject(call, bucket, call.key, askedVersion(call.query)).meta;
  if (lock?.legal_hold === undefined) throw noSuchLock();
  return xmlResponse("LegalHold", element("Status", lock.legal_hold ? "ON" : "OFF"));
}

/** What answers say of a version that is locked. */
export function tellLock(headers: Headers, lock: ObjectLock | undefined): void {
  if (lock?.retention !== undefined) {
    headers.set("x-amz-object-lock-mode", lock.retention.mode);
    headers.set(
      "x-amz-object-lock-retain-until-date",
      new Date(lock.retention.until_ms).toISOString(),
    );
  }
  if (lock?.legal_hold !== undefined) {
    headers.set("x-amz-object-lock-legal-hold", lock.legal_hold ? "ON" : "OFF");
  }
}
