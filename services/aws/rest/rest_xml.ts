/**
 * XML bodies of restXml: reads and validates a request's, writes an answer's.
 *
 * The parser is the SDK's own: it expands no entities of a DTD and makes own properties of every
 * name. A DTD is refused before it, for it reads one in quadratic time; too deep a document ends in
 * its `RangeError`, which is caught.
 */
import { parseXML } from "@aws-sdk/xml-builder";
import type { JsonObject, JsonValue } from "../query/query_decode.ts";
import { deepest, join, type RestFaults } from "./rest_fault.ts";
import { scalarFromText, scalarToText, wrongAnswer } from "./rest_scalar.ts";
import type { RestMember, RestShape, RestStructure } from "./rest_shape.ts";
import { escapeXml } from "../query/xml_encode.ts";

const place = "date-time";

type XmlNode = Readonly<Record<string, unknown>>;

function isNode(value: unknown): value is XmlNode {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Attributes that say something about the document and not of the message. */
const isAboutXml = (name: string) => name.startsWith("xmlns") || name.startsWith("xsi:");

/** Where the root element begins; nothing where something else than comments comes before it. */
function hasPlainProlog(text: string): boolean {
  const skip = /\s*(?:<\?[\s\S]*?\?>|<!--[\s\S]*?-->)/y;
  let at = text.startsWith("\ufeff") ? 1 : 0;
  do {
    skip.lastIndex = at;
    const match = skip.exec(text);
    if (match === null) break;
    at = skip.lastIndex;
  } while (at < text.length);
  return /\s*<[^!?]/y.test(text.slice(at));
}

/** @throws AwsError that names the first element at fault */
export function readXml(
  faults: RestFaults,
  shape: RestStructure,
  root: string,
  text: string,
  path = "",
): JsonObject {
  const malformed = (cause?: unknown) =>
    faults.malformed(
      "The XML you provided was not well-formed or did not validate against our published schema",
      cause,
    );
  if (!hasPlainProlog(text)) throw malformed();
  let parsed: XmlNode;
  try {
    parsed = parseXML(text.replace(/^\ufeff/, ""));
  } catch (cause) {
    throw malformed(cause);
  }
  const content = Object.hasOwn(parsed, root) ? parsed[root] : undefined;
  if (content === undefined) throw malformed();
  return structure(faults, shape, content, path, 0);
}

function structure(
  faults: RestFaults,
  shape: RestStructure,
  node: unknown,
  path: string,
  depth: number,
): JsonObject {
  // An empty element is a string to the parser.
  const content = typeof node === "string" && node.trim() === "" ? {} : node;
  if (!isNode(content)) throw faults.invalid(path, node, "A structure was expected.");
  const made: JsonObject = {};
  for (const [name, value] of Object.entries(content)) {
    const member = shape.by_xml_name.get(name);
    if (member === undefined) {
      if (isAboutXml(name) || name === "#text" && String(value).trim() === "") continue;
      throw faults.unknown(join(path, name));
    }
    made[member.name] = read(faults, member.shape, value, join(path, name), depth + 1);
  }
  for (const member of shape.members) {
    if (member.required && !Object.hasOwn(made, member.name)) {
      throw faults.missing(join(path, member.xml_name));
    }
  }
  if (shape.union && Object.keys(made).length !== 1) {
    throw faults.invalid(path, undefined, "Exactly one of its members must be set.");
  }
  return made;
}

/** The elements called `name`, which are all that `node` may hold. */
function children(faults: RestFaults, node: unknown, name: string, path: string): unknown[] {
  if (typeof node === "string" && node.trim() === "") return [];
  if (!isNode(node)) throw faults.invalid(path, node, "A list was expected.");
  let found: unknown[] = [];
  for (const [key, value] of Object.entries(node)) {
    if (key === name) found = Array.isArray(value) ? value : [value];
    else if (!isAboutXml(key) && !(key === "#text" && String(value).trim() === "")) {
      throw faults.unknown(join(path, key));
    }
  }
  return found;
}

function textOf(faults: RestFaults, node: unknown, path: string): string {
  if (typeof node === "string") return node;
  if (Array.isArray(node)) throw faults.invalid(path, undefined, "It is given more than once.");
  let text = "";
  if (isNode(node)) {
    for (const [key, value] of Object.entries(node)) {
      if (key === "#text" && typeof value === "string") text = value;
      else if (!isAboutXml(key)) throw faults.unknown(join(path, key));
    }
  }
  return text;
}

function read(
  faults: RestFaults,
  shape: RestShape,
  node: unknown,
  path: string,
  depth: number,
): JsonValue {
  if (depth > deepest) throw faults.invalid(path, undefined, "It is nested too deeply.");
  switch (shape.kind) {
    case "structure":
      return structure(faults, shape, node, path, depth);
    case "list": {
      const flat = Array.isArray(node) ? node : [node];
      const items = shape.flattened ? flat : children(faults, node, shape.xml_item, path);
      return items.map((one, index) =>
        read(faults, shape.item, one, join(path, index + 1), depth + 1)
      );
    }
    case "map": {
      const flat = Array.isArray(node) ? node : [node];
      const entries = shape.flattened ? flat : children(faults, node, "entry", path);
      const made: JsonObject = Object.create(null);
      entries.forEach((entry, index) => {
        const where = join(path, index + 1);
        if (!isNode(entry)) throw faults.invalid(where, entry, "A key and value were expected.");
        const at = (name: string) => Object.hasOwn(entry, name) ? entry[name] : undefined;
        if (at(shape.key_name) === undefined) throw faults.missing(join(where, shape.key_name));
        const key = textOf(faults, at(shape.key_name), join(where, shape.key_name));
        if (Object.hasOwn(made, key)) throw faults.invalid(where, key, "It is given twice.");
        const value = at(shape.value_name) ?? "";
        made[key] = read(faults, shape.value, value, join(where, shape.value_name), depth + 1);
      });
      return made;
    }
    default:
      return scalarFromText(faults, shape, textOf(faults, node, path), place, path);
  }
}

const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** A document; what the shape does not know is left out. */
export function writeXml(
  shape: RestStructure,
  root: string,
  namespace: string,
  value: unknown,
): string {
  const open = namespace === "" ? root : `${root} xmlns="${namespace}"`;
  const { attributes, inner } = members(shape, value, shape.name);
  return `${declaration}<${open}${attributes}>${inner}</${root}>`;
}

/** A document that is the text of its root, as S3 answers GetBucketLocation. */
export function writeBareXml(
  shape: RestStructure,
  namespace: string,
  value: unknown,
): string {
  const [member] = shape.members;
  const one = isNode(value) && member !== undefined ? value[member.name] : undefined;
  const text = one === undefined || one === null || member === undefined
    ? ""
    : escapeXml(scalarToText(member.shape, one, place, `${shape.name}.${member.name}`));
  return `${declaration}<${shape.root_name} xmlns="${namespace}">${text}</${shape.root_name}>`;
}

function members(
  shape: RestStructure,
  value: unknown,
  path: string,
): { attributes: string; inner: string } {
  if (!isNode(value)) throw wrongAnswer(path, "a structure", value);
  let attributes = "";
  let inner = "";
  for (const member of shape.members) {
    const one = value[member.name];
    if (one === undefined || one === null) continue;
    const where = `${path}.${member.name}`;
    if (member.xml_attribute) {
      attributes += ` ${member.xml_name}="${
        escapeXml(scalarToText(member.shape, one, place, where))
      }"`;
    } else inner += memberXml(member, one, where);
  }
  return { attributes, inner };
}

function memberXml(member: RestMember, value: unknown, path: string): string {
  return element(member.shape, value, member.xml_name, member.xml_namespace, path);
}

function element(
  shape: RestShape,
  value: unknown,
  name: string,
  namespace: string,
  path: string,
): string {
  const wrap = (inner: string, attributes = "") =>
    `<${name}${namespace}${attributes}>${inner}</${name}>`;
  switch (shape.kind) {
    case "structure": {
      const { attributes, inner } = members(shape, value, path);
      return wrap(inner, attributes);
    }
    case "list": {
      if (!Array.isArray(value)) throw wrongAnswer(path, "a list", value);
      const item = shape.flattened ? name : shape.xml_item;
      let items = "";
      for (const one of value) {
        if (one === undefined || one === null) continue;
        items += element(shape.item, one, item, shape.flattened ? namespace : "", path);
      }
      return shape.flattened ? items : wrap(items);
    }
    case "map": {
      if (!isNode(value)) throw wrongAnswer(path, "a map", value);
      let entries = "";
      for (const [key, one] of Object.entries(value)) {
        if (one === undefined || one === null) continue;
        const inner = `<${shape.key_name}>${escapeXml(key)}</${shape.key_name}>` +
          element(shape.value, one, shape.value_name, "", path);
        entries += shape.flattened ? wrap(inner) : `<entry>${inner}</entry>`;
      }
      return shape.flattened ? entries : wrap(entries);
    }
    default:
      return wrap(escapeXml(scalarToText(shape, value, place, path)));
  }
}
