/**
 * The text of a seed as a tree of YAML nodes that know their line and column.
 *
 * Whoever can reach the boot partition or plug in a stick writes this text, so its cost is bounded
 * before it is understood: size, depth, and no aliases (a few lines of them can name a billion
 * nodes). Every refusal is a `SeedError` of one sentence with the place; nothing else is thrown.
 */
import { Composer, type CST, type Document, isAlias, LineCounter, type Node, Parser } from "yaml";

export const longestSeed_bytes = 64 * 1024;
const deepest = 24;

/** Something in a seed cannot be used. The message says where, what, and what to do. */
export class SeedError extends Error {
  override readonly name = "SeedError";
}

/** What an editor shows as a place: both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface SeedDocument {
  readonly name: string;
  /** Undefined when the text holds nothing but comments. */
  readonly root: Node | undefined;
  placeOf(node: Node | undefined): Place;
  /** @throws SeedError always, naming the place of `node` */
  fail(node: Node | undefined, what: string): never;
}

/** By the mark that editors put before it. */
export function isUtf16([first, second]: Uint8Array): boolean {
  return (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
}

/** Text of a file, in whatever an editor on another system made of it. @throws SeedError */
export function decodeSeed(bytes: Uint8Array, name: string): string {
  if (bytes.length > longestSeed_bytes) {
    throw new SeedError(
      `${name} has ${bytes.length} bytes, and a seed has at most ${longestSeed_bytes}; ` +
        `take out what does not belong to it.`,
    );
  }
  if (isUtf16(bytes)) {
    throw new SeedError(`${name} is UTF-16 text; save it as UTF-8.`);
  }
  try {
    // Drops the mark that some editors put before UTF-8.
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SeedError(`${name} is no UTF-8 text; save it as plain text in UTF-8.`, { cause });
  }
}

/** Reads the text into a tree. @throws SeedError */
export function parseDocument(text: string, name: string): SeedDocument {
  const lines = new LineCounter();
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const failAt = (offset: number, what: string): never => {
    const { line, column } = at(offset);
    throw new SeedError(`${name}, line ${line}, column ${column}: ${what}`);
  };
  lines.addNewLine(0);
  for (let newline = text.indexOf("\n"); newline >= 0; newline = text.indexOf("\n", newline + 1)) {
    lines.addNewLine(newline + 1);
  }
  // deno-lint-ignore no-control-regex
  const control = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/.exec(text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(2, "0");
    failAt(control.index, `the control character 0x${code} has no place in a seed; remove it.`);
  }
  const tokens = [...new Parser().parse(text)];
  for (const token of tokens) refuseDepth(token, failAt);
  const documents: Document.Parsed[] = [];
  // Keys that come twice are found where they are read; the library's own search is quadratic.
  const composer = new Composer({ uniqueKeys: false, schema: "core", version: "1.2" });
  for (const composed of composer.compose(tokens, true, text.length)) {
    const error = composed.errors[0];
    if (error !== undefined) {
      const what = error.message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "");
      failAt(error.pos[0], `this is not valid YAML: ${what?.replace(/[.:]$/, "")}.`);
    }
    documents.push(composed as Document.Parsed);
  }
  const [document, second] = documents;
  if (second !== undefined) {
    failAt(
      second.range[0],
      "a second document begins here; a seed is one, so remove the line ---.",
    );
  }
  const root = document?.contents ?? undefined;
  return {
    name,
    root: root === null || isEmptyScalar(root) ? undefined : root,
    placeOf: (node) => at(node?.range?.[0] ?? 0),
    fail: (node, what) => failAt(node?.range?.[0] ?? 0, what),
  };
}

function isEmptyScalar(node: Node | undefined): boolean {
  return node !== undefined && "value" in node && node.value === null &&
    (!("source" in node) || node.source === "" || node.source === undefined);
}

/** The composer calls itself for each level: what is deeper than any seed never gets there. */
function refuseDepth(token: CST.Token, failAt: (offset: number, what: string) => never): void {
  const open: { readonly token: unknown; readonly depth: number }[] = [{ token, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { depth } = next;
    const one = next.token as Partial<Record<"items" | "value" | "key", unknown>> & {
      readonly offset?: number;
    };
    if (depth > deepest) {
      failAt(one.offset ?? 0, `this is nested deeper than any setting; remove the surplus.`);
    }
    for (const part of [one.key, one.value]) {
      if (typeof part === "object" && part !== null) open.push({ token: part, depth: depth + 1 });
    }
    for (const item of Array.isArray(one.items) ? one.items : []) {
      open.push({ token: item, depth });
    }
  }
}

/** A node that may be read; an alias may not. */
export function plain(document: SeedDocument, node: Node): Node {
  if (isAlias(node)) {
    document.fail(node, `aliases (*${node.source}) are not read in a seed; write the value out.`);
  }
  return node;
}
