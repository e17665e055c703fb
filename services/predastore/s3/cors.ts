/**
 * CORS: which origins a browser may let read a bucket, the preflight question, and the headers that
 * answers carry. The rules grant nothing by themselves: a request is signed and authorised as any other.
 */
import { AwsError } from "../../aws/errors.ts";
import type { CorsRule } from "../objects/settings.ts";
import type { Store } from "../store.ts";
import { DetailedError, ownBucket, type S3Call } from "./call.ts";
import { done, nodes, notFound, readRoot, setBucket, texts } from "./document.ts";
import { element, malformedXml, text, xmlResponse } from "./xml.ts";

const methods = ["GET", "PUT", "HEAD", "POST", "DELETE"];
const mostRules = 100;
/** What a preflight may ask for at all, as it is written. */
const askable = [...methods, "PATCH", "OPTIONS"];

const invalid = (message: string) => new AwsError("InvalidRequest", message);

/** @param kind how a refusal calls the patterns */
function checkWildcards(kind: string, patterns: readonly string[]): void {
  const wrong = patterns.find((one) => one.split("*").length > 2);
  if (wrong === undefined) return;
  throw invalid(`${kind} "${wrong}" can not have more than one wildcard.`);
}

export async function putBucketCors(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "CORSConfiguration");
  const asked = nodes(root, "CORSRule");
  if (asked.length > mostRules) {
    throw invalid(
      `The number of CORS rules should not exceed allowed limit of ${mostRules} rules.`,
    );
  }
  const cors = asked.map((one): CorsRule => {
    const rule = {
      origins: texts(one, "AllowedOrigin"),
      methods: texts(one, "AllowedMethod"),
      headers: texts(one, "AllowedHeader"),
      exposed: texts(one, "ExposeHeader"),
    };
    if (rule.origins.length === 0 || rule.methods.length === 0) throw malformedXml();
    for (const method of rule.methods) {
      if (methods.includes(method)) continue;
      throw invalid(
        `Found unsupported HTTP method in CORS config. Unsupported method is ${method}`,
      );
    }
    checkWildcards("AllowedOrigin", rule.origins);
    checkWildcards("AllowedHeader", rule.headers);
    const wild = rule.exposed.find((name) => name.includes("*"));
    if (wild !== undefined) {
      throw invalid(
        `ExposeHeader "${wild}" contains wildcard. We currently do not support wildcard for ExposeHeader.`,
      );
    }
    const id = text(one, "ID");
    const age = text(one, "MaxAgeSeconds");
    if (age !== undefined && !/^\d{1,9}$/.test(age)) throw malformedXml();
    return {
      ...rule,
      ...(id === undefined ? {} : { id }),
      ...(age === undefined ? {} : { max_age_s: Number(age) }),
    };
  });
  if (cors.length === 0) throw malformedXml();
  await setBucket(call, () => ({ cors }));
  return done();
}

export function getBucketCors(call: S3Call): Response {
  const { cors } = ownBucket(call).settings;
  if (cors === undefined) {
    throw notFound("NoSuchCORSConfiguration", "The CORS configuration does not exist");
  }
  return xmlResponse(
    "CORSConfiguration",
    cors.map((rule) =>
      element("CORSRule", [
        rule.id === undefined ? undefined : element("ID", rule.id),
        rule.methods.map((one) => element("AllowedMethod", one)),
        rule.origins.map((one) => element("AllowedOrigin", one)),
        rule.headers.map((one) => element("AllowedHeader", one)),
        rule.exposed.map((one) => element("ExposeHeader", one)),
        rule.max_age_s === undefined ? undefined : element("MaxAgeSeconds", rule.max_age_s),
      ])
    ),
  );
}

export async function deleteBucketCors(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ cors: undefined }));
  return done(204);
}

function fits(pattern: string, value: string): boolean {
  const [before = "", after] = pattern.split("*");
  if (after === undefined) return pattern === value;
  return value.length >= before.length + after.length && value.startsWith(before) &&
    value.endsWith(after);
}

/** The first rule that lets an origin do this. */
function matchingRule(
  rules: readonly CorsRule[],
  origin: string,
  method: string,
  headers: readonly string[],
): CorsRule | undefined {
  return rules.find((rule) =>
    rule.methods.includes(method) && rule.origins.some((one) => fits(one, origin)) &&
    headers.every((header) =>
      rule.headers.some((one) => fits(one.toLowerCase(), header.toLowerCase()))
    )
  );
}

function grant(headers: Headers, rule: CorsRule, origin: string): void {
  const anyone = rule.origins.includes("*");
  headers.set("access-control-allow-origin", anyone ? "*" : origin);
  headers.set("access-control-allow-methods", rule.methods.join(", "));
  if (rule.exposed.length > 0) {
    headers.set("access-control-expose-headers", rule.exposed.join(", "));
  }
  if (rule.max_age_s !== undefined) headers.set("access-control-max-age", String(rule.max_age_s));
  if (!anyone) headers.set("access-control-allow-credentials", "true");
  headers.append("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
}

const wantedHeaders = (asked: Headers) =>
  (asked.get("access-control-request-headers") ?? "").split(",")
    .map((name) => name.trim()).filter((name) => name !== "");

/** Answers a browser's question before it asks; nobody signs it. */
export function preflight(store: Store, bucket: string, key: string, asked: Headers): Response {
  const origin = asked.get("origin");
  const method = asked.get("access-control-request-method");
  if (origin === null || origin === "") {
    throw new AwsError(
      "BadRequest",
      "Insufficient information. Origin request header needed.",
    );
  }
  // A method that is none at all is refused before the bucket is looked for.
  if (method !== null && method !== "" && !askable.includes(method)) {
    throw new AwsError("BadRequest", `Invalid Access-Control-Request-Method: ${method}`);
  }
  const refused = (message: string, kind = "BUCKET", Method = method || "OPTIONS") =>
    new DetailedError("AccessForbidden", `CORSResponse: ${message}`, {
      status: 403,
      elements: { Method, ResourceType: kind },
    });
  const row = store.buckets.find(bucket);
  if (row === undefined) throw refused("Bucket not found");
  const rules = row.settings.cors;
  if (rules === undefined) throw refused("CORS is not enabled for this bucket.");
  if (method === null) {
    throw new AwsError("BadRequest", "Invalid Access-Control-Request-Method: null");
  }
  const wanted = wantedHeaders(asked);
  const rule = matchingRule(rules, origin, method, wanted);
  if (rule === undefined) {
    throw refused(
      "This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
      key === "" ? "BUCKET" : "OBJECT",
    );
  }
  const headers = new Headers();
  grant(headers, rule, origin);
  if (wanted.length > 0) {
    headers.set("access-control-allow-headers", wanted.join(", ").toLowerCase());
  }
  return new Response(null, { headers });
}

/** Lets a browser read an answer, where a rule allows its page to. */
export function shareAnswer(
  store: Store,
  bucket: string,
  method: string,
  asked: Headers,
  answer: Headers,
): void {
  const origin = asked.get("origin");
  if (origin === null || bucket === "") return;
  const rules = store.buckets.find(bucket)?.settings.cors ?? [];
  // What a preflight would name stands in place of what the request is, as S3 has it.
  const named = asked.get("access-control-request-method") || method;
  const rule = matchingRule(rules, origin, named, wantedHeaders(asked));
  if (rule !== undefined) grant(answer, rule, origin);
}
