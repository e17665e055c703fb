/**
 * A query's parameters as a tree: `A.1.B=x` is reached as `A`, `1`, `B`.
 *
 * The tree is made of Maps, so that no name a caller invents (`__proto__`) means anything. Size, depth
 * and number of parameters are bounded; a name given twice or used both as a value and as a prefix is
 * refused.
 */
import { parameterError, quoted } from "./parameter_error.ts";
import type { QueryFlavour } from "../schema/shape.ts";

export type FormNode = string | FormTree;
export type FormTree = Map<string, FormNode>;

/** More than any AWS call needs; RunInstances with everything in it has a few hundred. */
const mostParameters = 20_000;
const deepest = 24;
const longestName = 1_024;

function unescape(flavour: QueryFlavour, text: string): string {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    throw parameterError(
      flavour,
      "malformed",
      `The query string is malformed near ${quoted(text)}: it is not percent-encoded UTF-8.`,
    );
  }
}

/** Adds the parameters of one `application/x-www-form-urlencoded` text to the tree. */
export function readForm(
  flavour: QueryFlavour,
  text: string,
  tree: FormTree = new Map(),
  count = 0,
): FormTree {
  for (let at = 0; at < text.length;) {
    let end = text.indexOf("&", at);
    if (end < 0) end = text.length;
    if (end > at) {
      if (++count > mostParameters) {
        throw parameterError(flavour, "malformed", "The request has too many parameters.");
      }
      let equals = text.indexOf("=", at);
      if (equals < 0 || equals > end) equals = end;
      const name = unescape(flavour, text.slice(at, equals));
      place(flavour, tree, name, unescape(flavour, text.slice(equals + 1, end)));
    }
    at = end + 1;
  }
  return tree;
}

function place(flavour: QueryFlavour, tree: FormTree, name: string, value: string): void {
  if (name.length > longestName) {
    throw parameterError(flavour, "unknown", `The parameter ${quoted(name)} is not recognized`);
  }
  const conflict = () =>
    parameterError(
      flavour,
      "invalid",
      `The parameter ${quoted(name)} is given more than once, or both as a value and as a prefix.`,
    );
  let node = tree;
  let depth = 0;
  for (let at = 0;;) {
    const dot = name.indexOf(".", at);
    const part = dot < 0 ? name.slice(at) : name.slice(at, dot);
    if (dot < 0) {
      if (node.has(part)) throw conflict();
      node.set(part, value);
      return;
    }
    if (++depth > deepest) {
      throw parameterError(
        flavour,
        "unknown",
        `The parameter ${quoted(name)} is nested too deeply`,
      );
    }
    const next = node.get(part);
    if (typeof next === "string") throw conflict();
    if (next === undefined) {
      const made: FormTree = new Map();
      node.set(part, made);
      node = made;
    } else node = next;
    at = dot + 1;
  }
}
