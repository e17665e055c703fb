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
import { accessDenied, notImplemented, type PolicyTrust, type S3Call } from "./call.ts";
import { parseTarget } from "./target.ts";
import {
  type Arrived,
  arrived,
  checkHeaders,
  delegated,
  discard,
  type DoorKind,
  isForm,
  withHoisted,
} from "./arrival.ts";
import { Authorization, type AuthorizationOptions } from "./authorization.ts";
import { SlowBodies } from "./slow_bodies.ts";
import { preflight, shareAnswer } from "./cors.ts";
import { errorReply, publicError } from "./error_reply.ts";
import { Meter } from "./meter.ts";
import { operationOf } from "./operation_names.ts";
import { refusing, served, withdrawn } from "./operations.ts";
import { checkPayloadForm } from "./payload_form.ts";
import { bucketArn, permissionsOf } from "./permissions.ts";
import { type Cause, causedBy } from "../objects/cause.ts";
import { noSuchBucket } from "../objects/commits.ts";
import { anonymous, authenticationNeeded, isNobody } from "./nobody.ts";
import { pathStyle } from "./virtual_host.ts";

export interface DoorOptions extends AuthorizationOptions {
  readonly region: string;
  readonly log: Log;
  readonly lookup: (scope: SigningScope) => Promise<SigningGrant>;
  readonly policyTrust: PolicyTrust;
}

/** S3's clients try again later. */
class Closing extends AwsError {
  constructor() {
    super("ServiceUnavailable", "The service is stopping. Please try again.", { status: 503 });
  }
}

export class Door implements Disposable {
  readonly #options: DoorOptions;
  readonly #authorization: Authorization;
  readonly #watch = new SlowBodies();
  readonly meter = new Meter();
  #closing = false;

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#authorization = new Authorization(options);
  }

  /** From now on requests are refused; those under way go on. */
  close(): void {
    this.#closing = true;
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
      if (this.#closing) throw new Closing();
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
      may = this.#authorization.mayOf(verified, from, asked, shared);
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
        policyTrust: this.#options.policyTrust,
        mayAs: ({ grant, scope, amz_date }, permission, form) => {
          const signed = isNobody(grant) ? undefined : "POST" as const;
          const asked = { headers: form, query: new URLSearchParams(), signed, amz_date };
          return this.#authorization.ask(grant, scope, from, asked, permission, shared);
        },
        watch: this.#watch,
      };
      const cause = causeOf(verified, from);
      response = await (cause === undefined ? handler(call) : causedBy(cause, () => handler(call)));
    } catch (error) {
      const told = await mayKnow(request.method, named.bucket, publicError(error), may);
      refused = told.code;
      if (told.status >= 500 && told.code !== "NotImplemented" && !(error instanceof Closing)) {
        log.error("request_failed", { action, ...named, ...errorFields(error) });
      }
      response = errorReply(told, {
        ...named,
        method: request.method,
        request_id: from.request_id,
      });
      this.#tellRegion(request.method, named, response.headers);
      if (this.#closing) response.headers.set("connection", "close");
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
