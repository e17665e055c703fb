/**
 * Hands requests for `/console…` to the console service and its pages back. The console decides who
 * may see what; here only sizes are bounded and posts from other sites refused.
 */
import { AwsError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import type { CallContext } from "../bus/subject.ts";
import type { Admission } from "./admission.ts";
import { consolePage } from "./contract.ts";
import { type Edge, readBody } from "./edge.ts";

const largestForm_bytes = 65_536;

async function formOf(edge: Edge, admission: Admission): Promise<Record<string, string>> {
  if (edge.method !== "POST") return {};
  const site = edge.headers.get("sec-fetch-site");
  const origin = edge.headers.get("origin");
  const foreign = (site !== null && site !== "same-origin" && site !== "none") ||
    (origin !== null && origin !== `https://${edge.authority}`);
  if (foreign) {
    throw new AwsError("AccessDenied", "Forms of other sites are not accepted.", { status: 403 });
  }
  if (!(edge.headers.get("content-type") ?? "").startsWith("application/x-www-form-urlencoded")) {
    throw new AwsError("UnsupportedMediaType", "Only forms are accepted here.", { status: 415 });
  }
  using _place = admission.receive("console");
  const body = await readBody(edge.request, largestForm_bytes);
  edge.received();
  return Object.fromEntries(new URLSearchParams(new TextDecoder().decode(body)));
}

/** @throws AwsError when the console does not answer or the request is not one for it */
export async function consoleReply(
  edge: Edge,
  bus: Bus,
  admission: Admission,
): Promise<Response> {
  const { method } = edge;
  if (method !== "GET" && method !== "HEAD" && method !== "POST") {
    throw new AwsError("MethodNotAllowed", "The console knows GET, HEAD and POST.", {
      status: 405,
    });
  }
  const form = await formOf(edge, admission);
  const context: CallContext = {
    request_id: edge.request_id,
    account_id: "",
    principal_arn: "",
    access_key_id: "",
    region: "",
    source_ip: edge.source_ip,
    deadline_ms: Date.now() + consolePage.timeout_ms,
  };
  const cookie = edge.headers.get("cookie") ?? "";
  const page = await bus.ask(consolePage, { method, target: edge.target, cookie, form }, context);
  return new Response(page.body, { status: page.status, headers: { ...page.headers } });
}

/** An error as a small page; people, not programs, read it. */
export function consoleError(error: AwsError, request_id: string): Response {
  return new Response(`${error.code}: ${error.message}\nRequest: ${request_id}\n`, {
    status: error.status,
    headers: { "content-type": "text/plain;charset=UTF-8", "x-content-type-options": "nosniff" },
  });
}
