/** The public access block and the ownership controls; a new bucket has those that AWS gives it. */
import type { BucketSettings, PublicAccessBlock } from "../objects/settings.ts";
import { ownBucket, type S3Call } from "./call.ts";
import { done, flag, nodes, notFound, oneOf, readRoot, setBucket } from "./document.ts";
import { element, malformedXml, text, xmlResponse } from "./xml.ts";

const everything: PublicAccessBlock = {
  block_public_acls: true,
  ignore_public_acls: true,
  block_public_policy: true,
  restrict_public_buckets: true,
};

export function blocksOf({ public_access }: BucketSettings): PublicAccessBlock | undefined {
  return public_access === "none" ? undefined : public_access ?? everything;
}

export async function putPublicAccessBlock(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "PublicAccessBlockConfiguration");
  const public_access = {
    block_public_acls: flag(root, "BlockPublicAcls"),
    ignore_public_acls: flag(root, "IgnorePublicAcls"),
    block_public_policy: flag(root, "BlockPublicPolicy"),
    restrict_public_buckets: flag(root, "RestrictPublicBuckets"),
  };
  await setBucket(call, () => ({ public_access }));
  return done();
}

export function getPublicAccessBlock(call: S3Call): Response {
  const blocks = blocksOf(ownBucket(call).settings);
  if (blocks === undefined) {
    throw notFound(
      "NoSuchPublicAccessBlockConfiguration",
      "The public access block configuration was not found",
    );
  }
  return xmlResponse("PublicAccessBlockConfiguration", [
    element("BlockPublicAcls", blocks.block_public_acls),
    element("IgnorePublicAcls", blocks.ignore_public_acls),
    element("BlockPublicPolicy", blocks.block_public_policy),
    element("RestrictPublicBuckets", blocks.restrict_public_buckets),
  ]);
}

export async function deletePublicAccessBlock(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ public_access: "none" }));
  return done(204);
}

export async function putBucketOwnershipControls(call: S3Call): Promise<Response> {
  ownBucket(call);
  const root = await readRoot(call, "OwnershipControls");
  const [rule, ...more] = nodes(root, "Rule");
  if (rule === undefined || more.length > 0) throw malformedXml();
  const ownership = oneOf(
    text(rule, "ObjectOwnership"),
    "BucketOwnerEnforced",
    "BucketOwnerPreferred",
    "ObjectWriter",
  );
  await setBucket(call, () => ({ ownership }));
  return done();
}

export function getBucketOwnershipControls(call: S3Call): Response {
  const { ownership = "BucketOwnerEnforced" } = ownBucket(call).settings;
  if (ownership === "none") {
    throw notFound(
      "OwnershipControlsNotFoundError",
      "The bucket ownership controls were not found",
    );
  }
  return xmlResponse("OwnershipControls", element("Rule", element("ObjectOwnership", ownership)));
}

export async function deleteBucketOwnershipControls(call: S3Call): Promise<Response> {
  await setBucket(call, () => ({ ownership: "none" }));
  return done(204);
}
