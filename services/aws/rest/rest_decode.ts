/**
 * Reads and validates a REST call: what its operation wants from the path, the query, the headers
 * and the body, as the plain JSON that handlers see. A streamed payload is handed over untouched.
 */
import type { JsonObject, JsonValue } from "../query/query_decode.ts";
import type { RestFaults } from "./rest_fault.ts";
import { readJson } from "./rest_json.ts";
import { matchPath, readTarget, type Target, unescapeLabels } from "./rest_route.ts";
import { listFromHeader, scalarFromText } from "./rest_scalar.ts";
import type { RestOperation, RestService } from "./rest_service.ts";
import type { RestMember, RestMessage, RestStructure } from "./rest_shape.ts";
import { readXml } from "./rest_xml.ts";
import { AwsError } from "../errors.ts";

export type RestBody = Uint8Array | ReadableStream<Uint8Array>;

export interface RestRequest {
  /** Path and query as they came on the request line. */
  readonly target: string;
  readonly headers: Headers;
  /** Whole, unless the operation's payload is streamed. */
  readonly body: RestBody | undefined;
}

export interface RestInput {
  [name: string]: JsonValue | RestBody;
}

/** More than any document that AWS takes: DeleteObjects with 1,000 long keys has 6 MB. */
export const largestDocument_bytes = 10_485_760;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Names in the query that belong to signatures and to SDKs, not to the operation. */
const isProtocolName = (name: string) => name === "x-id" || /^x-amz-/i.test(name);

function textOf(faults: RestFaults, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw faults.malformed("The request body is not UTF-8 text.", cause);
  }
}

class CallReader {
  readonly #service: RestService;
  readonly #faults: RestFaults;
  readonly #request: RestRequest;
  readonly #target: Target;
  readonly #labels: ReadonlyMap<string, string>;

  constructor(service: RestService, operation: RestOperation, request: RestRequest) {
    this.#service = service;
    this.#faults = service.faults;
    this.#request = request;
    this.#target = readTarget(this.#faults, request.target);
    const labels = matchPath(operation.template.segments, this.#target.path) ?? new Map();
    this.#labels = unescapeLabels(this.#faults, labels);
  }

  read(operation: RestOperation): RestInput {
    const made: RestInput = {};
    const { input } = operation;
    this.#checkQuery(operation);
    if (input === undefined) return made;
    if (input.event_stream) {
      throw new AwsError(
        "NotImplemented",
        `The events of ${operation.name} are not supported by this cloud.`,
        { status: 501 },
      );
    }
    for (const member of input.members) {
      const value = this.#bound(member);
      if (value !== undefined) made[member.name] = value;
    }
    this.#readBody(input, made);
    for (const member of input.members) {
      if (!member.required || Object.hasOwn(made, member.name)) continue;
      // The body's own have been looked at by name there.
      const { binding } = member;
      const named = binding.in === "query" || binding.in === "header";
      throw this.#faults.missing(named ? binding.name : member.name);
    }
    return made;
  }

  #bound(member: RestMember): JsonValue | undefined {
    const { binding, shape } = member;
    switch (binding.in) {
      case "path": {
        const text = this.#labels.get(member.name);
        if (text === undefined) return undefined;
        return scalarFromText(this.#faults, shape, text, "date-time", member.name);
      }
      case "query":
        return this.#query(member, binding.name);
      case "queries":
        return this.#queries(member);
      case "header": {
        const text = this.#request.headers.get(binding.name);
        if (text === null) return undefined;
        return shape.kind === "list"
          ? listFromHeader(this.#faults, shape.item, text, binding.name)
          : scalarFromText(this.#faults, shape, text, "http-date", binding.name);
      }
      case "headers": {
        const made: JsonObject = Object.create(null);
        for (const [name, text] of this.#request.headers) {
          if (name.startsWith(binding.prefix)) made[name.slice(binding.prefix.length)] = text;
        }
        return Object.keys(made).length === 0 ? undefined : made;
      }
      default:
        return undefined;
    }
  }

  #query(member: RestMember, name: string): JsonValue | undefined {
    const values = this.#target.query.get(name);
    const [text] = values ?? [];
    if (values === undefined || text === undefined) return undefined;
    const { shape } = member;
    if (shape.kind === "list") {
      return values.map((one, index) =>
        scalarFromText(this.#faults, shape.item, one, "date-time", `${name}.${index + 1}`)
      );
    }
    if (values.length > 1) throw this.#faults.invalid(name, text, "It is given more than once.");
    return scalarFromText(this.#faults, shape, text, "date-time", name);
  }

  /** Every name of the query that nothing else of the operation is called by. */
  #queries(member: RestMember): JsonObject | undefined {
    const { shape } = member;
    if (shape.kind !== "map") return undefined;
    const { value } = shape;
    const made: JsonObject = Object.create(null);
    for (const [name, values] of this.#target.query) {
      if (this.#known.has(name) || isProtocolName(name)) continue;
      const read = (text: string) =>
        scalarFromText(
          this.#faults,
          value.kind === "list" ? value.item : value,
          text,
          "date-time",
          name,
        );
      if (value.kind === "list") made[name] = values.map(read);
      else if (values.length === 1) made[name] = read(values[0] ?? "");
      else throw this.#faults.invalid(name, values[0], "It is given more than once.");
    }
    return made;
  }

  #known: ReadonlySet<string> = new Set();

  #checkQuery(operation: RestOperation): void {
    const known = new Set(operation.template.query.map(([name]) => name));
    let any = false;
    for (const { binding } of operation.input?.members ?? []) {
      if (binding.in === "query") known.add(binding.name);
      any ||= binding.in === "queries";
    }
    this.#known = known;
    if (any) return;
    for (const name of this.#target.query.keys()) {
      if (!known.has(name) && !isProtocolName(name)) throw this.#faults.unknown(name);
    }
  }

  /** The whole body; nothing where it is empty. */
  #bytes(): Uint8Array | undefined {
    const { body } = this.#request;
    if (body === undefined) return undefined;
    if (!(body instanceof Uint8Array)) {
      throw new TypeError("this operation's body must be read before it is decoded");
    }
    if (body.length > largestDocument_bytes) throw this.#faults.tooLarge(largestDocument_bytes);
    return body.length === 0 ? undefined : body;
  }

  #readBody(input: RestMessage, made: RestInput): void {
    const { payload, body } = input;
    if (payload !== undefined) this.#payload(payload, made);
    else if (body !== undefined) {
      const bytes = this.#bytes();
      const document = this.#document(body, body.root_name, bytes, "");
      for (const member of body.members) {
        const value = document[member.name];
        if (Object.hasOwn(document, member.name) && value !== undefined) made[member.name] = value;
      }
    }
  }

  #payload(member: RestMember, made: RestInput): void {
    const { binding, shape } = member;
    if (binding.in === "payload" && binding.streaming) {
      if (this.#request.body !== undefined) made[member.name] = this.#request.body;
      return;
    }
    const bytes = this.#bytes();
    if (bytes === undefined) return;
    if (shape.kind === "blob") made[member.name] = bytes.toBase64();
    else if (shape.kind === "structure") {
      const root = member.xml_root ?? shape.root_name;
      made[member.name] = this.#document(shape, root, bytes, member.name);
    } else {
      const text = textOf(this.#faults, bytes);
      made[member.name] = scalarFromText(this.#faults, shape, text, "date-time", member.name);
    }
  }

  #document(
    shape: RestStructure,
    root: string,
    bytes: Uint8Array | undefined,
    path: string,
  ): JsonObject {
    const faults = this.#faults;
    if (this.#service.protocol === "restXml") {
      const text = bytes === undefined ? `<${root}/>` : textOf(faults, bytes);
      return readXml(faults, shape, root, text, path);
    }
    const type = this.#request.headers.get("content-type") ?? "application/json";
    if (bytes !== undefined && !/^application\/(?:json|x-amz-json-1\.[01])\s*(?:;|$)/i.test(type)) {
      throw new AwsError("UnsupportedMediaTypeException", "The body must be application/json.", {
        status: 415,
      });
    }
    return readJson(faults, shape, bytes === undefined ? "{}" : textOf(faults, bytes), path);
  }
}

/** @throws AwsError that names the first parameter at fault */
export function readRestCall(
  service: RestService,
  operation: RestOperation,
  request: RestRequest,
): RestInput {
  return new CallReader(service, operation, request).read(operation);
}
