/**
 * JSON bodies of restJson1: reads and validates a request's, writes an answer's.
 *
 * `JSON.parse` makes own properties of every name, `__proto__` too; the walk takes over what the
 * shape knows and refuses the rest, and maps get no prototype.
 */
import type { JsonObject, JsonValue } from "../query/query_decode.ts";
import { deepest, join, type RestFaults } from "./rest_fault.ts";
import { fromEpoch, notThat, scalarFromText, timeToText, wrongAnswer } from "./rest_scalar.ts";
import type { RestShape, RestStructure } from "./rest_shape.ts";

const place = "epoch-seconds";

type JsonNode = Readonly<Record<string, unknown>>;

function isNode(value: unknown): value is JsonNode {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws AwsError that names the first member at fault */
export function readJson(
  faults: RestFaults,
  shape: RestStructure,
  text: string,
  path = "",
): JsonObject {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw faults.malformed("The request body is not valid JSON.", cause);
  }
  if (!isNode(parsed)) throw faults.malformed("The request body must be a JSON object.");
  return structure(faults, shape, parsed, path, 0);
}

function structure(
  faults: RestFaults,
  shape: RestStructure,
  node: JsonNode,
  path: string,
  depth: number,
): JsonObject {
  const made: JsonObject = {};
  for (const [name, value] of Object.entries(node)) {
    const where = join(path, name);
    const member = shape.by_json_name.get(name);
    if (member === undefined) throw faults.unknown(where);
    // A null is how some clients say that a member is not there.
    if (value !== null) made[member.name] = read(faults, member.shape, value, where, depth + 1);
  }
  for (const member of shape.members) {
    if (member.required && !Object.hasOwn(made, member.name)) {
      throw faults.missing(join(path, member.json_name));
    }
  }
  if (shape.union && Object.keys(made).length !== 1) {
    throw faults.invalid(path, undefined, "Exactly one of its members must be set.");
  }
  return made;
}

function read(
  faults: RestFaults,
  shape: RestShape,
  value: unknown,
  path: string,
  depth: number,
): JsonValue {
  if (depth > deepest) throw faults.invalid(path, undefined, "It is nested too deeply.");
  const wrong = () => faults.invalid(path, value, notThat(shape, place));
  switch (shape.kind) {
    case "structure":
      if (!isNode(value)) throw wrong();
      return structure(faults, shape, value, path, depth);
    case "list":
      if (!Array.isArray(value)) throw wrong();
      return value.map((one, index) =>
        read(faults, shape.item, one, join(path, index + 1), depth + 1)
      );
    case "map": {
      if (!isNode(value)) throw wrong();
      const made: JsonObject = Object.create(null);
      for (const [key, one] of Object.entries(value)) {
        made[key] = read(faults, shape.value, one, join(path, key), depth + 1);
      }
      return made;
    }
    case "boolean":
      if (typeof value === "boolean") return value;
      throw wrong();
    case "integer":
      if (typeof value === "number" && Number.isSafeInteger(value)) return value;
      throw wrong();
    case "number":
      if (typeof value === "number" && Number.isFinite(value)) return value;
      throw wrong();
    case "timestamp":
      if (typeof value === "number" && (shape.format ?? place) === place) {
        const time = fromEpoch(value);
        if (time !== undefined) return time;
      }
      if (typeof value !== "string" || (shape.format ?? place) === place) throw wrong();
      return scalarFromText(faults, shape, value, place, path);
    default:
      if (typeof value !== "string") {
        throw faults.invalid(path, undefined, "A string was expected.");
      }
      return scalarFromText(faults, shape, value, place, path);
  }
}

/** The document of an answer; what the shape does not know is left out. */
export function writeJson(shape: RestStructure, value: unknown): string {
  return JSON.stringify(plain(shape, value, shape.name));
}

function plain(shape: RestShape, value: unknown, path: string): unknown {
  switch (shape.kind) {
    case "structure": {
      if (!isNode(value)) throw wrongAnswer(path, "a structure", value);
      const made: Record<string, unknown> = {};
      for (const member of shape.members) {
        const one = value[member.name];
        if (one === undefined || one === null) continue;
        made[member.json_name] = plain(member.shape, one, `${path}.${member.name}`);
      }
      return made;
    }
    case "list":
      if (!Array.isArray(value)) throw wrongAnswer(path, "a list", value);
      return value.filter((one) => one !== undefined && one !== null)
        .map((one) => plain(shape.item, one, path));
    case "map": {
      if (!isNode(value)) throw wrongAnswer(path, "a map", value);
      const made: Record<string, unknown> = Object.create(null);
      for (const [key, one] of Object.entries(value)) {
        if (one !== undefined && one !== null) made[key] = plain(shape.value, one, path);
      }
      return made;
    }
    case "boolean":
      if (typeof value === "boolean") return value;
      throw wrongAnswer(path, "a boolean", value);
    case "integer":
    case "number":
      if (typeof value === "bigint") return Number(value);
      if (Number.isFinite(value)) return value;
      throw wrongAnswer(path, "a number", value);
    case "timestamp": {
      const format = shape.format ?? place;
      const text = timeToText(value, format, path);
      return format === place ? Number(text) : text;
    }
    case "blob":
      if (value instanceof Uint8Array) return value.toBase64();
      if (typeof value === "string") return value;
      throw wrongAnswer(path, "base64 or bytes", value);
    case "string":
      if (typeof value === "string") return value;
      throw wrongAnswer(path, "a string", value);
  }
}
