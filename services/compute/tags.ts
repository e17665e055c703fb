/**
 * CreateTags, DeleteTags, DescribeTags over every type of resource that has records.
 *
 * All resources of a request are checked before the first is changed. A state store that goes away
 * in the middle leaves some tagged; repeating the request completes it, since it is idempotent.
 */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable } from "../resources/actions.ts";
import { missingParameter } from "../resources/errors.ts";
import { type Attributes, compileFilters } from "../resources/filters.ts";
import { pageOf, pageSize } from "../resources/paging.ts";
import type { ResourceRecord, Resources } from "../resources/resource.ts";
import { checkTags, mergeTags, type Tags, withoutTags } from "../resources/tags.ts";

/** What tagging needs of an opened type, whatever its records are. */
export interface Taggable {
  readonly name: string;
  readonly idPrefix: string;
  readonly arn: (call: { region: string; account_id: string }, id: string) => string;
  /** @throws AwsError in the type's own code */
  readonly check: (account: string, id: string) => Promise<Tags>;
  readonly change: (account: string, id: string, change: (tags: Tags) => Tags) => Promise<void>;
  readonly all: (account: string) => Iterable<{ readonly id: string; readonly tags: Tags }>;
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
      await resources.modify(account, id, (record) => ({ ...record, tags: change(record.tags) }));
    },
    *all(account) {
      for (const record of resources.all(account)) {
        if (type.gone?.(record) !== true) yield { id: type.id(record), tags: record.tags };
      }
    },
  };
}

const mostResources = 1000;
const limits = { minimum: 5, maximum: 1000, above: "refuse" } as const;

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

export function tagActions(types: readonly Taggable[]) {
  const typeOf = (id: string): Taggable => {
    const type = types.find((one) => id.startsWith(one.idPrefix));
    if (type === undefined) {
      throw new AwsError("InvalidID", `The ID '${id}' is not valid`);
    }
    return type;
  };
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
          await typeOf(id).change(call.account_id, id, (tags) => mergeTags(tags, added));
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
          await typeOf(id).change(call.account_id, id, (tags) => withoutTags(tags, input.Tags));
        }
        return {};
      },
    },

    DescribeTags: {
      run: (input, call) => {
        const byRow = compileFilters(
          input.Filters?.filter((filter) => !isByTag(filter.Name)),
          attributes,
        );
        const byTags = compileFilters(
          input.Filters?.filter((filter) => isByTag(filter.Name)),
          {},
          (resource: { tags: Tags }) => resource.tags,
        );
        const size = pageSize(input.MaxResults, limits, false);
        const rows: TagRow[] = [];
        for (const type of types) {
          for (const { id, tags } of type.all(call.account_id)) {
            if (!byTags({ tags })) continue;
            for (const [key, value] of Object.entries(tags)) {
              const row = { type: type.name, id, key, value };
              if (byRow(row)) rows.push(row);
            }
          }
        }
        const page = pageOf(
          rows,
          (row) => `${row.id} ${row.key}`,
          { account: call.account_id, action: "DescribeTags", parameters: input.Filters ?? [] },
          size,
          input.NextToken,
        );
        return {
          Tags: page.items.map((row) => ({
            Key: row.key,
            ResourceId: row.id,
            ResourceType: row.type as "instance",
            Value: row.value,
          })),
          ...(page.nextToken === undefined ? {} : { NextToken: page.nextToken }),
        };
      },
    },
  } satisfies ActionTable;
}

/** `tag:KEY` reads the resource; `key` and `value` read the tag itself. */
function isByTag(name: string | undefined): boolean {
  return name?.startsWith("tag:") === true;
}
