/**
 * Streams S3 requests to predastore's front door, a Unix socket, and its answers back.
 *
 * predastore verifies the signature itself, so it must learn what the client sent: the raw target and
 * authority travel in headers of their own, which no client can set. Neither side's body is gathered
 * here; backpressure goes from the disk to the client and back. `fetch` unpacks what is labelled
 * gzip, so predastore names an object's content encoding in a header of its own.
 */
import { AwsError, unavailable } from "../aws/errors.ts";
import { erasureCodeHeader, frontHeaders } from "../predastore/contract.ts";
import { frontReplyHeaders } from "./contract.ts";
import type { CallNotes } from "./dispatch.ts";
import type { Edge } from "./edge.ts";

/** Headers of this cloud are between its services, all but the one that is for clients. */
const isInternal = (name: string) => name.startsWith("x-mulga-") && name !== erasureCodeHeader;
/** Headers that belong to one connection, and those that `fetch` makes itself. */
const notForwarded: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** What `fetch` has unpacked by the time we see it. */
const unpacked = /^(gzip|br|deflate|zstd)$/i;

function* kept(headers: Headers): Generator<[string, string]> {
  // What `Connection` names belongs to the connection too.
  const named = new Set(
    (headers.get("connection") ?? "").toLowerCase().split(",").map((name) => name.trim()),
  );
  for (const [name, value] of headers) {
    if (notForwarded.has(name) || named.has(name) || isInternal(name)) continue;
    yield [name, value];
  }
}

export class S3Door implements Disposable {
  readonly #client: Deno.HttpClient;

  /** @param socket path of predastore's front door */
  constructor(socket: string) {
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  }

  async forward(edge: Edge, notes: CallNotes): Promise<Response> {
    const headers = new Headers([...kept(edge.headers)]);
    headers.set(frontHeaders.authority, edge.authority);
    headers.set(frontHeaders.target, edge.target);
    headers.set(frontHeaders.requestId, edge.request_id);
    headers.set(frontHeaders.sourceIp, edge.source_ip);
    // A request without either header has no body, and must not get a chunked empty one.
    const hasBody = edge.headers.has("transfer-encoding") ||
      Number(edge.headers.get("content-length") ?? 0) > 0;
    let reply: Response;
    try {
      reply = await fetch("http://predastore/", {
        method: edge.method,
        headers,
        body: hasBody ? edge.request.body : null,
        redirect: "manual",
        client: this.#client,
      });
    } catch (cause) {
      // A client that goes away in the middle of its upload ends here too.
      throw unavailable("predastore", cause);
    }
    notes.action = reply.headers.get(frontReplyHeaders.action) || notes.action;
    notes.account_id = reply.headers.get(frontReplyHeaders.accountId) ?? "";
    notes.principal_arn = reply.headers.get(frontReplyHeaders.principalArn) ?? "";
    const refused = reply.headers.get(frontReplyHeaders.errorCode);
    if (refused !== null) notes.error_code = refused;
    return new Response(reply.body, {
      status: reply.status,
      headers: this.#answerHeaders(reply.headers, edge.request_id),
    });
  }

  #answerHeaders(from: Headers, request_id: string): Headers {
    const headers = new Headers([...kept(from)]);
    if (unpacked.test(headers.get("content-encoding") ?? "")) {
      headers.delete("content-encoding");
      headers.delete("content-length");
    }
    const encoding = from.get(frontReplyHeaders.contentEncoding);
    if (encoding !== null) headers.set("content-encoding", encoding);
    if (!headers.has("x-amz-request-id")) headers.set("x-amz-request-id", request_id);
    return headers;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** Whether a request without a signature is one for S3: a browser's link to a public object. */
export function isAnonymousS3(edge: Edge): boolean {
  return edge.path !== "/" && !edge.headers.has("authorization");
}

/** The name of an S3 call as server access logs have it, until predastore says better. */
export function s3Action(edge: Edge): string {
  const [, bucket = "", ...key] = edge.path.split("/");
  const of = bucket === "" ? "SERVICE" : key.join("/") === "" ? "BUCKET" : "OBJECT";
  return `REST.${edge.method}.${of}`;
}

/** predastore has the last word on methods; these alone reach it. */
export function checkS3Method(edge: Edge): void {
  if (["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"].includes(edge.method)) return;
  throw new AwsError(
    "MethodNotAllowed",
    "The specified method is not allowed against this resource.",
    { status: 405 },
  );
}
