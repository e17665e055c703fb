/**
 * Tags of resources that another service owns: who answers CreateTags asks the owner. One set of
 * subjects for each owner; the owner answers with `answerTags`.
 */
import type { Bus } from "../bus/bus.ts";
import { type Subject, subject } from "../bus/subject.ts";
import { AwsError } from "../aws/errors.ts";
import type { Records } from "./records.ts";
import { mergeTags, type Tags, withoutTags } from "./tags.ts";
import type { Tag } from "./wire.ts";

export interface TagQuestions {
  /** The tags of one resource. @throws AwsError in the type's own code */
  readonly check: Subject<{ readonly account: string; readonly id: string }, Tags>;
  readonly change: Subject<
    {
      readonly account: string;
      readonly id: string;
      readonly add?: Tags;
      /** Present: takes these away, or all where the list is empty. */
      readonly remove?: readonly Tag[];
    },
    null
  >;
  readonly list: Subject<
    { readonly account: string },
    readonly { readonly type: string; readonly id: string; readonly tags: Tags }[]
  >;
}

export const tagQuestionsOf = (owner: string): TagQuestions => ({
  check: subject(`${owner}.tags.check`, 5_000),
  change: subject(`${owner}.tags.change`, 10_000),
  list: subject(`${owner}.tags.list`, 10_000),
});

/** Answers for every kind of `records`. */
export function answerTags(
  bus: Bus,
  questions: TagQuestions,
  records: Records,
  ready: (account: string) => Promise<void>,
): void {
  const kindOf = (id: string) => {
    const found = records.kindOf(id);
    if (found === undefined) throw new AwsError("InvalidID", `The ID '${id}' is not valid`);
    return found;
  };
  bus.answer(questions.check, async ({ account, id }) => {
    await ready(account);
    return (await records.require(kindOf(id), account, id)).tags;
  });
  bus.answer(questions.change, async ({ account, id, add, remove }) => {
    await records.of(kindOf(id)).modify(account, id, (record) => ({
      ...record,
      tags: remove === undefined
        ? mergeTags(record.tags, add ?? {})
        : withoutTags(record.tags, remove),
    }));
    return null;
  });
  bus.answer(questions.list, ({ account }) => taggedRecords(records, account));
}

/** What DescribeTags shows of these records. */
function taggedRecords(records: Records, account: string) {
  return records.kinds.flatMap((one) =>
    [...records.all(one, account)].filter((record) => Object.keys(record.tags).length > 0)
      .map((record) => ({ type: one.name, id: record.id, tags: record.tags }))
  );
}
