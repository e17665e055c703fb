/**
 * restJson1 and restXml as one protocol with two dialects: finds a call's operation, reads its input,
 * writes its answer or error.
 */
import { AwsError } from "../errors.ts";
import { readRestCall, type RestBody, type RestInput, type RestRequest } from "./rest_decode.ts";
import { writeJson } from "./rest_json.ts";
import { bestOf, readTarget } from "./rest_route.ts";
import { scalarToText, wrongAnswer } from "./rest_scalar.ts";
import type { RestOperation, RestService } from "./rest_service.ts";
import type { RestMember, RestShape, RestStructure } from "./rest_shape.ts";
import { writeBareXml, writeXml } from "./rest_xml.ts";
import { escapeXml } from "../query/xml_encode.ts";

export interface RestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | RestBody | undefined;
}

export interface RestProtocol {
  /**
   * The operation that a call means; nothing where the service has none such.
   * @param target path (S3's bucket first in it) and query as they came on the request line
   */
  route(method: string, target: string, headers?: Headers): RestOperation | undefined;
  /** @throws AwsError that names the first parameter at fault */
  readCall(operation: RestOperation, request: RestRequest): RestInput;
  /**
   * @param output as it came over the bus; a streamed payload is passed on
   * @throws TypeError when the output does not fit its shape
   */
  writeAnswer(operation: RestOperation, output: unknown, request_id: string): RestAnswer;
  writeError(error: AwsError, request_id: string, resource?: string): RestAnswer;
}

export function restProtocol(service: RestService): RestProtocol {
  return {
    route: (method, target, headers = new Headers()) =>
      bestOf(service.operations, method, readTarget(service.faults, target), headers),
    readCall: (operation, request) => readRestCall(service, operation, request),
    writeAnswer: (operation, output, request_id) =>
      writeAnswer(service, operation, output, request_id),
    writeError: (error, request_id, resource = "") =>
      service.protocol === "restJson1"
        ? jsonError(error, request_id)
        : xmlError(service, error, request_id, resource),
  };
}

const documentTypes = { restJson1: "application/json", restXml: "application/xml" } as const;

function idHeader(service: RestService): string {
  return service.bare_errors ? "x-amz-request-id" : "x-amzn-requestid";
}

function headerText(shape: RestShape, value: unknown, path: string): string {
  if (shape.kind === "list") {
    if (!Array.isArray(value)) throw wrongAnswer(path, "a list", value);
    return value.map((one) => {
      const text = scalarToText(shape.item, one, "http-date", path);
      const bare = shape.item.kind === "timestamp" || !/[",]/.test(text);
      return bare ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
    }).join(", ");
  }
  const text = scalarToText(shape, value, "http-date", path);
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(text)) {
    throw new TypeError(`the answer's ${path} has characters that no header can carry`);
  }
  return text;
}

function asStructure(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  throw wrongAnswer(path, "a structure", value);
}

function writeAnswer(
  service: RestService,
  operation: RestOperation,
  output: unknown,
  request_id: string,
): RestAnswer {
  const headers: Record<string, string> = { [idHeader(service)]: request_id };
  const message = operation.output;
  if (message === undefined) return { status: operation.status, headers, body: undefined };
  if (message.event_stream) {
    throw new AwsError(
      "NotImplemented",
      `The events of ${operation.name} are not supported by this cloud.`,
      { status: 501 },
    );
  }
  const values = asStructure(output ?? {}, operation.name);
  let status = operation.status;
  for (const member of message.members) {
    const value = values[member.name];
    if (value === undefined || value === null) continue;
    const path = `${operation.name}.${member.name}`;
    const { binding } = member;
    if (binding.in === "header") headers[binding.name] = headerText(member.shape, value, path);
    else if (binding.in === "status" && typeof value === "number") status = value;
    else if (binding.in === "headers") {
      for (const [name, one] of Object.entries(asStructure(value, path))) {
        headers[binding.prefix + name.toLowerCase()] = headerText({ kind: "string" }, one, path);
      }
    }
  }
  const { body, type } = bodyOf(service, operation, values);
  if (body !== undefined) headers["content-type"] ??= type;
  return { status, headers, body };
}

function bodyOf(
  service: RestService,
  operation: RestOperation,
  values: Readonly<Record<string, unknown>>,
): { body: string | RestBody | undefined; type: string } {
  const type = documentTypes[service.protocol];
  const payload = operation.output?.payload;
  const shape = operation.output?.body;
  if (payload !== undefined) return payloadOf(service, operation, payload, values[payload.name]);
  if (shape === undefined || operation.template.method === "HEAD") return { body: undefined, type };
  if (service.bare_answers.has(operation.name)) {
    return { body: writeBareXml(shape, service.xml_namespace, values), type };
  }
  return { body: documentOf(service, shape, shape.root_name, values), type };
}

function documentOf(
  service: RestService,
  shape: RestStructure,
  root: string,
  value: unknown,
): string {
  return service.protocol === "restJson1"
    ? writeJson(shape, value)
    : writeXml(shape, root, service.xml_namespace, value);
}

function payloadOf(
  service: RestService,
  operation: RestOperation,
  member: RestMember,
  value: unknown,
): { body: string | RestBody | undefined; type: string } {
  const { shape, binding } = member;
  const path = `${operation.name}.${member.name}`;
  const media = binding.in === "payload" ? binding.media_type : undefined;
  const bytes = media ?? "application/octet-stream";
  if (value === undefined || value === null) return { body: undefined, type: bytes };
  if (shape.kind === "structure") {
    const root = member.xml_root ?? shape.root_name;
    const type = documentTypes[service.protocol];
    return { body: documentOf(service, shape, root, value), type };
  }
  if (shape.kind !== "blob") {
    return { body: scalarToText(shape, value, "date-time", path), type: media ?? "text/plain" };
  }
  if (value instanceof Uint8Array || value instanceof ReadableStream) {
    return { body: value, type: bytes };
  }
  if (typeof value !== "string") throw wrongAnswer(path, "base64, bytes or a stream", value);
  try {
    return { body: Uint8Array.fromBase64(value), type: bytes };
  } catch (cause) {
    throw new TypeError(`the answer's ${path} must be base64`, { cause });
  }
}

function jsonError(error: AwsError, request_id: string): RestAnswer {
  return {
    status: error.status,
    headers: {
      "content-type": "application/json",
      "x-amzn-errortype": error.code,
      "x-amzn-requestid": request_id,
    },
    body: JSON.stringify({ __type: error.code, message: error.message }),
  };
}

function xmlError(
  service: RestService,
  error: AwsError,
  request_id: string,
  resource: string,
): RestAnswer {
  const said = `<Code>${escapeXml(error.code)}</Code><Message>${
    escapeXml(error.message)
  }</Message>`;
  const id = `<RequestId>${escapeXml(request_id)}</RequestId>`;
  const type = error.status >= 500 ? "Receiver" : "Sender";
  const document = service.bare_errors
    ? `<Error>${said}<Resource>${escapeXml(resource)}</Resource>${id}</Error>`
    : `<ErrorResponse xmlns="${service.xml_namespace}"><Error><Type>${type}</Type>${said}</Error>${id}</ErrorResponse>`;
  return {
    status: error.status,
    headers: { "content-type": "application/xml", [idHeader(service)]: request_id },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n${document}`,
  };
}
