/**
 * Condition operators of IAM policies: String, Numeric, Date, Bool, Binary,
 * IpAddress, Arn, Null, with `…IfExists`, `ForAllValues:` and `ForAnyValue:`.
 *
 * Operators and keys and values of one statement combine as AWS documents: all operators and all
 * keys must hold; of several values one is enough, or, for a negated operator, none may match. A key
 * that the request does not have fails an operator, but for a negated one and `…IfExists`. Of a set,
 * `ForAllValues:` holds without any value and `ForAnyValue:` does not, also with `…IfExists`: AWS asks that of
 * each value.
 */
import { BlockList, isIP } from "node:net";
import {
  type Context,
  literal,
  matches,
  matchesArn,
  parsePattern,
  type Pattern,
} from "./pattern.ts";

/** A condition that is malformed; the message says how. */
export class ConditionError extends Error {
  override readonly name = "ConditionError";
}

export interface Condition {
  readonly key: string;
  readonly values: readonly Pattern[];
  readonly test: Test;
  readonly negated: boolean;
  readonly ifExists: boolean;
  readonly set: "all" | "any" | undefined;
  readonly isNull: boolean;
}

/** Whether one value of the request matches one of the policy. */
type Test = (actual: string, wanted: Pattern, context: Context) => boolean;

const text = (compare: (actual: string, wanted: string) => boolean): Test =>
(
  actual,
  wanted,
  context,
) => {
  const value = literal(wanted, context);
  return value !== undefined && compare(actual, value);
};

const number = (compare: (a: number, b: number) => boolean): Test =>
  text((actual, wanted) => {
    const [a, b] = [toNumber(actual), toNumber(wanted)];
    return a !== undefined && b !== undefined && compare(a, b);
  });

const date = (compare: (a: number, b: number) => boolean): Test =>
  text((actual, wanted) => {
    const [a, b] = [toTime(actual), toTime(wanted)];
    return a !== undefined && b !== undefined && compare(a, b);
  });

function toNumber(value: string): number | undefined {
  return /^-?\d+(\.\d+)?$/.test(value.trim()) ? Number(value) : undefined;
}

/** ISO 8601 or seconds since 1970, in milliseconds. */
function toTime(value: string): number | undefined {
  const seconds = toNumber(value);
  if (seconds !== undefined) return seconds * 1000;
  if (!/^\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)?$/.test(value)) {
    return undefined;
  }
  const time = Date.parse(value);
  return Number.isNaN(time) ? undefined : time;
}

function toBool(value: string): boolean | undefined {
  const lower = value.toLowerCase();
  return lower === "true" ? true : lower === "false" ? false : undefined;
}

function toSubnet(value: string): BlockList | undefined {
  const match = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(value);
  const address = match?.[1] ?? "";
  const version = isIP(address);
  if (version === 0) return undefined;
  const bits = match?.[2] === undefined ? (version === 4 ? 32 : 128) : Number(match[2]);
  if (bits > (version === 4 ? 32 : 128)) return undefined;
  const list = new BlockList();
  list.addSubnet(address, bits, version === 4 ? "ipv4" : "ipv6");
  return list;
}

const inSubnet: Test = text((actual, wanted) => {
  const version = isIP(actual);
  return version !== 0 && toSubnet(wanted)?.check(actual, version === 4 ? "ipv4" : "ipv6") === true;
});

interface Operator {
  readonly test: Test;
  readonly negated?: true;
  /** What a value must be; checked when the policy is written, unless it holds a variable. */
  readonly valid?: (value: string) => boolean;
  readonly of?: string;
}

const numeric = { valid: (value: string) => toNumber(value) !== undefined, of: "a number" };
const dated = { valid: (value: string) => toTime(value) !== undefined, of: "a date" };
const boolean = { valid: (value: string) => toBool(value) !== undefined, of: "true or false" };
const address = { valid: (value: string) => toSubnet(value) !== undefined, of: "a CIDR block" };
const arn = {
  valid: (value: string) => value === "*" || /^arn:/.test(value) || value.startsWith("*"),
  of: "an ARN",
};
const equalText = text((a, b) => a === b);
const equalIgnoringCase = text((a, b) => a.toLowerCase() === b.toLowerCase());
const likeText: Test = (actual, wanted, context) => matches(wanted, actual, context) === true;
const likeArn: Test = (actual, wanted, context) => matchesArn(wanted, actual, context) === true;
const equalNumber = number((a, b) => a === b);
const equalDate = date((a, b) => a === b);

const operators: Readonly<Record<string, Operator>> = {
  stringequals: { test: equalText },
  stringnotequals: { test: equalText, negated: true },
  stringequalsignorecase: { test: equalIgnoringCase },
  stringnotequalsignorecase: { test: equalIgnoringCase, negated: true },
  stringlike: { test: likeText },
  stringnotlike: { test: likeText, negated: true },
  numericequals: { test: equalNumber, ...numeric },
  numericnotequals: { test: equalNumber, negated: true, ...numeric },
  numericlessthan: { test: number((a, b) => a < b), ...numeric },
  numericlessthanequals: { test: number((a, b) => a <= b), ...numeric },
  numericgreaterthan: { test: number((a, b) => a > b), ...numeric },
  numericgreaterthanequals: { test: number((a, b) => a >= b), ...numeric },
  dateequals: { test: equalDate, ...dated },
  datenotequals: { test: equalDate, negated: true, ...dated },
  datelessthan: { test: date((a, b) => a < b), ...dated },
  datelessthanequals: { test: date((a, b) => a <= b), ...dated },
  dategreaterthan: { test: date((a, b) => a > b), ...dated },
  dategreaterthanequals: { test: date((a, b) => a >= b), ...dated },
  bool: { test: text((a, b) => toBool(a) !== undefined && toBool(a) === toBool(b)), ...boolean },
  binaryequals: { test: equalText },
  ipaddress: { test: inSubnet, ...address },
  notipaddress: { test: inSubnet, negated: true, ...address },
  arnequals: { test: likeArn, ...arn },
  arnlike: { test: likeArn, ...arn },
  arnnotequals: { test: likeArn, negated: true, ...arn },
  arnnotlike: { test: likeArn, negated: true, ...arn },
  null: { test: equalText, ...boolean },
};

/** The `Condition` element of a statement. @throws ConditionError, PatternError */
export function parseConditions(element: unknown, variables: boolean): Condition[] {
  if (!isObject(element)) throw new ConditionError("Condition must be an object");
  return Object.entries(element).flatMap(([name, keys]) => {
    if (!isObject(keys)) throw new ConditionError(`Condition.${name} must be an object`);
    return Object.entries(keys).map(([key, values]) => parseOne(name, key, values, variables));
  });
}

function parseOne(name: string, key: string, given: unknown, variables: boolean): Condition {
  const match = /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/i.exec(name);
  const lower = match?.[2]?.toLowerCase() ?? "";
  const operator = Object.hasOwn(operators, lower) ? operators[lower] : undefined;
  if (operator === undefined || (lower === "null" && (match?.[1] || match?.[3]))) {
    throw new ConditionError(`there is no condition operator "${name}"`);
  }
  // Providers have dots and slashes in front of the colon, tags may have spaces behind their slash.
  if (!/^[A-Za-z0-9_./-]+:[^\s/]+(\/.+)?$/.test(key)) {
    throw new ConditionError(`"${key}" is no condition key`);
  }
  const values = (Array.isArray(given) ? given : [given]).map((value: unknown) => {
    if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") {
      throw new ConditionError(`a value of ${name} ${key} is neither text, number nor boolean`);
    }
    const pattern = parsePattern(String(value), variables);
    if (pattern.tokens !== undefined && operator.valid?.(String(value)) === false) {
      throw new ConditionError(`"${value}" in ${name} ${key} is not ${operator.of}`);
    }
    return pattern;
  });
  if (values.length === 0) throw new ConditionError(`${name} ${key} has no value`);
  const set = match?.[1]?.toLowerCase();
  return {
    key: key.toLowerCase(),
    values,
    test: operator.test,
    negated: operator.negated === true,
    ifExists: match?.[3] !== undefined,
    set: set === "forallvalues" ? "all" : set === "foranyvalue" ? "any" : undefined,
    isNull: lower === "null",
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether the condition holds for a request with these keys. */
export function holds(condition: Condition, context: Context): boolean {
  const actual = context.get(condition.key) ?? [];
  if (condition.isNull) {
    const missing = String(actual.length === 0);
    return condition.values.some((value) => literal(value, context)?.toLowerCase() === missing);
  }
  const holdsFor = (value: string) => {
    const some = condition.values.some((wanted) => condition.test(value, wanted, context));
    return condition.negated ? !some : some;
  };
  if (actual.length === 0) {
    if (condition.set !== undefined) return condition.set === "all";
    return condition.negated || condition.ifExists;
  }
  if (condition.set === "all") return actual.every(holdsFor);
  if (condition.set === "any") return actual.some(holdsFor);
  return condition.negated ? actual.every(holdsFor) : actual.some(holdsFor);
}
