/**
 * Decodes and validates the input of an EC2 query or AWS query call against its shape.
 *
 * What comes out is plain JSON: timestamps are ISO strings in UTC, blobs are base64 strings, members
 * are called as in the SDK's types. Every parameter must be known, well-formed and, where required,
 * present; the first fault found is thrown as an `AwsError` that names the parameter by its whole
 * path. Objects are made with known member names only, so that no caller can reach a prototype.
 */
import { parameterError, type ParameterFault, quoted } from "./parameter_error.ts";
import type { FormNode, FormTree } from "./query_form.ts";
import {
  isPrintable,
  readBase64,
  readBoolean,
  readNumber,
  readTimestamp,
} from "../schema/scalar_text.ts";
import type { ListShape, MapShape, QueryFlavour, Shape, StructureShape } from "../schema/shape.ts";

export type JsonValue = string | number | boolean | JsonValue[] | JsonObject;
export interface JsonObject {
  [name: string]: JsonValue;
}

const listIndex = /^[1-9]\d{0,6}$/;

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

export class QueryDecoder {
  constructor(readonly flavour: QueryFlavour) {}

  /** @param ignored top-level parameters that are not the operation's, for example `Action` */
  decode(
    shape: StructureShape | undefined,
    tree: FormTree,
    ignored: ReadonlySet<string>,
  ): JsonObject {
    if (shape === undefined) {
      for (const name of tree.keys()) if (!ignored.has(name)) throw this.#unknown(name);
      return {};
    }
    return this.#structure(shape, tree, "", ignored);
  }

  #error(fault: ParameterFault, message: string) {
    return parameterError(this.flavour, fault, message);
  }

  #unknown(path: string) {
    return this.#error("unknown", `The parameter ${quoted(path)} is not recognized`);
  }

  #invalid(path: string, value: string, what: string) {
    return this.#error(
      "invalid",
      `Value (${quoted(value)}) for parameter ${path} is invalid. ${what}`,
    );
  }

  #value(shape: Shape, node: FormNode, path: string): JsonValue {
    switch (shape.kind) {
      case "structure":
        // An empty structure can only be said by naming it.
        if (node === "") return this.#structure(shape, new Map(), path);
        if (typeof node === "string") {
          throw this.#invalid(path, node, "A structure was expected.");
        }
        return this.#structure(shape, node, path);
      case "list":
        return this.#list(shape, node, path);
      case "map":
        return this.#map(shape, node, path);
    }
    if (typeof node !== "string") {
      const [inner = ""] = node.keys();
      throw this.#unknown(join(path, inner));
    }
    switch (shape.kind) {
      case "string":
        if (!isPrintable(node)) {
          throw this.#invalid(path, node, "It has characters that are not allowed.");
        }
        return node;
      case "boolean":
        return this.#boolean(node, path);
      case "integer":
      case "number":
        return this.#number(node, path, shape.kind);
      case "timestamp":
        return this.#timestamp(node, path);
      case "blob":
        return this.#blob(node, path);
    }
  }

  #structure(
    shape: StructureShape,
    tree: FormTree,
    path: string,
    ignored?: ReadonlySet<string>,
  ): JsonObject {
    const made: JsonObject = {};
    for (const [name, node] of tree) {
      const member = shape.by_query_name.get(name);
      if (member === undefined) {
        if (ignored?.has(name)) continue;
        throw this.#unknown(join(path, name));
      }
      made[member.name] = this.#value(member.shape, node, join(path, name));
    }
    for (const member of shape.members) {
      if (member.required && !Object.hasOwn(made, member.name)) {
        throw this.#error(
          "missing",
          `The request must contain the parameter ${join(path, member.query_name)}`,
        );
      }
    }
    return made;
  }

  /** The numbered entries below a name, in the order of their numbers. */
  #numbered(node: FormNode, infix: string | undefined, path: string): [string, FormNode][] {
    if (node === "") return [];
    if (typeof node === "string") throw this.#invalid(path, node, "A list was expected.");
    let entries = node;
    let at = path;
    if (infix !== undefined) {
      const inner = node.get(infix);
      at = join(path, infix);
      const [other] = [...node.keys()].filter((name) => name !== infix);
      if (inner === undefined || other !== undefined) throw this.#unknown(join(path, other ?? ""));
      if (typeof inner === "string") throw this.#invalid(at, inner, "A list was expected.");
      entries = inner;
    }
    const found: [number, string, FormNode][] = [];
    for (const [index, entry] of entries) {
      if (!listIndex.test(index)) {
        throw this.#error(
          "invalid",
          `The parameter ${
            quoted(join(at, index))
          } is invalid: list indexes are whole numbers from 1.`,
        );
      }
      found.push([Number(index), join(at, index), entry]);
    }
    found.sort((a, b) => a[0] - b[0]);
    return found.map(([, where, entry]) => [where, entry]);
  }

  #list(shape: ListShape, node: FormNode, path: string): JsonValue[] {
    return this.#numbered(node, shape.query_infix, path)
      .map(([where, entry]) => this.#value(shape.item, entry, where));
  }

  #map(shape: MapShape, node: FormNode, path: string): JsonObject {
    const made: JsonObject = {};
    for (const [where, entry] of this.#numbered(node, shape.query_infix, path)) {
      if (typeof entry === "string") {
        throw this.#invalid(where, entry, "A key and value were expected.");
      }
      const key = entry.get(shape.key_name);
      const value = entry.get(shape.value_name);
      if (typeof key !== "string") {
        throw this.#error(
          "missing",
          `The request must contain the parameter ${where}.${shape.key_name}`,
        );
      }
      if (key === "__proto__" || Object.hasOwn(made, key)) {
        throw this.#invalid(join(where, shape.key_name), key, "It is given twice or not allowed.");
      }
      made[key] = this.#value(shape.value, value ?? "", join(where, shape.value_name));
    }
    return made;
  }

  #boolean(text: string, path: string): boolean {
    const value = readBoolean(text);
    if (value === undefined) throw this.#invalid(path, text, "It must be true or false.");
    return value;
  }

  #number(text: string, path: string, kind: "integer" | "number"): number {
    const value = readNumber(text, kind);
    if (value !== undefined) return value;
    const what = kind === "integer" ? "a whole number" : "a number";
    throw this.#invalid(path, text, `It must be ${what}.`);
  }

  #timestamp(text: string, path: string): string {
    const value = readTimestamp(text);
    if (value !== undefined) return value;
    throw this.#invalid(path, text, "It must be a time such as 2026-11-21T10:00:00Z.");
  }

  #blob(text: string, path: string): string {
    const value = readBase64(text);
    if (value === undefined) throw this.#invalid(path, text, "It must be base64.");
    return value;
  }
}
