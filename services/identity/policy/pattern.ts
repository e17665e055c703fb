/**
 * Patterns of IAM policies: `*` for any run of characters, `?` for one, and policy variables such as
 * `${aws:username}`, whose values stand for themselves even where they hold a `*`.
 */
import { anyCharacter, anyText, matchTokens, type Token, tokensOf } from "../../aws/wildcards.ts";

/** Values of condition keys, by key in lower case. */
export type Context = ReadonlyMap<string, readonly string[]>;

type Part = { readonly text: string } | { readonly key: string; readonly otherwise?: string };

export interface Pattern {
  readonly parts: readonly Part[];
  /** When there is no variable, the same tokens every time. */
  readonly tokens: readonly Token[] | undefined;
}

/** A pattern that is malformed; the message says how. */
export class PatternError extends Error {
  override readonly name = "PatternError";
}

const variable = /\$\{([^{}]*)\}/g;

/** @param variables whether `${…}` has a meaning: from policy version 2012-10-17 on */
export function parsePattern(text: string, variables: boolean): Pattern {
  const parts: Part[] = [];
  let from = 0;
  for (const match of variables ? text.matchAll(variable) : []) {
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push(parseVariable(match[1] ?? ""));
    from = match.index + match[0].length;
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from) });
  if (variables && parts.some((part) => "text" in part && part.text.includes("${"))) {
    throw new PatternError(`the policy variable in "${text}" is not closed`);
  }
  const plain = parts.every((part) => "text" in part);
  return { parts, tokens: plain ? tokensOf(text) : undefined };
}

function parseVariable(text: string): Part {
  // The three characters that have a meaning of their own, as themselves.
  if (text === "*" || text === "?" || text === "$") return { key: "", otherwise: text };
  const match = /^\s*([A-Za-z0-9_.:/@=+-]+)\s*(?:,\s*'([^']*)'\s*)?$/.exec(text);
  if (match?.[1] === undefined) throw new PatternError(`"\${${text}}" is no policy variable`);
  const key = match[1].toLowerCase();
  return match[2] === undefined ? { key } : { key, otherwise: match[2] };
}

/** The pattern with its variables' values; undefined when one of them has none, or several. */
function resolve(pattern: Pattern, context: Context): readonly Token[] | undefined {
  if (pattern.tokens !== undefined) return pattern.tokens;
  const tokens: Token[] = [];
  for (const part of pattern.parts) {
    if ("text" in part) {
      tokens.push(...tokensOf(part.text));
      continue;
    }
    const values = part.key === "" ? undefined : context.get(part.key);
    const value = values?.length === 1 ? values[0] : part.otherwise;
    if (value === undefined) return undefined;
    tokens.push(...value);
  }
  return tokens;
}

/** Whether `text` matches; undefined when a variable of the pattern has no value. */
export function matches(pattern: Pattern, text: string, context: Context): boolean | undefined {
  const tokens = resolve(pattern, context);
  return tokens === undefined ? undefined : matchTokens(tokens, Array.from(text));
}

/** The pattern's text with its variables' values, for operators that know no wildcards. */
export function literal(pattern: Pattern, context: Context): string | undefined {
  return resolve(pattern, context)?.map((token) =>
    token === anyText ? "*" : token === anyCharacter ? "?" : token as string
  ).join("");
}

/**
 * Whether an ARN matches: each of the six fields by itself, so that a `*` does not reach over a
 * colon but in the last. Fields that the pattern leaves away match anything, as AWS completes them.
 */
export function matchesArn(pattern: Pattern, arn: string, context: Context): boolean | undefined {
  const tokens = resolve(pattern, context);
  if (tokens === undefined) return undefined;
  const fields = splitTokens(tokens);
  if (fields.length === 1 && fields[0]?.length === 1 && fields[0][0] === anyText) return true;
  const texts = splitTokens(Array.from(arn)) as string[][];
  if (texts.length < 6) return matchTokens(tokens, Array.from(arn));
  return texts.every((text, index) => {
    const field = fields[index];
    return field === undefined || matchTokens(field, text);
  });
}

function splitTokens(tokens: readonly Token[]): Token[][] {
  const fields: Token[][] = [[]];
  for (const token of tokens) {
    if (token === ":" && fields.length < 6) fields.push([]);
    else fields.at(-1)?.push(token);
  }
  return fields;
}
