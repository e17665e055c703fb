/**
 * Takes S3 requests in: verifies who asks, finds the operation, and answers with AWS's errors.
 *
 * Four doors lead here. On the public one the client's own target and authority are verified; on the
 * front one the gateway names them in headers that it alone can set, since the socket's permissions
 * keep everybody else out; on the system door the peer is trusted and acts as the system; on the delegate
 * door it is trusted to say for whom it asks, who may there what he may at any other door. A body that
 * stops coming for a minute is cut off, so that a slow client holds nothing but its own connection.
 */
import { AwsError } from "../../aws/errors.ts";
import { isSigned } from "../../aws/signatures/s3_claims.ts";
import {
  type SigningGrant,
  type SigningScope,
  type Verified,
  verify,
} from "../../aws/signatures/sigv4.ts";
import { frontReplyHeaders } from "../../gateway/contract.ts";
import { errorFields, inRequest, type Log } from "../../log/log.ts";
import { delegateHeaders, frontHeaders } from "../contract.ts";
import type { CallContext } from "../../bus/subject.ts";
import type { AuthorizeDecision, ResourcePolicy } from "../../identity/contract.ts";
import type { Store } from "../store.ts";
import {
  accessDenied,
  type BodyWatch,
  invalidArgument,
  notImplemented,
  type S3Call,
} from "./call.ts";
import { parseTarget, type Target } from "./target.ts";
import { preflight, shareAnswer } from "./cors.ts";
import { errorReply, publicError } from "./error_reply.ts";
import { Meter } from "./meter.ts";
import { operationOf } from "./operation_names.ts";
import { refusing, served, withdrawn } from "./operations.ts";
import { checkPayloadForm } from "./payload_form.ts";
import { bucketArn, bucketOf, type Permission, permissionsOf } from "./permissions.ts";
import { isRestricted } from "./bucket_policy.ts";
import { type AskedRequest, existingTags, requestConditions } from "./request_conditions.ts";
import { type Cause, causedBy } from "../objects/cause.ts";
import { noSuchBucket } from "../objects/commits.ts";
import { anonymous, authenticationNeeded, isNobody } from "./nobody.ts";
import { pathStyle } from "./virtual_host.ts";

export type DoorKind = "public" | "front" | "delegate" | "system";

export interface DoorOptions {
  readonly store: Store;
  readonly region: string;
  readonly log: Log;
  readonly lookup: (scope: SigningScope) => Promise<SigningGrant>;
  /** Whether a caller may; the system on its own door is never asked for. */
  readonly authorize: (permission: Permission, context: CallContext) => Promise<boolean>;
  /** The same where the bucket has a policy, which is weighed too. */
  readonly weigh: (
    permission: Permission,
    policy: ResourcePolicy,
    context: CallContext,
  ) => Promise<AuthorizeDecision>;
}

const slowestChunk_ms = 60_000;
/** As S3 limits them. What is far beyond is refused by the HTTP server itself. */
const largestHeaders_bytes = 8 * 1024;
/** What the gateway adds, which its client did not send as headers. */
const gatewayHeaders: ReadonlySet<string> = new Set(Object.values(frontHeaders));
/** How long a request waits to hear whether it may. */
const authorized_ms = 5_000;

/** Cuts off bodies that do not move; one timer for all of them. */
export class SlowBodies implements BodyWatch, Disposable {
  readonly #bodies = new Set<{ last_ms: number; readonly stop: () => void }>();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(limit_ms = slowestChunk_ms) {
    this.#timer = setInterval(() => {
      const oldest = performance.now() - limit_ms;
      for (const body of this.#bodies) if (body.last_ms < oldest) body.stop();
    }, limit_ms / 4);
  }

  begin(stop: () => void) {
    const body = { last_ms: performance.now(), stop };
    this.#bodies.add(body);
    return {
      progress: () => {
        body.last_ms = performance.now();
      },
      end: () => {
        this.#bodies.delete(body);
      },
    };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

type Asked = Omit<AskedRequest, "account_id" | "conditions">;

interface Arrived {
  readonly target: string;
  readonly authority: string;
  readonly request_id: string;
  /** Empty where it is not known. */
  readonly source_ip: string;
}

function arrived(kind: DoorKind, request: Request, remote: Deno.Addr | undefined): Arrived {
  const url = request.url;
  const pathAt = url.indexOf("/", url.indexOf("://") + 3);
  const target = pathAt < 0 ? "/" : url.slice(pathAt);
  // Over HTTP/2 there is no Host header; the URL has the authority.
  const authority = request.headers.get("host") ??
    url.slice(url.indexOf("://") + 3, pathAt < 0 ? url.length : pathAt);
  if (kind !== "front" && kind !== "delegate") {
    const host = remote !== undefined && "hostname" in remote ? remote.hostname : "";
    const source_ip = host.replace(/^::ffff:/, "");
    return { target, authority, request_id: crypto.randomUUID(), source_ip };
  }
  return {
    source_ip: request.headers.get(frontHeaders.sourceIp) ?? "",
    target: request.headers.get(frontHeaders.target) ?? target,
    authority: request.headers.get(frontHeaders.authority) ?? authority,
    request_id: request.headers.get(frontHeaders.requestId) ?? crypto.randomUUID(),
  };
}

export class Door implements Disposable {
  readonly #options: DoorOptions;
  readonly #watch = new SlowBodies();
  readonly meter = new Meter();

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  /** The handler for one kind of door. */
  handler(
    kind: DoorKind,
  ): (request: Request, info?: { readonly remoteAddr: Deno.Addr }) => Promise<Response> {
    return async (request, info) => {
      const from = arrived(kind, request, kind === "public" ? info?.remoteAddr : undefined);
      const started = performance.now();
      const response = await inRequest(
        from.request_id,
        () => this.#answer(kind, request, from),
      );
      this.meter.ended(response.status, performance.now() - started);
      this.meter.bytes_in += Number(request.headers.get("content-length") ?? 0);
      this.meter.bytes_out += Number(response.headers.get("content-length") ?? 0);
      return response;
    };
  }

  async #answer(kind: DoorKind, request: Request, from: Arrived): Promise<Response> {
    const { log } = this.#options;
    const started = performance.now();
    let action = "";
    let verified: Verified | undefined;
    let response: Response;
    let refused = "";
    let named = { bucket: "", key: "" };
    let may: S3Call["may"] | undefined;
    try {
      const target = parseTarget(
        kind === "system" ? from.target : pathStyle(from.authority, from.target),
      );
      named = target;
      if (request.method === "OPTIONS") {
        action = "PreflightRequest";
        return this.#finish(
          kind,
          preflight(this.#options.store, target.bucket, target.key, request.headers),
          from,
          { action, refused, verified },
        );
      }
      // A form carries its signature in itself.
      if (kind !== "system") {
        verified = kind === "delegate"
          ? delegated(request, this.#options.region)
          : isForm(request, target)
          ? anonymous(request, this.#options.region)
          : await this.#verify(request, from);
      }
      const shared = new Set<string>();
      const headers = verified?.presigned === true
        ? withHoisted(request.headers, target.query)
        : request.headers;
      action = operationOf(request.method, target, headers);
      checkPayloadForm(action, verified?.payload_hash);
      const signed = verified === undefined || isNobody(verified.grant)
        ? undefined
        : verified.presigned
        ? "REST-QUERY-STRING"
        : "REST-HEADER";
      const amz_date = verified?.presigned === true ? verified.amz_date : undefined;
      const asked = { headers, query: target.query, signed, amz_date } as const;
      may = this.#mayOf(verified, from, asked, shared);
      // The system may everything.
      const needed = verified === undefined ? [] : permissionsOf(action, target, headers);
      for (const permission of needed) {
        if (await may(permission)) continue;
        // Whether there is such a bucket is no secret.
        const exists = this.#options.store.buckets.find(target.bucket) !== undefined;
        const nobody = verified !== undefined && isNobody(verified.grant);
        if (nobody && action === "CreateBucket") throw authenticationNeeded();
        throw nobody && target.bucket !== "" && !exists ? noSuchBucket() : accessDenied();
      }
      const handler = served[action] ?? refusing[action] ?? withdrawn[action];
      if (handler === undefined) throw notImplemented(action);
      const call: S3Call = {
        ...target,
        store: this.#options.store,
        log,
        region: this.#options.region,
        request,
        method: request.method,
        headers,
        request_id: from.request_id,
        authority: from.authority,
        account_id: verified?.grant.account_id ?? "",
        verified,
        may,
        shared,
        lookup: this.#options.lookup,
        mayAs: ({ grant, scope, amz_date }, permission, form) => {
          const signed = isNobody(grant) ? undefined : "POST" as const;
          const asked = { headers: form, query: new URLSearchParams(), signed, amz_date };
          return this.#ask(grant, scope, from, asked, permission, shared);
        },
        watch: this.#watch,
      };
      const cause = causeOf(verified, from);
      response = await (cause === undefined ? handler(call) : causedBy(cause, () => handler(call)));
    } catch (error) {
      const told = await mayKnow(request.method, named.bucket, publicError(error), may);
      refused = told.code;
      if (told.status >= 500 && told.code !== "NotImplemented") {
        log.error("request_failed", { action, ...named, ...errorFields(error) });
      }
      response = errorReply(told, {
        ...named,
        method: request.method,
        request_id: from.request_id,
      });
      this.#tellRegion(request.method, named, response.headers);
      await discard(request);
    }
    shareAnswer(
      this.#options.store,
      named.bucket,
      request.method,
      request.headers,
      response.headers,
    );
    response = this.#finish(kind, response, from, { action, refused, verified });
    log.debug("request", {
      action,
      ...named,
      status: response.status,
      duration_ms: performance.now() - started,
    });
    return response;
  }

  /** HeadBucket tells where a bucket is also to whom it tells nothing else: so clients find its region. */
  #tellRegion(
    method: string,
    { bucket, key }: { readonly bucket: string; readonly key: string },
    headers: Headers,
  ): void {
    if (method !== "HEAD" || key !== "") return;
    const found = this.#options.store.buckets.find(bucket);
    if (found !== undefined) headers.set("x-amz-bucket-region", found.region);
  }

  /** Names the request, and tells the gateway what it was. */
  #finish(
    kind: DoorKind,
    response: Response,
    from: Arrived,
    { action, refused, verified }: {
      readonly action: string;
      readonly refused: string;
      readonly verified: Verified | undefined;
    },
  ): Response {
    response.headers.set("x-amz-request-id", from.request_id);
    response.headers.set("x-amz-id-2", from.request_id);
    if (kind !== "front") {
      response.headers.delete(frontReplyHeaders.contentEncoding);
      // Its peer wants the bytes that are stored, and an HTTP client would unpack them.
      if (kind === "delegate") response.headers.delete("content-encoding");
      return response;
    }
    // The gateway's HTTP client would unpack what it sees labelled; it has the label in a header of its own.
    response.headers.delete("content-encoding");
    response.headers.set(frontReplyHeaders.action, action);
    if (refused !== "") response.headers.set(frontReplyHeaders.errorCode, refused);
    if (verified !== undefined && !isNobody(verified.grant)) {
      response.headers.set(frontReplyHeaders.accountId, verified.grant.account_id);
      response.headers.set(frontReplyHeaders.principalArn, verified.grant.principal_arn);
    }
    return response;
  }

  #mayOf(
    verified: Verified | undefined,
    from: Arrived,
    asked: Asked,
    shared: Set<string>,
  ): S3Call["may"] {
    if (verified === undefined) return () => Promise.resolve(true);
    const { grant, scope } = verified;
    return (permission) => this.#ask(grant, scope, from, asked, permission, shared);
  }

  #ask(
    grant: SigningGrant,
    scope: SigningScope,
    from: Arrived,
    asked: Asked,
    { action, resource, conditions, version }: Permission,
    shared: Set<string>,
  ): Promise<boolean> {
    const context: CallContext = {
      request_id: from.request_id,
      account_id: grant.account_id,
      principal_arn: grant.principal_arn,
      access_key_id: scope.access_key_id,
      region: scope.region,
      source_ip: from.source_ip,
      deadline_ms: Date.now() + authorized_ms,
    };
    const name = bucketOf(resource);
    const { store } = this.#options;
    const bucket = name === undefined ? undefined : store.buckets.find(name);
    const document = bucket?.settings.policy;
    const permission: Permission = {
      action,
      resource,
      // Mostly nobody looks: who may everything is known, and not asked about again.
      get conditions() {
        return {
          ...requestConditions({ ...asked, account_id: bucket?.account_id, conditions }),
          ...existingTags(store, bucket, { action, resource, version }),
        };
      },
    };
    if (bucket === undefined || document === undefined) {
      // Who signs nothing may what a bucket's policy says, and nothing else.
      if (isNobody(grant)) return Promise.resolve(false);
      return this.#options.authorize(permission, context);
    }
    if (bucket.account_id !== grant.account_id && isRestricted(bucket.settings)) {
      return Promise.resolve(false);
    }
    return this.#weigh(permission, { document, account_id: bucket.account_id }, context, () => {
      if (bucket.account_id !== grant.account_id) shared.add(bucket.name);
    });
  }

  /** @param onShared called when the bucket's policy lets the caller in */
  async #weigh(
    permission: Permission,
    policy: ResourcePolicy,
    context: CallContext,
    onShared: () => void,
  ): Promise<boolean> {
    const { allowed, by_resource } = await this.#options.weigh(permission, policy, context);
    if (allowed && by_resource === true) onShared();
    return allowed;
  }

  async #verify(request: Request, from: Arrived): Promise<Verified> {
    checkHeaders(request.headers);
    const signed = {
      method: request.method,
      target: from.target,
      authority: from.authority,
      headers: request.headers,
    };
    // A malformed signature is told as such; none at all is an anonymous request.
    if (!isSigned(signed)) return anonymous(request, this.#options.region);
    return await verify(signed, this.#options.lookup, { service: ["s3"] });
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }
}

/** @throws AwsError `RequestHeaderSectionTooLarge` */
function checkHeaders(headers: Headers): void {
  let bytes = 0;
  for (const [name, value] of headers) {
    if (!gatewayHeaders.has(name)) bytes += name.length + value.length;
  }
  if (bytes > largestHeaders_bytes) {
    throw new AwsError(
      "RequestHeaderSectionTooLarge",
      "Your request header section exceeds the maximum allowed size.",
    );
  }
}

/** Whom the delegate's peer asks for. @throws AwsError `AccessDenied` when it names nobody */
function delegated({ headers }: Request, region: string): Verified {
  const account_id = headers.get(delegateHeaders.accountId) ?? "";
  const principal_arn = headers.get(delegateHeaders.principalArn) ?? "";
  const access_key_id = headers.get(delegateHeaders.accessKeyId) ?? "";
  if (!/^\d{12}$/.test(account_id) || principal_arn === "") throw accessDenied();
  return {
    grant: { key: "", account_id, principal_arn, user_id: "", valid_until_ms: 0 },
    scope: { access_key_id, date: "", region, service: "s3" },
    signed_headers: [],
    presigned: false,
    payload_hash: undefined,
    signature: "",
    amz_date: "",
    signing_key: new Uint8Array(),
  };
}

/** For the events that tell of it. */
function causeOf(verified: Verified | undefined, from: Arrived): Cause | undefined {
  if (verified === undefined) return undefined;
  const { user_id, account_id } = verified.grant;
  const { request_id, source_ip } = from;
  if (isNobody(verified.grant)) {
    return { request_id, principal_id: "Anonymous", source_ip, account_id: "Anonymous" };
  }
  return { request_id, principal_id: `AWS:${user_id || account_id}`, source_ip, account_id };
}

/** Who may not list a bucket does not learn either that it has no such key. */
async function mayKnow(
  method: string,
  bucket: string,
  error: AwsError,
  may: S3Call["may"] | undefined,
): Promise<AwsError> {
  if (error.code !== "NoSuchKey" || (method !== "GET" && method !== "HEAD")) return error;
  const listing = { action: "s3:ListBucket", resource: bucketArn(bucket) };
  try {
    return await may?.(listing) === true ? error : accessDenied();
  } catch (cause) {
    return publicError(cause);
  }
}

/** Whether a browser's form is coming: for PostObject, and nothing else. */
function isForm(request: Request, { key, query }: Target): boolean {
  return request.method === "POST" && key === "" && !query.has("delete") &&
    request.headers.get("content-type")?.startsWith("multipart/form-data") === true;
}

/** A presigned URL may carry headers in its query: signed there, they count as if they were sent. */
function withHoisted(headers: Headers, query: URLSearchParams): Headers {
  let made: Headers | undefined;
  for (const [name, value] of query) {
    // Presigners put the checksum of the empty body there, before there is one.
    if (!/^x-amz-(?!checksum-|sdk-checksum-)[a-z0-9-]+$/.test(name) || headers.has(name)) continue;
    made ??= new Headers(headers);
    try {
      made.set(name, value);
    } catch {
      throw invalidArgument(`The value for ${name} cannot be a header.`);
    }
  }
  return made ?? headers;
}

/** A refused body is read on a little, so that a client that is still sending hears the answer. */
async function discard(request: Request): Promise<void> {
  if (request.body === null || request.bodyUsed || request.body.locked) return;
  if (request.headers.get("expect")?.toLowerCase() === "100-continue") return;
  const reader = request.body.getReader();
  const deadline = performance.now() + 2_000;
  try {
    for (let bytes = 0; bytes < 16 << 20 && performance.now() < deadline;) {
      const { value, done } = await reader.read();
      if (done) return;
      bytes += value.length;
    }
  } catch {
    // The client has gone; nobody waits for the answer.
  }
  void reader.cancel().catch(() => {});
}
