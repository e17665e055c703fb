/**
 * CreateTags, DeleteTags, DescribeTags over every type of resource that has records.
 *
 * All resources of a request are checked before the first is changed. A state store that goes away
 * in the middle leaves some tagged; repeating the request completes it, since it is idempotent.
 */
import { AwsError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import type { ActionTable } from "../resources/actions.ts";
import { missingParameter } from "../resources/errors.ts";
import { type Attributes, compileFilters } from "../resources/filters.ts";
import { pageOf } from "../resources/paging.ts";
import type { ResourceRecord, Resources } from "../resources/resource.ts";
import { isId } from "../resources/ids.ts";
import type { TagQuestions } from "../resources/tag_questions.ts";
import { checkTags, mergeTags, type Tags, withoutTags } from "../resources/tags.ts";
import type { Tag } from "../resources/wire.ts";

export type TagChange = { readonly add: Tags } | { readonly remove: readonly Tag[] };

const changed = (tags: Tags, change: TagChange): Tags =>
  "add" in change ? mergeTags(tags, change.add) : withoutTags(tags, change.remove);

/** What tagging needs of an opened type, whatever its records are. */
export interface Taggable {
  readonly name: string;
  readonly idPrefix: string;
  readonly arn: (call: { region: string; account_id: string }, id: string) => string;
  /** @throws AwsError in the type's own code */
  readonly check: (account: string, id: string) => Promise<Tags>;
  readonly change: (account: string, id: string, change: TagChange) => Promise<void>;
  readonly all: (account: string) => Iterable<{ readonly id: string; readonly tags: Tags }>;
}

/** Every type that has tags, here and with other owners. */
export class TaggableTypes {
  readonly #types: readonly Taggable[];

  constructor(
    readonly own: readonly Taggable[],
    readonly bus: Bus,
    readonly owners: readonly TagOwner[] = [],
  ) {
    this.#types = [...own, ...owners.flatMap((owner) => remote(bus, owner))];
  }

  /** The type of that name, as in ARNs. */
  named(name: string): Taggable | undefined {
    return this.#types.find((one) => one.name === name);
  }

  /** @throws AwsError `InvalidID` */
  of(id: string): Taggable {
    const type = this.#types.find((one) => isId(one.idPrefix, id)) ??
      this.own.find((one) => id.startsWith(one.idPrefix));
    if (type === undefined) throw new AwsError("InvalidID", `The ID '${id}' is not valid`);
    return type;
  }

  /** All resources of the account that have tags. */
  async tagged(account: string): Promise<TaggedResource[]> {
    const found: TaggedResource[] = [];
    for (const type of this.own) {
      for (const { id, tags } of type.all(account)) {
        if (Object.keys(tags).length > 0) found.push({ type: type.name, id, tags });
      }
    }
    for (const owner of this.owners) {
      found.push(...await this.bus.ask(owner.questions.list, { account }));
    }
    return found;
  }
}

export interface TaggedResource {
  readonly type: string;
  readonly id: string;
  readonly tags: Tags;
}

/** Resources that another service owns, by the prefixes of their ids. */
export interface TagOwner {
  readonly types: Readonly<Record<string, string>>;
  readonly questions: TagQuestions;
}

/** What the owner's types look like here. */
function remote(bus: Bus, owner: TagOwner): Taggable[] {
  return Object.entries(owner.types).map(([idPrefix, name]) => ({
    name,
    idPrefix,
    arn: (call, id) => `arn:aws:ec2:${call.region}:${call.account_id}:${name}/${id}`,
    check: (account, id) => bus.ask(owner.questions.check, { account, id }),
    change: async (account, id, change) => {
      await bus.ask(owner.questions.change, { account, id, ...change });
    },
    all: () => [],
  }));
}

export function taggable<R extends ResourceRecord>(resources: Resources<R>): Taggable {
  const { type } = resources;
  return {
    name: type.name,
    idPrefix: type.idPrefix,
    arn: (call, id) => {
      const record = resources.get(call.account_id, id);
      return resources.arnOf(call, record === undefined ? id : type.arnId?.(record) ?? id);
    },
    check: async (account, id) => (await resources.require(account, id)).tags,
    change: async (account, id, change) => {
      await resources.modify(
        account,
        id,
        (record) => ({ ...record, tags: changed(record.tags, change) }),
      );
    },
    *all(account) {
      for (const record of resources.all(account)) {
        if (type.gone?.(record) !== true) yield { id: type.id(record), tags: record.tags };
      }
    },
  };
}

const mostResources = 1000;

interface TagRow {
  readonly type: string;
  readonly id: string;
  readonly key: string;
  readonly value: string;
}

const attributes: Attributes<TagRow> = {
  "key": (row) => row.key,
  "resource-id": (row) => row.id,
  "resource-type": (row) => row.type,
  "value": (row) => row.value,
};

export function tagActions(types: TaggableTypes) {
  const typeOf = (id: string): Taggable => types.of(id);
  const checkResources = (ids: readonly string[]): void => {
    if (ids.length === 0) throw missingParameter("ResourceId");
    if (ids.length > mostResources) {
      throw new AwsError(
        "InvalidParameterValue",
        `A request may name ${mostResources} resources at most`,
      );
    }
    for (const id of ids) typeOf(id);
  };
  return {
    CreateTags: {
      resources: (input, call) => input.Resources.map((id) => typeOf(id).arn(call, id)),
      check: async (input, call) => {
        checkResources(input.Resources);
        if (input.Tags.length === 0) throw missingParameter("Tag");
        const added = checkTags(input.Tags);
        for (const id of input.Resources) {
          mergeTags(await typeOf(id).check(call.account_id, id), added);
        }
      },
      run: async (input, call) => {
        const added = checkTags(input.Tags);
        for (const id of new Set(input.Resources)) {
          await typeOf(id).change(call.account_id, id, { add: added });
        }
        return {};
      },
    },

    DeleteTags: {
      resources: (input, call) => input.Resources.map((id) => typeOf(id).arn(call, id)),
      check: async (input, call) => {
        checkResources(input.Resources);
        withoutTags({}, input.Tags);
        for (const id of input.Resources) await typeOf(id).check(call.account_id, id);
      },
      run: async (input, call) => {
        for (const id of new Set(input.Resources)) {
          await typeOf(id).change(call.account_id, id, { remove: [...input.Tags ?? []] });
        }
        return {};
      },
    },

    DescribeTags: {
      run: async (input, call) => {
        const byRow = compileFilters(
          input.Filters?.filter((filter) => !isByTag(filter.Name)),
          attributes,
        );
        const byTags = compileFilters(
          input.Filters?.filter((filter) => isByTag(filter.Name)),
          {},
          (resource: { tags: Tags }) => resource.tags,
        );
        const rows: TagRow[] = [];
        const note = (type: string, id: string, tags: Tags) => {
          if (!byTags({ tags })) return;
          for (const [key, value] of Object.entries(tags)) {
            const row = { type, id, key, value };
            if (byRow(row)) rows.push(row);
          }
        };
        for (const { type, id, tags } of await types.tagged(call.account_id)) note(type, id, tags);
        const page = pageOf(rows, (row) => `${row.id} ${row.key}`, {
          action: "DescribeTags",
          input,
          call,
        });
        return {
          Tags: page.items.map((row) => ({
            Key: row.key,
            ResourceId: row.id,
            ResourceType: row.type as "instance",
            Value: row.value,
          })),
          NextToken: page.nextToken,
        };
      },
    },
  } satisfies ActionTable;
}

/** `tag:KEY` reads the resource; `key` and `value` read the tag itself. */
function isByTag(name: string | undefined): boolean {
  return name?.startsWith("tag:") === true;
}
