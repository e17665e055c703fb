/** Scalars of REST messages as text, both ways: in headers, paths, queries and XML. */
import type { JsonValue } from "../query/query_decode.ts";
import { join, type RestFaults } from "./rest_fault.ts";
import type { RestScalar, RestShape, RestTimestamp, TimestampFormat } from "./rest_shape.ts";
import {
  isPrintable,
  readBase64,
  readBoolean,
  readNumber,
  readTimestamp,
} from "../schema/scalar_text.ts";

const httpDate =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/;

/** The moment that an epoch number names; nothing for one outside of the calendar. */
export function fromEpoch(seconds: number): string | undefined {
  const at = new Date(Math.round(seconds * 1_000));
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

function timeFromText(text: string, format: TimestampFormat): string | undefined {
  switch (format) {
    case "date-time":
      return readTimestamp(text);
    case "http-date": {
      const at = httpDate.test(text) ? Date.parse(text) : NaN;
      return Number.isNaN(at) ? undefined : new Date(at).toISOString();
    }
    case "epoch-seconds": {
      const seconds = readNumber(text, "number");
      return seconds === undefined ? undefined : fromEpoch(seconds);
    }
  }
}

const expected: Readonly<Record<(RestScalar | RestTimestamp)["kind"], string>> = {
  string: "It has characters that are not allowed.",
  boolean: "It must be true or false.",
  integer: "It must be a whole number.",
  number: "It must be a number.",
  blob: "It must be base64.",
  timestamp: "It must be a time",
};
const examples: Readonly<Record<TimestampFormat, string>> = {
  "date-time": "2026-11-21T10:00:00Z",
  "http-date": "Sat, 21 Nov 2026 10:00:00 GMT",
  "epoch-seconds": "1795255200",
};

export function notThat(
  shape: RestShape,
  place: TimestampFormat,
): string {
  if (shape.kind === "timestamp") {
    return `${expected.timestamp} such as ${examples[shape.format ?? place]}.`;
  }
  return shape.kind === "structure" || shape.kind === "list" || shape.kind === "map"
    ? `A ${shape.kind} was expected.`
    : expected[shape.kind];
}

function plain(shape: RestShape, text: string, place: TimestampFormat): JsonValue | undefined {
  switch (shape.kind) {
    case "string":
      return isPrintable(text) ? text : undefined;
    case "boolean":
      return readBoolean(text);
    case "integer":
    case "number":
      return readNumber(text, shape.kind);
    case "blob":
      return readBase64(text);
    case "timestamp":
      return timeFromText(text, shape.format ?? place);
    default:
      return undefined;
  }
}

/** @param place the format of times at this place of a message */
export function scalarFromText(
  faults: RestFaults,
  shape: RestShape,
  text: string,
  place: TimestampFormat,
  path: string,
): JsonValue {
  const value = plain(shape, text, place);
  if (value === undefined) throw faults.invalid(path, text, notThat(shape, place));
  return value;
}

/** The parts of a header that holds a list; a part in double quotes may have commas. */
export function listFromHeader(
  faults: RestFaults,
  shape: RestShape,
  text: string,
  path: string,
): JsonValue[] {
  // Dates have a comma of their own.
  const dates = shape.kind === "timestamp" && (shape.format ?? "http-date") === "http-date";
  const part = dates ? /\s*([^,]*,[^,]*?)\s*(?:,|$)/y : /\s*("(?:[^"\\]|\\.)*"|[^",]*?)\s*(?:,|$)/y;
  const found: JsonValue[] = [];
  while (part.lastIndex < text.length) {
    const at = part.lastIndex;
    const match = part.exec(text);
    if (match === null) throw faults.invalid(path, text.slice(at), "It is not a list of values.");
    const raw = match[1] ?? "";
    const one = raw.startsWith('"') ? raw.slice(1, -1).replace(/\\(.)/g, "$1") : raw;
    found.push(scalarFromText(faults, shape, one, "http-date", join(path, found.length + 1)));
  }
  return found;
}

export function wrongAnswer(path: string, expected: string, value: unknown): TypeError {
  return new TypeError(`the answer's ${path} must be ${expected}, not ${typeof value}`);
}

/** A time that came as an ISO string or as a `Date`. */
export function timeToText(value: unknown, format: TimestampFormat, path: string): string {
  const at = value instanceof Date
    ? value
    : typeof value === "string"
    ? new Date(value)
    : undefined;
  if (at === undefined || Number.isNaN(at.getTime())) throw wrongAnswer(path, "a time", value);
  switch (format) {
    case "date-time":
      return at.toISOString();
    case "http-date":
      return at.toUTCString();
    case "epoch-seconds":
      return String(at.getTime() / 1_000);
  }
}

export function scalarToText(
  shape: RestShape,
  value: unknown,
  place: TimestampFormat,
  path: string,
): string {
  switch (shape.kind) {
    case "string":
      if (typeof value === "string") return value;
      throw wrongAnswer(path, "a string", value);
    case "boolean":
      if (typeof value === "boolean") return value ? "true" : "false";
      throw wrongAnswer(path, "a boolean", value);
    case "integer":
    case "number":
      if (typeof value === "bigint" || Number.isFinite(value)) return String(value);
      throw wrongAnswer(path, "a number", value);
    case "blob":
      if (typeof value === "string") return value;
      if (value instanceof Uint8Array) return value.toBase64();
      throw wrongAnswer(path, "base64 or bytes", value);
    case "timestamp":
      return timeToText(value, shape.format ?? place, path);
    default:
      throw wrongAnswer(path, "a scalar", value);
  }
}
