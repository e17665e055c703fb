/** Tags of buckets and of objects. */
import { AwsError } from "../../aws/errors.ts";
import type { Revised } from "../index/rows.ts";
import type { Tag } from "../objects/settings.ts";
import {
  accessDenied,
  bucketOfMany,
  DetailedError,
  invalidArgument,
  mayIn,
  ownBucket,
  type S3Call,
} from "./call.ts";
import { objectArn } from "./permissions.ts";
import { needsDigest } from "./body.ts";
import { done, maybeNode, nodes, notFound, readRoot, requiredText, setBucket } from "./document.ts";
import { askedVersion, meantVersion, standing, tellVersion } from "./version_ids.ts";
import { element, malformedXml, parseXml, type XmlNode, xmlResponse } from "./xml.ts";

const mostObjectTags = 10;
const mostBucketTags = 50;
const longestKey = 128;
const longestValue = 256;
const allowed = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

const invalidTag = (message: string, key: string, value?: string) =>
  new DetailedError("InvalidTag", message, {
    elements: { TagKey: key, ...(value === undefined ? {} : { TagValue: value }) },
  });

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
      throw invalidTag("The TagKey you have provided is invalid", key);
    }
    if (value.length > longestValue || !allowed.test(value)) {
      throw invalidTag("The TagValue you have provided is invalid", key, value);
    }
    if (key.startsWith("aws:")) {
      throw invalidTag(
        most === mostObjectTags
          ? "Your TagKey cannot be prefixed with aws:"
          : "System tags cannot be added/updated by requester",
        key,
      );
    }
    if (seen.has(key)) throw invalidTag("Cannot provide multiple Tags with the same key", key);
    seen.add(key);
  }
  return tags;
}

function tagsOf(root: XmlNode, most: number): readonly Tag[] {
  const set = maybeNode(root, "TagSet");
  if (set === undefined) throw malformedXml();
  return tagsIn(set, most);
}

/** A bucket's, in an element that need not be there. */
export const bucketTags = (node: XmlNode, name: string) =>
  tagsIn(maybeNode(node, name) ?? {}, mostBucketTags);

function tagsIn(set: XmlNode, most: number): readonly Tag[] {
  return checked(
    nodes(set, "Tag").map((one) => ({
      key: requiredText(one, "Key"),
      value: requiredText(one, "Value"),
    })),
    most,
  );
}

/** Tags as a header has them: `a=b&c=d`. @throws AwsError `InvalidArgument`, `BadRequest` */
export function tagsOfHeader(text: string): readonly Tag[] {
  const tags = [...new URLSearchParams(text)].map(([key, value]) => ({ key, value }));
  try {
    return checked(tags, mostObjectTags);
  } catch (error) {
    if (!(error instanceof AwsError) || error.code !== "InvalidTag") throw error;
    throw invalidArgument(
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
      "x-amz-tagging",
      text,
    );
  }
}

/** As a form's field has them; a document about something else has none. @throws AwsError `MalformedXML`, and as any tags */
export function tagsOfDocument(document: string): readonly Tag[] {
  const root = /^\s*(?:<\?[^>]*\?>\s*)?<([A-Za-z_][\w.-]*)/.exec(document)?.[1] ?? "Tagging";
  const content = parseXml(document, root);
  return root === "Tagging" ? tagsOf(content, mostObjectTags) : [];
}

export const queryOfTags = (tags: readonly Tag[]) =>
  new URLSearchParams(tags.map(({ key, value }) => [key, value])).toString();

const tagging = (tags: readonly Tag[]) =>
  element(
    "TagSet",
    tags.map(({ key, value }) => element("Tag", [element("Key", key), element("Value", value)])),
  );

export async function putBucketTagging(call: S3Call): Promise<Response> {
  ownBucket(call);
  needsDigest(call);
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

async function setTags(
  call: S3Call,
  tags: readonly Tag[],
  status: number,
  revised: Revised,
): Promise<Response> {
  const bucket = ownBucket(call);
  const version = askedVersion(call.query);
  const object = await call.store.objects.annotate(bucket, call.key, version, (now) => {
    const { lock } = standing(version, now).meta;
    return { tags, ...(lock === undefined ? {} : { lock }) };
  }, revised);
  return new Response(null, { status, headers: tellVersion(new Headers(), bucket, object) });
}

/** What policies may look at of tags that a request brings. */
export function tagConditions(tags: readonly Tag[]): Record<string, string | readonly string[]> {
  return {
    "s3:RequestObjectTagKeys": tags.map(({ key }) => key),
    ...Object.fromEntries(tags.map(({ key, value }) => [`s3:RequestObjectTag/${key}`, value])),
  };
}

/** Asks by itself whether the caller may, since policies may look at the tags. */
export async function putObjectTagging(call: S3Call): Promise<Response> {
  const bucket = bucketOfMany(call);
  const tags = tagsOf(await readRoot(call, "Tagging"), mostObjectTags);
  const version = call.query.get("versionId");
  const may = await mayIn(call, bucket, {
    action: version === null ? "s3:PutObjectTagging" : "s3:PutObjectVersionTagging",
    resource: objectArn(bucket.name, call.key),
    version,
    conditions: tagConditions(tags),
  });
  if (!may) throw accessDenied();
  return await setTags(call, tags, 200, "Tagging:Put");
}

export function deleteObjectTagging(call: S3Call): Promise<Response> {
  return setTags(call, [], 204, "Tagging:Delete");
}

export function getObjectTagging(call: S3Call): Response {
  const bucket = ownBucket(call);
  const object = meantVersion(call, bucket);
  return xmlResponse(
    "Tagging",
    tagging(object.meta.tags ?? []),
    tellVersion(new Headers(), bucket, object),
  );
}
