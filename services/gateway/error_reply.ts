/**
 * The one place where an error becomes an answer: each protocol has its own words for it, and every
 * one carries the request id in a header and in the body. Nothing of an internal fault gets out.
 */
import { AwsError, internalError } from "../aws/errors.ts";
import { queryService } from "../aws/schema/catalog.ts";
import { jsonService } from "../aws/rest/json_service.ts";
import { restService } from "../aws/rest/rest_service.ts";
import { writeError } from "../aws/query/query_protocol.ts";
import { escapeXml } from "../aws/query/xml_encode.ts";

export type ErrorForm = "ec2" | "query" | "json" | "s3";

/** Services that are not here, but which clients ask and whose errors they read as XML. */
const absent_xml_services: ReadonlyMap<string, ErrorForm> = new Map([
  ["cloudfront", "query"],
  ["route53", "query"],
  ["s3express", "s3"],
]);

/** What is thrown, as what the caller may see. */
export function visible(error: unknown): AwsError {
  return error instanceof AwsError ? error : internalError(error);
}

/** The form in which a caller who asked for `service` expects an error. */
export function errorFormOf(service: string, headers: Headers): ErrorForm {
  if (service === "ec2" || service === "s3") return service;
  if (service === "" || queryService(service) !== undefined) return "query";
  if (restService(service)?.protocol === "restJson1") return "json";
  if (jsonService(service) !== undefined) return "json";
  const absent = absent_xml_services.get(service);
  if (absent !== undefined) return absent;
  // Of other services that are not here only the request tells the protocol; forms are for query APIs.
  const type = headers.get("content-type") ?? "";
  return type.startsWith("application/x-www-form-urlencoded") ? "query" : "json";
}

export function errorReply(
  form: ErrorForm,
  service: string,
  error: AwsError,
  request_id: string,
  resource = "",
): Response {
  const status = error.status >= 400 && error.status <= 599 ? error.status : 500;
  if (form === "json") {
    const { code: __type, message, reason: Reason } = error;
    return new Response(JSON.stringify({ __type, message, Reason }), {
      status,
      headers: {
        "content-type": "application/x-amz-json-1.1",
        "x-amzn-errortype": error.code,
        "x-amzn-requestid": request_id,
      },
    });
  }
  if (form === "s3") {
    const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${
      escapeXml(error.code)
    }</Code><Message>${escapeXml(error.message)}</Message><Resource>${
      escapeXml(resource)
    }</Resource><RequestId>${request_id}</RequestId></Error>`;
    return new Response(body, {
      status,
      headers: { "content-type": "application/xml", "x-amz-request-id": request_id },
    });
  }
  const namespace = queryService(service)?.xml_namespace ?? "https://iam.amazonaws.com/";
  return new Response(
    writeError(form === "ec2" ? "ec2" : "aws", namespace, error, request_id),
    { status, headers: xmlHeaders(request_id) },
  );
}

export function xmlHeaders(request_id: string): Record<string, string> {
  return {
    "content-type": "text/xml;charset=UTF-8",
    "x-amzn-requestid": request_id,
    "cache-control": "no-cache, no-store",
  };
}
