/** XML as S3 writes and reads it. */
import { parseXML } from "@aws-sdk/xml-builder";
import { AwsError } from "../../aws/errors.ts";

export const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

const entities: Readonly<Record<string, string>> = {
  "<": "&lt;",
  ">": "&gt;",
  "&": "&amp;",
  '"': "&quot;",
  "\r": "&#13;",
};

/** Text between tags. Characters that XML 1.0 cannot have are written as references, as S3 does. */
export function escapeXml(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex
    /[<>&"\u0000-\u0008\u000b-\u001f\ufffe\uffff]/g,
    (char) => entities[char] ?? `&#x${char.charCodeAt(0).toString(16)};`,
  );
}

type Content = string | number | boolean | Raw | undefined | readonly Content[];

/** XML that is already written. */
export class Raw {
  constructor(readonly text: string) {}
}

const written = (content: Content): string =>
  content === undefined
    ? ""
    : content instanceof Raw
    ? content.text
    : Array.isArray(content)
    ? (content as readonly Content[]).map(written).join("")
    : escapeXml(String(content));

/** `<name>content</name>`; nothing when the content is undefined. */
export function element(name: string, content: Content): Raw | undefined {
  return content === undefined ? undefined : new Raw(`<${name}>${written(content)}</${name}>`);
}

/** A whole document. */
export function document(name: string, content: Content): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="${namespace}">${
    written(content)
  }</${name}>`;
}

export function xmlResponse(name: string, content: Content, headers: HeadersInit = {}): Response {
  const made = new Headers(headers);
  made.set("content-type", "application/xml");
  return new Response(document(name, content), { headers: made });
}

export type XmlNode = { readonly [name: string]: unknown };

export const malformedXml = () =>
  new AwsError(
    "MalformedXML",
    "The XML you provided was not well-formed or did not validate against our published schema",
  );

/** The content of a document's root element. @throws AwsError `MalformedXML` */
export function parseXml(text: string, root: string): XmlNode {
  // Deep nesting would exhaust the stack, and no document of S3's is deeper than six.
  let depth = 0;
  for (const tag of text.matchAll(/<(\/)?[^!?\/>]?[^>]*?(\/)?>/g)) {
    if (tag[1] !== undefined) depth--;
    else if (tag[2] === undefined && !/^<[!?]/.test(tag[0])) depth++;
    if (depth > 20) throw malformedXml();
  }
  let parsed: unknown;
  try {
    parsed = parseXML(text);
  } catch {
    throw malformedXml();
  }
  const node = (parsed as XmlNode | undefined)?.[root];
  if (node === "") return {};
  if (typeof node !== "object" || node === null) throw malformedXml();
  return node as XmlNode;
}

/** A child that may be there once, many times or not at all. */
export function children(node: XmlNode, name: string): readonly unknown[] {
  const value = node[name];
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

/** The text of a child. @throws AwsError `MalformedXML` when it is not plain text */
export function text(node: XmlNode, name: string): string | undefined {
  const value = node[name];
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw malformedXml();
  return value;
}
