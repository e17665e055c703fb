/**
 * EC2's filters. The values of one filter are alternatives, several filters must all hold. A value
 * may hold `*` (any text) and `?` (one character); a backslash makes either, or itself, plain.
 * Comparison is case-sensitive and on text: numbers and booleans by their text, times in ISO 8601.
 *
 * Matching is linear in the text for each `*` and never recursive: a hostile pattern costs at most
 * 255 times the text's length.
 */
import { anyCharacter, anyText, matchTokens, type Token } from "../aws/wildcards.ts";
import { AwsError } from "../aws/errors.ts";
import { invalidValue } from "./errors.ts";
import type { Filter } from "./wire.ts";

export const filterLimits = { filters: 50, values: 200, length: 255 } as const;

export type Scalar = string | number | boolean | undefined;
/** What a filter's name reads of a record: one value, several of which one must match, or none. */
export type Attribute<R> = (record: R) => Scalar | readonly Scalar[];
export type Attributes<R> = Readonly<Record<string, Attribute<R>>>;

function parsePattern(pattern: string): Token[] {
  const pieces: Token[] = [];
  const characters = [...pattern];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? "";
    const next = characters[at + 1];
    if (character === "\\" && (next === "*" || next === "?" || next === "\\")) {
      pieces.push(next);
      at++;
    } else if (character === "*") {
      if (pieces.at(-1) !== anyText) pieces.push(anyText);
    } else if (character === "?") pieces.push(anyCharacter);
    else pieces.push(character);
  }
  return pieces;
}

/** A function that says whether a text matches the pattern. */
export function compilePattern(pattern: string): (text: string) => boolean {
  const pieces = parsePattern(pattern);
  if (pieces.every((piece) => typeof piece === "string")) {
    const plain = pieces.join("");
    return (text) => text === plain;
  }
  return (text) => matchTokens(pieces, [...text]);
}

type Tags = Readonly<Record<string, string>>;

function read<R>(attribute: Attribute<R>): (record: R) => readonly string[] {
  return (record) => {
    const value = attribute(record);
    const values = Array.isArray(value) ? value as readonly Scalar[] : [value as Scalar];
    return values.filter((one) => one !== undefined).map(String);
  };
}

function readerOf<R>(
  name: string,
  attributes: Attributes<R>,
  tagsOf: ((record: R) => Tags) | undefined,
): ((record: R) => readonly string[]) | undefined {
  if (tagsOf !== undefined) {
    if (name === "tag-key") return (record) => Object.keys(tagsOf(record));
    if (name === "tag-value") return (record) => Object.values(tagsOf(record));
    if (name.startsWith("tag:") && name.length > 4) {
      const key = name.slice(4);
      return (record) => {
        const tags = tagsOf(record);
        return Object.hasOwn(tags, key) ? [tags[key] ?? ""] : [];
      };
    }
  }
  return Object.hasOwn(attributes, name) ? read(attributes[name] as Attribute<R>) : undefined;
}

/**
 * Checks the filters of a request and makes one predicate of them.
 * @param tagsOf absent where the resource has no tags
 * @throws AwsError `InvalidParameterValue` for an unknown name, `FilterLimitExceeded`
 */
export function compileFilters<R>(
  filters: readonly Filter[] | undefined,
  attributes: Attributes<R>,
  tagsOf?: (record: R) => Tags,
): (record: R) => boolean {
  if (filters === undefined || filters.length === 0) return () => true;
  if (filters.length > filterLimits.filters) {
    throw new AwsError(
      "FilterLimitExceeded",
      `A request may have ${filterLimits.filters} filters at most`,
    );
  }
  const tests = filters.map((filter) => {
    const name = filter.Name ?? "";
    const reader = readerOf(name, attributes, tagsOf);
    if (reader === undefined) {
      throw invalidValue(`The filter '${name === "" ? "null" : name}' is invalid`);
    }
    const values = filter.Values ?? [];
    if (values.length === 0) throw invalidValue(`The filter '${name}' needs at least one value`);
    if (values.length > filterLimits.values) {
      throw new AwsError(
        "FilterLimitExceeded",
        `The maximum number of values for the filter '${name}' is ${filterLimits.values}`,
      );
    }
    for (const value of values) {
      if (value.length > filterLimits.length) {
        throw invalidValue(
          `The value of filter '${name}' is longer than ${filterLimits.length} characters`,
        );
      }
    }
    const patterns = values.map(compilePattern);
    return (record: R) => reader(record).some((text) => patterns.some((matches) => matches(text)));
  });
  return (record) => tests.every((test) => test(record));
}
