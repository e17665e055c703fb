/** Tags and `TagSpecifications`: EC2's rules, the same for every resource. */
import { AwsError } from "../aws/errors.ts";
import { invalidValue, missingParameter } from "./errors.ts";
import type { Tag, TagSpecification } from "./wire.ts";

export const tagLimits = { perResource: 50, key: 128, value: 256 } as const;

export type Tags = Readonly<Record<string, string>>;

/** As EC2 shows them; the order is by key, so that answers do not jump. */
export function showTags(tags: Tags): { Key: string; Value: string }[] {
  return Object.keys(tags).sort().map((Key) => ({ Key, Value: tags[Key] ?? "" }));
}

function checkKey(key: string | undefined): string {
  if (key === undefined || key === "") throw missingParameter("Tag.Key");
  if ([...key].length > tagLimits.key) {
    throw invalidValue(
      `Tag key exceeds the maximum length of ${tagLimits.key} characters`,
    );
  }
  if (/^aws:/i.test(key)) {
    throw invalidValue(
      `Tag keys starting with 'aws:' are reserved for internal use`,
    );
  }
  return key;
}

/**
 * Checks tags that a caller wants to set.
 * @throws AwsError `InvalidParameterValue` or `MissingParameter`
 */
export function checkTags(tags: readonly Tag[]): Tags {
  const checked = new Map<string, string>();
  for (const tag of tags) {
    const key = checkKey(tag.Key);
    const value = tag.Value ?? "";
    if ([...value].length > tagLimits.value) {
      throw invalidValue(`Tag value exceeds the maximum length of ${tagLimits.value} characters`);
    }
    if (checked.has(key)) {
      throw invalidValue(`Duplicate tag key '${key}' specified.`);
    }
    checked.set(key, value);
  }
  return limited(Object.fromEntries(checked));
}

function limited(tags: Tags): Tags {
  if (Object.keys(tags).length > tagLimits.perResource) {
    throw new AwsError(
      "TagLimitExceeded",
      `The maximum number of Tags for a resource has been reached: ${tagLimits.perResource}`,
    );
  }
  return tags;
}

/** What a resource has after `added`. @throws AwsError `TagLimitExceeded` */
export function mergeTags(present: Tags, added: Tags): Tags {
  return limited({ ...present, ...added });
}

/**
 * What a resource has after DeleteTags: a tag given with a value goes only when it has that value;
 * no tags at all means every tag of the caller's.
 */
export function withoutTags(present: Tags, removed: readonly Tag[] | undefined): Tags {
  if (removed === undefined || removed.length === 0) {
    return Object.fromEntries(Object.entries(present).filter(([key]) => /^aws:/i.test(key)));
  }
  const left = new Map(Object.entries(present));
  for (const tag of removed) {
    const key = checkKey(tag.Key);
    if (tag.Value === undefined || left.get(key) === tag.Value) left.delete(key);
  }
  return Object.fromEntries(left);
}

/**
 * The tags of a `TagSpecifications` parameter by resource type.
 * @param allowed the types that the action makes, for example `["volume"]`
 * @throws AwsError for a type that the action does not make, one named twice, or tags out of rule
 */
export function tagsFromSpecifications(
  specifications: readonly TagSpecification[] | undefined,
  allowed: readonly string[],
): Readonly<Record<string, Tags>> {
  const byType = new Map<string, Tags>(allowed.map((type) => [type, {}]));
  const seen = new Set<string>();
  for (const { ResourceType: type, Tags: tags } of specifications ?? []) {
    if (type === undefined) throw missingParameter("TagSpecification.ResourceType");
    if (!byType.has(type)) {
      throw invalidValue(`'${type}' is not a valid taggable resource type for this operation.`);
    }
    if (seen.has(type)) {
      throw invalidValue(`Tag specification resource type '${type}' is given more than once.`);
    }
    if (tags === undefined || tags.length === 0) {
      throw invalidValue("Tag specification must have at least one tag");
    }
    seen.add(type);
    byType.set(type, checkTags(tags));
  }
  return Object.fromEntries(byType);
}
