/**
 * Bucket policies: kept here, judged by identity, to whom the policy goes with every question about the
 * bucket. What is not a policy, or names who is not there, is refused before it is kept. A policy means who had an ARN
 * when it was written, whose ids are kept beside it.
 */
import { AwsError } from "../../aws/errors.ts";
import type { BucketRow } from "../index/rows.ts";
import type { BucketSettings } from "../objects/settings.ts";
import { readDocument } from "./body.ts";
import { ownBucket, type S3Call } from "./call.ts";
import { done, notFound, setBucket } from "./document.ts";
import { bucketArn } from "./permissions.ts";
import { type Kind, kindsOf, matches } from "./policy_actions.ts";
import { checkConditions } from "./policy_conditions.ts";
import { blocksOf } from "./public_access.ts";
import { isPublic } from "./public_policy.ts";
import { element, xmlResponse } from "./xml.ts";

const largest_bytes = 20 * 1024;

const malformed = (message: string) => new AwsError("MalformedPolicy", message);

interface Statement {
  readonly Effect?: unknown;
  readonly Principal?: unknown;
  readonly Action?: unknown;
  readonly NotAction?: unknown;
  readonly Resource?: unknown;
  readonly NotResource?: unknown;
  readonly NotPrincipal?: unknown;
  readonly Condition?: unknown;
}

const list = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [value];

function statements(text: string): readonly Statement[] {
  let policy: { readonly Version?: unknown; readonly Statement?: unknown } | null;
  if (!text.startsWith("{")) {
    throw malformed("Policies must be valid JSON and the first byte must be '{'");
  }
  try {
    policy = JSON.parse(text);
  } catch {
    throw malformed("This policy contains invalid Json");
  }
  if (typeof policy !== "object" || policy === null || policy.Statement === undefined) {
    throw malformed("Missing required field Statement");
  }
  if (
    policy.Version !== undefined && policy.Version !== "2012-10-17" &&
    policy.Version !== "2008-10-17"
  ) {
    throw malformed("The policy must contain a valid version string");
  }
  const all = list(policy.Statement) as readonly Statement[];
  if (all.length === 0) throw malformed("Could not parse the policy: Statement is empty!");
  return all;
}

/** Whom a policy can speak of: all that identity knows. */
const principalForms: Readonly<Record<string, RegExp>> = {
  AWS:
    /^(\*|\d{12}|arn:aws:iam::\d{12}:(root|(user|role)\/[\x21-\x7e]+)|arn:aws:sts::\d{12}:(assumed-role|federated-user)\/[\x21-\x7e]+)$/,
  Service: /^[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com$/,
};

function checkPrincipal(principal: unknown): void {
  if (principal === undefined) throw malformed("Missing required field Principal");
  if (principal === "*") return;
  const kinds = typeof principal === "object" && principal !== null && !Array.isArray(principal)
    ? Object.entries(principal)
    : [];
  const known = kinds.length > 0 && kinds.every(([kind, given]) => {
    const form = Object.hasOwn(principalForms, kind) ? principalForms[kind] : undefined;
    return form !== undefined &&
      list(given).length > 0 &&
      list(given).every((one) => typeof one === "string" && form.test(one));
  });
  if (!known) throw malformed("Invalid principal in policy");
}

/** What a resource is, in that bucket; nothing where it is none of it. Wildcards mean what they match. */
function kindsOfResource(resource: unknown, bucket: string): readonly Kind[] {
  const [, name = "", key] = /^arn:aws:s3:::([^/]*)(\/.*)?$/s.exec(String(resource)) ?? [];
  if (name === "" || !matches(name, bucket)) return [];
  if (key !== undefined) return ["object"];
  return name.endsWith("*") ? ["bucket", "object"] : ["bucket"];
}

/** @throws AwsError `MalformedPolicy` */
export function checkPolicy(text: string, bucket: string): void {
  for (const one of statements(text)) {
    if (typeof one !== "object" || one === null) throw malformed("Invalid policy syntax.");
    if (one.Effect !== "Allow" && one.Effect !== "Deny") {
      throw malformed(`Invalid effect: ${String(one.Effect)}`);
    }
    checkPrincipal(one.Principal ?? one.NotPrincipal);
    const named = one.Action ?? one.NotAction;
    if (named === undefined) throw malformed("Missing required field Action");
    const actions = list(named).map((action) =>
      typeof action === "string" ? kindsOf(action) : undefined
    );
    if (actions.length === 0 || actions.includes(undefined)) {
      throw malformed("Policy has invalid action");
    }
    const meant = one.Resource ?? one.NotResource;
    if (meant === undefined) throw malformed("Missing required field Resource");
    const resources = list(meant).map((resource) => kindsOfResource(resource, bucket));
    if (resources.length === 0 || resources.some((kinds) => kinds.length === 0)) {
      throw malformed("Policy has invalid resource");
    }
    checkConditions(one.Condition);
    // What a statement excepts leaves something else.
    if (one.Action === undefined || one.Resource === undefined) continue;
    if (actions.some((kinds) => !resources.flat().some((kind) => kinds?.has(kind)))) {
      throw malformed("Action does not apply to any resource(s) in statement");
    }
  }
}

/** A public policy lets nobody in from outside the account where that is blocked. */
export const isRestricted = (settings: BucketSettings): boolean =>
  settings.policy !== undefined && blocksOf(settings)?.restrict_public_buckets === true &&
  isPublic(settings.policy);

/** Only the owner's account deals with the policy itself, whatever that says. @throws AwsError */
function policyOwner(call: S3Call): BucketRow {
  const bucket = ownBucket(call);
  if (bucket.account_id === call.account_id) return bucket;
  throw new AwsError(
    "MethodNotAllowed",
    "The specified method is not allowed against this resource.",
    { status: 405 },
  );
}

/** @throws AwsError `MalformedPolicy` when the policy names who is not there, or identity could not weigh it */
async function trustOf({ policyTrust }: S3Call, text: string) {
  try {
    const trusted = await policyTrust.of(text);
    return Object.keys(trusted).length === 0 ? undefined : trusted;
  } catch (error) {
    if (!(error instanceof AwsError) || error.code !== "MalformedPolicyDocument") throw error;
    throw new AwsError("MalformedPolicy", error.message, { cause: error });
  }
}

export async function putBucketPolicy(call: S3Call): Promise<Response> {
  const bucket = policyOwner(call);
  const text = await readDocument(call);
  if (new TextEncoder().encode(text).length > largest_bytes) {
    throw new AwsError("PolicyTooLarge", "The policy exceeds the maximum allowed document size.");
  }
  checkPolicy(text, bucket.name);
  const policy_trusted = await trustOf(call, text);
  await setBucket(call, (now) => {
    if (isPublic(text) && blocksOf(now)?.block_public_policy === true) {
      throw new AwsError(
        "AccessDenied",
        `User is not authorized to perform: s3:PutBucketPolicy on resource: "${
          bucketArn(bucket.name)
        }" because public policies are blocked by the BlockPublicPolicy block public access setting.`,
        { status: 403 },
      );
    }
    return { policy: text, policy_trusted };
  });
  return done(204);
}

const noPolicy = () => notFound("NoSuchBucketPolicy", "The bucket policy does not exist");

export async function getBucketPolicy(call: S3Call): Promise<Response> {
  const { policy, policy_trusted: trusted } = policyOwner(call).settings;
  if (policy === undefined) throw noPolicy();
  const shown = trusted === undefined
    ? policy
    : await call.policyTrust.shown({ document: policy, trusted });
  return new Response(shown, { headers: { "content-type": "application/json" } });
}

export function getBucketPolicyStatus(call: S3Call): Response {
  const { policy } = ownBucket(call).settings;
  if (policy === undefined) throw noPolicy();
  return xmlResponse("PolicyStatus", element("IsPublic", isPublic(policy)));
}

export async function deleteBucketPolicy(call: S3Call): Promise<Response> {
  policyOwner(call);
  await setBucket(call, () => ({ policy: undefined, policy_trusted: undefined }));
  return done(204);
}
