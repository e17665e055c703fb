/**
 * Rules: what a value of a seed may be. One rule gives three things that can therefore never differ:
 * the TypeScript type, the strict reading of a YAML node (with the place of whatever is wrong), and
 * the JSON Schema that editors use.
 */
import { isMap, isScalar, isSeq, type Node } from "yaml";
import { plain, type SeedDocument } from "./document.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface Rule<T> {
  /** What the value is, for people: a full sentence or two. */
  readonly about: string;
  /** Reads the value. @throws SeedError */
  read(document: SeedDocument, node: Node, path: string): T;
  json(): JsonSchema;
  /** Rules of the values inside, by name; for tests that look at every key. */
  readonly inside?: Readonly<Record<string, Rule<unknown>>>;
  readonly secret?: true;
}

export type ValueOf<R> = R extends Rule<infer T> ? T : never;

/** Controls and marks of direction that JSON leaves as they are; a screen would obey them. */
const steering = /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const shown = (value: unknown) => {
  const text = (JSON.stringify(value) ?? String(value)).replace(
    steering,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
};

export interface TextOptions {
  readonly about: string;
  readonly form?: RegExp;
  /** What is expected, after "must be": `an address such as 192.168.1.1`. */
  readonly expected: string;
  /** Further check, true when good. */
  readonly accepts?: (text: string) => boolean;
  readonly longest?: number;
  readonly secret?: true;
}

export function text(options: TextOptions): Rule<string> {
  const { about, form, expected, accepts, longest = 253, secret } = options;
  return {
    about,
    ...(secret === undefined ? {} : { secret }),
    read(document, given, path) {
      const node = plain(document, given);
      const value = isScalar(node) ? node.value : undefined;
      if (typeof value === "number" || typeof value === "boolean") {
        document.fail(node, `"${path}" must be ${expected}; put it in quotes if it is meant so.`);
      }
      if (typeof value !== "string") {
        return document.fail(node, `"${path}" must be ${expected}.`);
      }
      // A secret that is wrong is still not to be told to a log.
      const what = secret === true ? "what stands there" : shown(value);
      if (value.length > longest) {
        document.fail(node, `"${path}" has ${value.length} characters; at most ${longest} may be.`);
      }
      if (form?.test(value) === false || accepts?.(value) === false) {
        document.fail(node, `"${path}" must be ${expected}, not ${what}.`);
      }
      return value;
    },
    json: () => ({
      type: "string",
      description: about,
      maxLength: longest,
      ...(form === undefined ? {} : { pattern: form.source }),
    }),
  };
}

export function choice<const T extends string>(
  about: string,
  values: readonly T[],
): Rule<T> {
  return {
    about,
    read(document, given, path) {
      const node = plain(document, given);
      const value = isScalar(node) ? node.value : undefined;
      const found = values.find((one) => one === value);
      return found ??
        document.fail(node, `"${path}" must be one of ${values.join(", ")}, not ${shown(value)}.`);
    },
    json: () => ({ description: about, enum: values }),
  };
}

export function integer(
  options: { readonly about: string; readonly min: number; readonly max: number },
): Rule<number> {
  const { about, min, max } = options;
  return {
    about,
    read(document, given, path) {
      const node = plain(document, given);
      const value = isScalar(node) ? node.value : undefined;
      if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
        return document.fail(
          node,
          `"${path}" must be a whole number from ${min} to ${max}, not ${shown(value)}.`,
        );
      }
      return value;
    },
    json: () => ({ type: "integer", description: about, minimum: min, maximum: max }),
  };
}

export function flag(about: string): Rule<boolean> {
  return {
    about,
    read(document, given, path) {
      const node = plain(document, given);
      const value = isScalar(node) ? node.value : undefined;
      return typeof value === "boolean"
        ? value
        : document.fail(node, `"${path}" must be true or false, not ${shown(value)}.`);
    },
    json: () => ({ type: "boolean", description: about }),
  };
}

export function list<T>(
  options: {
    readonly about: string;
    readonly of: Rule<T>;
    readonly min?: number;
    readonly max: number;
    /** What may not come twice, told as text. */
    readonly once?: (item: T) => string | undefined;
  },
): Rule<readonly T[]> {
  const { about, of, min = 1, max, once } = options;
  return {
    about,
    ...(of.inside === undefined ? {} : { inside: of.inside }),
    read(document, given, path) {
      const node = plain(document, given);
      if (!isSeq(node)) return document.fail(node, `"${path}" must be a list: [a, b].`);
      if (node.items.length < min || node.items.length > max) {
        document.fail(
          node,
          `"${path}" must have ${min} to ${max} entries and has ${node.items.length}.`,
        );
      }
      const seen = new Set<string>();
      return node.items.map((item, at) => {
        const here = `${path}[${at}]`;
        const value = of.read(document, item as Node, here);
        const mark = once?.(value);
        if (mark !== undefined && seen.has(mark)) {
          document.fail(item as Node, `"${here}" repeats ${mark}; say it once.`);
        }
        if (mark !== undefined) seen.add(mark);
        return value;
      });
    },
    json: () => ({
      type: "array",
      description: about,
      items: of.json(),
      minItems: min,
      maxItems: max,
    }),
  };
}

export interface OptionalRule<T> extends Rule<T> {
  readonly optional: true;
}

/** A key that may be left out. */
export function optional<T>(rule: Rule<T>): OptionalRule<T> {
  return { ...rule, optional: true };
}

type Fields = Readonly<Record<string, Rule<unknown>>>;
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: F[K] extends OptionalRule<unknown> ? K : never;
}[keyof F];

export type RecordOf<F extends Fields> =
  & { readonly [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]> }
  & { readonly [K in OptionalKeys<F>]?: ValueOf<F[K]> };

/** Tells what is wrong with the value of `key`, at its place; without a key, with the whole. */
export type Complain<F> = (key: keyof F | undefined, what: string) => never;

export function record<const F extends Fields>(
  about: string,
  fields: F,
  /** What must hold between the keys. */
  check: (value: RecordOf<F>, complain: Complain<F>) => void = () => {},
): Rule<RecordOf<F>> {
  const known = Object.keys(fields);
  const isOptional = (name: string) => "optional" in (fields[name] ?? {});
  return {
    about,
    inside: fields,
    read(document, given, path) {
      const node = plain(document, given);
      const called = path === "" ? "the seed" : `"${path}"`;
      if (!isMap(node)) {
        return document.fail(node, `${called} must hold settings such as "${known[0]}: …".`);
      }
      const values: Record<string, unknown> = Object.create(null);
      const places = new Map<string, Node>();
      for (const { key: keyNode, value: valueNode } of node.items) {
        const key = isScalar(keyNode) ? keyNode.value : undefined;
        const place = (keyNode ?? node) as Node;
        if (typeof key !== "string" || !Object.hasOwn(fields, key)) {
          return document.fail(place, unknownKey(String(key), called, known));
        }
        if (places.has(key)) {
          document.fail(place, `"${key}" stands in ${called} twice; keep one of them.`);
        }
        places.set(key, place);
        const inner = path === "" ? key : `${path}.${key}`;
        if (valueNode === null || (isScalar(valueNode) && valueNode.value === null)) {
          document.fail(place, `"${inner}" has no value; give it one or remove the line.`);
        }
        values[key] = fields[key]?.read(document, valueNode as Node, inner);
      }
      const missing = known.find((name) => !isOptional(name) && !places.has(name));
      if (missing !== undefined) {
        document.fail(node, `${called} needs "${missing}": ${fields[missing]?.about}`);
      }
      const value = { ...values } as unknown as RecordOf<F>;
      check(value, (key, what) => document.fail(places.get(String(key)) ?? node, what));
      return value;
    },
    json: () => ({
      type: "object",
      description: about,
      additionalProperties: false,
      properties: Object.fromEntries(known.map((name) => [name, fields[name]?.json()])),
      ...(known.every(isOptional) ? {} : { required: known.filter((name) => !isOptional(name)) }),
    }),
  };
}

function unknownKey(key: string, called: string, known: readonly string[]): string {
  const near = known.find((name) => distance(name, key) <= 2);
  return `${called} knows no ${shown(key)}; ` +
    (near === undefined ? `it knows ${known.join(", ")}.` : `did you mean "${near}"?`);
}

/** How many letters must change to make one word the other; at least their difference in length. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(
        (row[j] ?? 0) + 1,
        (next[j - 1] ?? 0) + 1,
        (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
      ));
    }
    row = next;
  }
  return row[b.length] ?? 3;
}
