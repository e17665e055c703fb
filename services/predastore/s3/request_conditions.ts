/**
 * What of a request policies may look at, by IAM's names of condition keys: of its headers and query, of how it
 * came, and of whose the bucket is. Who asks, when and from where identity knows by itself.
 */
import { signedAt } from "../../aws/signatures/claims.ts";
import type { BucketRow } from "../index/rows.ts";
import type { Store } from "../store.ts";
import { keyOf, type Permission } from "./permissions.ts";
import { tagConditions, tagsOfHeader } from "./tagging.ts";
import { copySourceTarget } from "./target.ts";

type Conditions = Record<string, string | readonly string[]>;

/** Headers that are a key as they are called. */
const asCalled = [
  "if-match",
  "if-none-match",
  "x-amz-acl",
  "x-amz-grant-full-control",
  "x-amz-grant-read",
  "x-amz-grant-read-acp",
  "x-amz-grant-write",
  "x-amz-grant-write-acp",
  "x-amz-metadata-directive",
  "x-amz-object-ownership",
  "x-amz-server-side-encryption",
  "x-amz-server-side-encryption-aws-kms-key-id",
  "x-amz-server-side-encryption-customer-algorithm",
  "x-amz-storage-class",
  "x-amz-website-redirect-location",
] as const;
/** Nothing is compared with these where a document says what is asked for. */
const ofHeadersAlone = ["s3:if-match", "s3:if-none-match"];
const renamed: Readonly<Record<string, string>> = {
  "referer": "aws:Referer",
  "user-agent": "aws:UserAgent",
};
/** What a write asks for besides its object. */
const ofLocks: Readonly<Record<string, string>> = {
  "x-amz-object-lock-legal-hold": "s3:object-lock-legal-hold",
  "x-amz-object-lock-mode": "s3:object-lock-mode",
  "x-amz-object-lock-retain-until-date": "s3:object-lock-retain-until-date",
};

export interface AskedRequest {
  readonly headers: Headers;
  readonly query: URLSearchParams;
  /** How it is signed; undefined where it is not. */
  readonly signed: "REST-HEADER" | "REST-QUERY-STRING" | "POST" | undefined;
  /** When a URL or a form was signed that may be used later. */
  readonly amz_date?: string | undefined;
  /** Of the bucket. */
  readonly account_id: string | undefined;
  /** What the operation knows by itself, from its document or its query. */
  readonly conditions?: Permission["conditions"];
  readonly creates?: Permission["creates"];
}

/** What the headers of a write ask for besides: tags, and a lock. */
function besides(headers: Headers): Conditions {
  const found: Conditions = {};
  for (const [name, key] of Object.entries(ofLocks)) {
    const value = headers.get(name);
    if (value !== null) found[key] = value;
  }
  const until_ms = Date.parse(headers.get("x-amz-object-lock-retain-until-date") ?? "");
  if (!Number.isNaN(until_ms)) {
    found["s3:object-lock-remaining-retention-days"] = remainingDays(until_ms);
  }
  const tagging = headers.get("x-amz-tagging");
  return tagging === null ? found : { ...found, ...tagConditions(tagsOfHeader(tagging)) };
}

/** How many days an object is still to be retained: one that has begun counts. */
export const remainingDays = (until_ms: number) =>
  String(Math.max(0, Math.ceil((until_ms - Date.now()) / 86_400_000)));

/** In milliseconds as policies count, and whole seconds, so that answers to the same question can be remembered. */
function ageOf(amz_date: string | undefined): string | undefined {
  const signed_ms = amz_date === undefined ? undefined : signedAt(amz_date);
  if (signed_ms === undefined) return undefined;
  return String(Math.max(0, Math.floor((Date.now() - signed_ms) / 1000) * 1000));
}

/** Of the many ways to write a source the one that policies name, so that none of the others gets around them. */
function sourceOf(headers: Headers): string | null {
  const written = headers.get("x-amz-copy-source");
  if (written === null) return null;
  try {
    const { bucket, key } = copySourceTarget(written);
    return `${bucket}/${key}`;
  } catch {
    // Nothing can be copied from what names no source.
    return written;
  }
}

export function requestConditions(request: AskedRequest): Conditions {
  const { headers, query, signed, account_id } = request;
  // Every door that clients reach is TLS.
  const found: Conditions = { "aws:SecureTransport": "true" };
  const set = (key: string, value: string | null | undefined) => {
    if (value !== null && value !== undefined) found[key] = value;
  };
  for (const name of asCalled) set(`s3:${name}`, headers.get(name));
  set("s3:x-amz-copy-source", sourceOf(headers));
  for (const [name, key] of Object.entries(renamed)) set(key, headers.get(name));
  // A hash differs with every request, and says nothing that a policy could mean.
  const payload = headers.get("x-amz-content-sha256");
  if (!/^[0-9a-f]{64}$/i.test(payload ?? "")) set("s3:x-amz-content-sha256", payload);
  set("s3:VersionId", query.get("versionId"));
  set("s3:authType", signed);
  if (signed !== undefined) set("s3:signatureversion", "AWS4-HMAC-SHA256");
  set("s3:signatureAge", ageOf(request.amz_date));
  if (account_id !== undefined && account_id !== "") {
    set("s3:ResourceAccount", account_id);
    set("aws:ResourceAccount", account_id);
  }
  if (request.creates !== undefined) {
    found["s3:ObjectCreationOperation"] = String(request.creates);
  }
  if (request.conditions === undefined) return { ...found, ...besides(headers) };
  // Where a document says it, headers do not.
  for (const name of ofHeadersAlone) delete found[name];
  return { ...found, ...request.conditions };
}

/** Actions for which policies may look at the tags that an object has. */
const ofTagged = /^s3:(GetObject(Version)?|(Get|Put|Delete)Object(Version)?(Acl|Tagging))$/;

/** The tags of the object that is asked for, if there is one. */
export function existingTags(
  store: Pick<Store, "objects">,
  bucket: BucketRow | undefined,
  { action, resource, version }: Permission,
): Conditions {
  const key = keyOf(resource);
  if (bucket === undefined || key === undefined || !ofTagged.test(action)) return {};
  const tags = store.objects.find(bucket, key, version ?? undefined)?.meta.tags ?? [];
  return Object.fromEntries(tags.map((tag) => [`s3:ExistingObjectTag/${tag.key}`, tag.value]));
}
