/**
 * What one HTTP request is, before anybody believes it: its raw target, authority, sender and body.
 *
 * The target is taken from the request line as it came (a parsed `URL` would normalise dot segments
 * and escapes, which signatures and S3 keys depend on). Bodies of query calls are bounded in size
 * and time.
 */
import { joined } from "../aws/bytes.ts";
import { AwsError } from "../aws/errors.ts";
import type { SignedRequest } from "../aws/signatures/sigv4.ts";

export interface Edge extends SignedRequest {
  readonly request: Request;
  readonly request_id: string;
  readonly source_ip: string;
  /** Path without the query. */
  readonly path: string;
  /** Query without the question mark. */
  readonly query: string;
  readonly started_ms: number;
  /** Called once the body is read, or never will be. */
  readonly received: () => void;
}

/** A header cannot carry more than Latin-1, and a right client escapes all else in a target. */
function ascii(text: string): string {
  return /^[\x21-\x7e]*$/.test(text) ? text : text.replace(
    /[^\x21-\x7e]+/gu,
    (part) => encodeURIComponent(part.toWellFormed()),
  );
}

export function edgeOf(request: Request, remote: Deno.Addr, received = () => {}): Edge {
  const url = request.url;
  const schemeEnd = url.indexOf("://") + 3;
  const pathAt = url.indexOf("/", schemeEnd);
  const target = pathAt < 0 ? "/" : ascii(url.slice(pathAt));
  const queryAt = target.indexOf("?");
  const inUrl = pathAt < 0 ? url.slice(schemeEnd) : url.slice(schemeEnd, pathAt);
  return {
    request,
    method: request.method,
    target,
    path: queryAt < 0 ? target : target.slice(0, queryAt),
    query: queryAt < 0 ? "" : target.slice(queryAt + 1),
    // Over HTTP/2 there is no Host header; what the client signed is then the URL's authority.
    authority: request.headers.get("host") ?? inUrl,
    headers: request.headers,
    request_id: crypto.randomUUID(),
    source_ip: "hostname" in remote ? remote.hostname.replace(/^::ffff:/, "") : "",
    started_ms: performance.now(),
    received,
  };
}

/** Ten times what the largest query call of the SDKs' own tests needs. */
export const largestQueryBody_bytes = 1_048_576;
const slowestBody_ms = 30_000;

/**
 * The whole body.
 * @throws AwsError `RequestEntityTooLarge` (413), `RequestTimeout` (408)
 */
export async function readBody(
  request: Request,
  limit_bytes: number,
  timeout_ms = slowestBody_ms,
): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    new AwsError(
      "RequestEntityTooLarge",
      `The request body is larger than the ${limit_bytes} bytes that this call may have.`,
      { status: 413 },
    );
  if (Number(request.headers.get("content-length") ?? 0) > limit_bytes) throw tooLarge();
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void reader.cancel().catch(() => {});
  }, timeout_ms);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (late) {
        throw new AwsError("RequestTimeout", "The request body did not arrive in time.", {
          status: 408,
        });
      }
      if (done) break;
      size += value.length;
      if (size > limit_bytes) {
        void reader.cancel().catch(() => {});
        throw tooLarge();
      }
      parts.push(value);
    }
  } catch (cause) {
    if (cause instanceof AwsError) throw cause;
    throw new AwsError("IncompleteBody", "The request body ended before it was complete.", {
      cause,
    });
  } finally {
    clearTimeout(timer);
  }
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  return joined(parts);
}
