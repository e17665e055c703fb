/** What a posted form may be, as its signed policy says. What the policy does not name is refused, as S3 does. */
import { AwsError } from "../../aws/errors.ts";

const denied = (message: string) =>
  new AwsError("AccessDenied", `Invalid according to Policy: ${message}`, { status: 403 });
/** The condition is shown as S3 writes it, with a blank between its parts. */
const failed = (condition: readonly string[]) =>
  denied(`Policy Condition failed: [${condition.map((one) => JSON.stringify(one)).join(", ")}]`);
const invalid = (message: string) =>
  new AwsError("InvalidPolicyDocument", `Invalid Policy: ${message}`);
const notJson = () => invalid("Invalid JSON.");
const wrongNumber = (operation: string) =>
  invalid(`Invalid ${operation}: wrong number of arguments.`);

/** What a policy lets the file's length be. */
export interface LengthRange {
  readonly least_bytes: number;
  readonly most_bytes: number;
}

interface RangeCondition extends LengthRange {
  readonly written: readonly string[];
}

interface FieldCondition {
  readonly how: "eq" | "starts-with";
  /** As the policy writes it, with its `$`. */
  readonly variable: string;
  readonly value: string;
}

interface Policy {
  readonly ends_ms: number;
  readonly conditions: readonly (FieldCondition | RangeCondition)[];
}

const decoder = new TextDecoder();
const members = new Set(["expiration", "conditions"]);

function objectOf(encoded: string): Readonly<Record<string, unknown>> {
  if (encoded.trim() === "") throw invalid("Expecting '{' but found End-of-Input");
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(encoded);
  } catch {
    throw invalid("invalid Base64 encoding.");
  }
  let policy: unknown;
  try {
    policy = JSON.parse(decoder.decode(bytes));
  } catch {
    throw notJson();
  }
  if (typeof policy !== "object" || policy === null || Array.isArray(policy)) throw notJson();
  return { ...policy };
}

function endOf(expiration: unknown): number {
  if (expiration === undefined) throw invalid("Policy missing expiration.");
  if (typeof expiration !== "string") throw notJson();
  const ends_ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(expiration)
    ? Date.parse(expiration)
    : NaN;
  if (Number.isNaN(ends_ms)) throw invalid(`Invalid 'expiration' value: '${expiration}'`);
  return ends_ms;
}

/** What a policy is at all, before its conditions are held against a form. @throws AwsError `InvalidPolicyDocument` */
function readPolicy(encoded: string): Policy {
  const policy = objectOf(encoded);
  const { expiration, conditions } = policy;
  const other = Object.keys(policy).find((name) => !members.has(name.toLowerCase()));
  if (other !== undefined) throw invalid(`Unexpected: "${other}"`);
  const ends_ms = endOf(expiration);
  if (conditions === undefined) throw invalid("Policy missing conditions.");
  if (!Array.isArray(conditions)) throw invalid("Invalid 'conditions' value: must be a List.");
  return { ends_ms, conditions: conditions.map(readCondition) };
}

function readCondition(condition: unknown): FieldCondition | RangeCondition {
  if (Array.isArray(condition)) return readList(condition);
  if (typeof condition !== "object" || condition === null) {
    throw invalid("Invalid condition test: must be a List or Object.");
  }
  const [only, ...more] = Object.entries(condition);
  if (only === undefined || more.length > 0) {
    throw invalid(
      "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
    );
  }
  const [name, value]: [string, unknown] = only;
  if (typeof value !== "string") throw invalid("Invalid Simple-Condition: value must be a string.");
  return { how: "eq", variable: `$${name}`, value };
}

function readList(
  [operation, first, second, ...more]: readonly unknown[],
): FieldCondition | RangeCondition {
  if (operation === undefined) throw invalid("Invalid Condition: missing operation identifier.");
  if (typeof operation !== "string") throw notJson();
  const how = operation.toLowerCase();
  if (how !== "eq" && how !== "starts-with" && how !== "content-length-range") {
    throw invalid(`Invalid Condition: unknown operation '${operation}'.`);
  }
  if (second === undefined || more.length > 0) throw wrongNumber(how);
  if (how === "content-length-range") {
    const [least_bytes, most_bytes] = [lengthOf(first), lengthOf(second)];
    return { least_bytes, most_bytes, written: [operation, String(first), String(second)] };
  }
  if (typeof first !== "string" || typeof second !== "string") throw notJson();
  return { how, variable: first, value: second };
}

/** NaN for words, between which no length is. */
function lengthOf(value: unknown): number {
  if (typeof value !== "number" && typeof value !== "string") throw notJson();
  if (/^\d{1,15}$/.test(String(value))) return Number(value);
  if (typeof value === "number") throw notJson();
  return NaN;
}

/** A list of content types is held against the condition one by one. */
const valuesOf = (name: string, value: string) =>
  name === "content-type" ? value.split(",").map((one) => one.trim()) : [value];

function holds({ how, variable, value }: FieldCondition, name: string, has: string | undefined) {
  if (has === undefined || !variable.startsWith("$")) return false;
  return how === "eq" ? has === value : valuesOf(name, has).every((one) => one.startsWith(value));
}

/** Fields that a policy need not name. */
const exempt = /^(x-amz-signature|policy|file|x-ignore-.*)$/;

/**
 * Holds a form against its policy.
 * @param fields the form's, and the `bucket` that it was sent to
 * @throws AwsError `InvalidPolicyDocument`, `AccessDenied`
 */
export function checkPolicy(
  encoded: string,
  fields: ReadonlyMap<string, string>,
  now_ms: number,
): LengthRange {
  const { ends_ms, conditions } = readPolicy(encoded);
  if (ends_ms < now_ms) throw denied("Policy expired.");
  const named = new Set<string>();
  let range: LengthRange = { least_bytes: 0, most_bytes: Infinity };
  for (const condition of conditions) {
    if ("least_bytes" in condition) {
      const { least_bytes, most_bytes, written } = condition;
      if (Number.isNaN(least_bytes + most_bytes)) throw failed(written);
      range = { least_bytes, most_bytes };
      continue;
    }
    const { how, variable, value } = condition;
    const name = variable.slice(1).toLowerCase();
    named.add(name);
    if (!holds(condition, name, fields.get(name))) throw failed([how, variable, value]);
  }
  for (const name of fields.keys()) {
    if (!named.has(name) && !exempt.test(name)) throw denied(`Extra input fields: ${name}`);
  }
  return range;
}
