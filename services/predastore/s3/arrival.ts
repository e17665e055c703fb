/**
 * A request as it arrived at one of the doors: what its client sent, wherever that stands. The gateway says it in headers
 * of its own, a presigned URL in its query, a browser in a form, the delegate's peer in the name of another.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Verified } from "../../aws/signatures/sigv4.ts";
import { delegateHeaders, frontHeaders } from "../contract.ts";
import { accessDenied, invalidArgument } from "./call.ts";
import { secretKeyNeeded } from "./customer_keys.ts";
import type { Target } from "./target.ts";

export type DoorKind = "public" | "front" | "delegate" | "system";

/** As S3 limits them. What is far beyond is refused by the HTTP server itself. */
const largestHeaders_bytes = 8 * 1024;
/** What the gateway adds, which its client did not send as headers. */
const gatewayHeaders: ReadonlySet<string> = new Set(Object.values(frontHeaders));

export interface Arrived {
  readonly target: string;
  readonly authority: string;
  readonly request_id: string;
  /** Empty where it is not known. */
  readonly source_ip: string;
}

export function arrived(kind: DoorKind, request: Request, remote: Deno.Addr | undefined): Arrived {
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

/** @throws AwsError `RequestHeaderSectionTooLarge` */
export function checkHeaders(headers: Headers): void {
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
export function delegated({ headers }: Request, region: string): Verified {
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

/** Whether a browser's form is coming: for PostObject, and nothing else. */
export function isForm(request: Request, { key, query }: Target): boolean {
  return request.method === "POST" && key === "" && !query.has("delete") &&
    request.headers.get("content-type")?.startsWith("multipart/form-data") === true;
}

/** What opens an object, in a URL, would stand in every log and history that the URL stands in. */
const ofCustomersKey = /^x-amz-(copy-source-)?server-side-encryption-customer-/;

/**
 * A presigned URL may carry headers in its query: signed there, they count as if they were sent.
 * @throws AwsError `InvalidArgument` for a client's own key, which S3 takes from headers alone
 */
export function withHoisted(headers: Headers, query: URLSearchParams): Headers {
  let made: Headers | undefined;
  for (const [name, value] of query) {
    // Presigners put the checksum of the empty body there, before there is one.
    if (!/^x-amz-(?!checksum-|sdk-checksum-)[a-z0-9-]+$/.test(name) || headers.has(name)) continue;
    if (ofCustomersKey.test(name)) throw secretKeyNeeded();
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
export async function discard(request: Request): Promise<void> {
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
