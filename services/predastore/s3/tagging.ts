/** Tags of buckets and of objects. */
import { AwsError } from "../../aws/errors.ts";
import type { ObjectRow } from "../index/rows.ts";
import type { Tag } from "../objects/settings.ts";
import { invalidArgument, noSuchKey, ownBucket, type S3Call } from "./call.ts";
import { done, maybeNode, nodes, notFound, readRoot, requiredText, setBucket } from "./document.ts";
import { askedVersion, meantObject, noSuchVersion, shownVersion } from "./version_ids.ts";
import { element, malformedXml, parseXml, type XmlNode, xmlResponse } from "./xml.ts";

const mostObjectTags = 10;
const mostBucketTags = 50;
const longestKey = 128;
const longestValue = 256;
const allowed = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

const invalidTag = (message: string) => new AwsError("InvalidTag", message);

function checked(tags: readonly Tag[], most: number): readonly Tag[] {
  if (tags.length > most) {
    throw new AwsError(
      "BadRequest",
      most === mostObjectTags
        ? "Object tags cannot be greater than 10"
        : "Bucket tag count cannot be greater than 50",
    );
  }
  const seen = new Set<string>();
  for (const { key, value } of tags) {
    if (key === "" || key.length > longestKey || !allowed.test(key)) {
      throw invalidTag("The TagKey you have provided is invalid");
    }
    if (value.length > longestValue || !allowed.test(value)) {
      throw invalidTag("The TagValue you have provided is invalid");
    }
    if (key.startsWith("aws:")) {
      throw invalidTag("System tags cannot be added/updated by requester");
    }
    if (seen.has(key)) throw invalidTag("Cannot provide multiple Tags with the same key");
    seen.add(key);
  }
  return tags;
}

function tagsOf(root: XmlNode, most: number): readonly Tag[] {
  const set = maybeNode(root, "TagSet");
  if (set === undefined) throw malformedXml();
  return checked(
    nodes(set, "Tag").map((one) => ({
      key: requiredText(one, "Key"),
      value: requiredText(one, "Value"),
    })),
    most,
  );
}

/** Tags as a header or form has them: `a=b&c=d`. */
export function tagsOfQuery(text: string): readonly Tag[] {
  const tags = [...new URLSearchParams(text)].map(([key, value]) => ({ key, value }));
  if (new Set(tags.map(({ key }) => key)).size < tags.length) {
    throw invalidArgument(
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    );
  }
  return checked(tags, mostObjectTags);
}

/** As a form's field has them. @throws AwsError `MalformedXML`, and as any tags */
export const tagsOfDocument = (document: string) =>
  tagsOf(parseXml(document, "Tagging"), mostObjectTags);

export const queryOfTags = (tags: readonly Tag[]) =>
  new URLSearchParams(tags.map(({ key, value }) => [key, value])).toString();

const tagging = (tags: readonly Tag[]) =>
  element(
    "TagSet",
    tags.map(({ key, value }) => element("Tag", [element("Key", key), element("Value", value)])),
  );

export async function putBucketTagging(call: S3Call): Promise<Response> {
  ownBucket(call);
  const tags = tagsOf(await readRoot(call, "Tagging"), mostBucketTags);
  await setBucket(call, () => ({ tags }));
  return done(204);
}

export function getBucketTagging(call: S3Call): Response {
  const { tags } = ownBucket(call).settings;
  if (tags === undefined) throw notFound("NoSuchTagSet", "The TagSet does not exist");
  return xmlResponse("Tagging", tagging(tags));
}

export async function deleteBucketTagging(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ tags: undefined }));
  return done(204);
}

/** For those who change a version's tags or lock: it must be there, and hold data. */
export function standing(version: string | undefined, now: ObjectRow | undefined): ObjectRow {
  if (now === undefined) throw version === undefined ? noSuchKey() : noSuchVersion();
  if (now.marker === true) {
    throw new AwsError(
      "MethodNotAllowed",
      "The specified method is not allowed against this resource.",
      { status: 405 },
    );
  }
  return now;
}

function versionHeaders(call: S3Call, object: Pick<ObjectRow, "version">): Headers {
  const headers = new Headers();
  const shown = shownVersion(ownBucket(call), object.version);
  if (shown !== undefined) headers.set("x-amz-version-id", shown);
  return headers;
}

async function setTags(call: S3Call, tags: readonly Tag[], status: number): Promise<Response> {
  const bucket = ownBucket(call);
  const version = askedVersion(call.query);
  const object = await call.store.objects.annotate(bucket, call.key, version, (now) => {
    const { lock } = standing(version, now).meta;
    return { tags, ...(lock === undefined ? {} : { lock }) };
  });
  return new Response(null, { status, headers: versionHeaders(call, object) });
}

export async function putObjectTagging(call: S3Call): Promise<Response> {
  ownBucket(call);
  return await setTags(call, tagsOf(await readRoot(call, "Tagging"), mostObjectTags), 200);
}

export function deleteObjectTagging(call: S3Call): Promise<Response> {
  return setTags(call, [], 204);
}

export function getObjectTagging(call: S3Call): Response {
  const bucket = ownBucket(call);
  const object = meantObject(call, bucket, call.key, askedVersion(call.query));
  return xmlResponse(
    "Tagging",
    tagging(object.meta.tags ?? []),
    versionHeaders(call, object),
  );
}
