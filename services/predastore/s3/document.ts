/** Small XML documents that configure something: read strictly, refused as a whole. */
import { AwsError } from "../../aws/errors.ts";
import type { BucketSettings } from "../objects/settings.ts";
import { readDocument } from "./body.ts";
import { invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { children, malformedXml, parseXml, text, type XmlNode } from "./xml.ts";

/** A child that must be an element with children, or nothing. @throws AwsError `MalformedXML` */
export function nodes(node: XmlNode, name: string): XmlNode[] {
  return children(node, name).map((one) => {
    if (one === "") return {};
    if (typeof one !== "object" || one === null) throw malformedXml();
    return one as XmlNode;
  });
}

/** A child that may be there once. */
export function maybeNode(node: XmlNode, name: string): XmlNode | undefined {
  const all = nodes(node, name);
  if (all.length > 1) throw malformedXml();
  return all[0];
}

/** Texts of a child that may be there many times. */
export function texts(node: XmlNode, name: string): string[] {
  return children(node, name).map((one) => {
    if (typeof one !== "string") throw malformedXml();
    return one;
  });
}

export function requiredText(node: XmlNode, name: string): string {
  const value = text(node, name);
  if (value === undefined) throw malformedXml();
  return value;
}

export function oneOf<const T extends string>(value: string | undefined, ...of: readonly T[]): T {
  const found = of.find((one) => one === value);
  if (found === undefined) throw malformedXml();
  return found;
}

export function flag(node: XmlNode, name: string): boolean {
  const value = text(node, name);
  return value === undefined ? false : oneOf(value.toLowerCase(), "true", "false") === "true";
}

/** How many newer noncurrent versions a lifecycle rule may keep. */
const mostNewerVersions = 100;

/** @throws AwsError `InvalidArgument` */
export function newerVersions(node: XmlNode, action: string): number | undefined {
  const name = "NewerNoncurrentVersions";
  const number = count(node, name, undefined, `for ${action} action `);
  if (number === undefined || number <= mostNewerVersions) return number;
  throw invalidArgument(
    `'${name}' for ${action} action must be an integer between 1 and ${mostNewerVersions}`,
    name,
    String(number),
  );
}

/** A positive whole number. @param where it stands, for the message */
export function count(
  node: XmlNode,
  name: string,
  most = 2 ** 31 - 1,
  where = "",
): number | undefined {
  const value = text(node, name);
  if (value === undefined) return undefined;
  if (!/^-?\d{1,12}$/.test(value)) throw malformedXml();
  const number = Number(value);
  if (number < 1 || number > most) {
    throw invalidArgument(`'${name}' ${where}must be a positive integer`, name, value);
  }
  return number;
}

/** The root element of a request's document. */
export async function readRoot(call: S3Call, root: string): Promise<XmlNode> {
  return parseXml(await readDocument(call), root);
}

export const notFound = (code: string, message: string) =>
  new AwsError(code, message, { status: 404 });

/** Sets what `make` gives, whose undefined values are taken away. */
export async function setBucket(
  call: S3Call,
  make: (
    now: BucketSettings,
  ) => { readonly [Name in keyof BucketSettings]: BucketSettings[Name] | undefined },
): Promise<void> {
  await call.store.buckets.set(ownBucket(call), (now) => {
    const entries = Object.entries({ ...now, ...make(now) });
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  });
}

/** The answer to a configuration that was set, or taken away. */
export const done = (status = 200) => new Response(null, { status });
