/** Tags of users, roles, instance profiles and policies: checked, shown, and changed in one way. */
import type * as Iam from "@aws-sdk/client-iam";
import { type Call, invalid, type OnBus, overLimit, pageEnd, pageOf } from "../call.ts";
import { changeNamed, type NamedKind } from "./named.ts";
import type { Named } from "../records.ts";

type Tags = Readonly<Record<string, string>>;
type Tagged = Named & { readonly tags: Tags };

const tagsPerResource = 50;

/** @throws AwsError `ValidationError`, `LimitExceeded` */
export function tagsOf(given: readonly Iam.Tag[] | undefined): Tags {
  const tags = given ?? [];
  if (tags.length > tagsPerResource) {
    throw overLimit(`Cannot exceed quota for TagsPerResource: ${tagsPerResource}`);
  }
  const seen = new Set<string>();
  for (const { Key = "", Value = "" } of tags) {
    if (Key.length < 1 || Key.length > 128 || Key.toLowerCase().startsWith("aws:")) {
      throw invalid(`"${Key}" is no tag key.`);
    }
    if (Value.length > 256) throw invalid(`The value of tag "${Key}" is too long.`);
    if (seen.has(Key.toLowerCase())) throw invalid(`The tag key "${Key}" is given twice.`);
    seen.add(Key.toLowerCase());
  }
  // Made from entries, so that a key such as __proto__ is a key like any other.
  return Object.fromEntries(tags.map(({ Key = "", Value = "" }) => [Key, Value]));
}

const tagList = (tags: Tags) => Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

/** The tags as part of an answer that leaves them away where there are none. */
export const shownTags = (tags: Tags) =>
  Object.keys(tags).length === 0 ? {} : { Tags: tagList(tags) };

/** A key given again replaces the older one, whatever its case. */
function merged(old: Tags, added: Tags): Tags {
  const news = new Set(Object.keys(added).map((key) => key.toLowerCase()));
  const kept = Object.entries(old).filter(([key]) => !news.has(key.toLowerCase()));
  const all = Object.fromEntries([...kept, ...Object.entries(added)]);
  if (Object.keys(all).length > tagsPerResource) {
    throw overLimit(`Cannot exceed quota for TagsPerResource: ${tagsPerResource}`);
  }
  return all;
}

interface TagInput {
  readonly Tags?: readonly Iam.Tag[] | undefined;
  readonly TagKeys?: readonly string[] | undefined;
  readonly Marker?: string | undefined;
  readonly MaxItems?: number | undefined;
}

/** `Tag…`, `Untag…` and `List…Tags` of one kind. */
export function actionsOnTags<T extends Tagged, I extends TagInput>(
  kind: NamedKind<T>,
  required: (input: I, call: Call, action: string) => T,
) {
  const change = async (one: T, call: Call, make: (tags: Tags) => Tags) => {
    await changeNamed(call, kind, one, (now) => ({ ...now, tags: make(now.tags) }));
    return {};
  };
  return {
    async tag(input: I, call: Call): Promise<Record<string, never>> {
      const one = required(input, call, `iam:Tag${kind.title}`);
      const added = tagsOf(input.Tags);
      return await change(one, call, (tags) => merged(tags, added));
    },
    async untag(input: I, call: Call): Promise<Record<string, never>> {
      const one = required(input, call, `iam:Untag${kind.title}`);
      const gone = new Set((input.TagKeys ?? []).map((key) => key.toLowerCase()));
      return await change(
        one,
        call,
        (tags) =>
          Object.fromEntries(Object.entries(tags).filter(([key]) => !gone.has(key.toLowerCase()))),
      );
    },
    list(input: I, call: Call): OnBus<Iam.ListUserTagsCommandOutput> {
      const one = required(input, call, `iam:List${kind.title}Tags`);
      const sorted = tagList(one.tags).sort((a, b) => a.Key < b.Key ? -1 : 1);
      const page = pageOf(sorted, (tag) => tag.Key, input);
      return { Tags: [...page.items], ...pageEnd(page) };
    },
  };
}
