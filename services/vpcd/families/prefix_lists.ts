/** Managed prefix lists with their versions, and AWS's own, of which this cloud has S3's. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { type Attributes, compileFilters } from "../../resources/filters.ts";
import { pageOf } from "../../resources/paging.ts";
import { cloudListId, type Entry, type ListRecord, prefixList } from "../kinds/prefix_lists.ts";
import { arn, type Network, within } from "../network.ts";

/** Entries that a list keeps of all its versions together: what one version may have. */
const mostKept = 1000;
const limits = { minimum: 1, maximum: 1000, above: "refuse" } as const;

/** @throws AwsError */
function readEntries(
  entries: readonly { readonly Cidr: string; readonly Description?: string | undefined }[],
  family: string,
): Entry[] {
  const version = family === "IPv6" ? 6 : 4;
  const read = entries.map((one) => {
    const block = parseBlock(one.Cidr);
    if (block?.version !== version) {
      throw invalidParameter("cidr", one.Cidr, `Expected a CIDR block of ${family}.`);
    }
    if ((one.Description?.length ?? 0) > 255) {
      throw invalidParameter("description", one.Description, "Up to 255 characters are allowed.");
    }
    return {
      Cidr: showBlock(block),
      ...(one.Description === undefined ? {} : { Description: one.Description }),
    };
  });
  if (new Set(read.map((one) => one.Cidr)).size !== read.length) {
    throw invalidParameter("entries", "", "The same CIDR is given more than once.");
  }
  return read;
}

function checkName(name: string): string {
  if (!/^com\.amazonaws/.test(name) && name !== "" && name.length <= 255) return name;
  throw invalidParameter("prefixListName", name, "The name is reserved, empty or too long.");
}

/**
 * A version more, of which the oldest ones are let go: a list with all that it ever was would one day be
 * larger than a record can be, and could then be changed no more.
 */
function withVersion(record: ListRecord, entries: readonly Entry[]): Partial<ListRecord["shape"]> {
  const most = record.shape.MaxEntries ?? 1;
  if (entries.length > most) {
    throw new AwsError("PrefixListMaxEntriesExceeded", `The list may have ${most} entries.`);
  }
  const older = [...record.shape.Versions ?? []];
  let kept = entries.length;
  for (let at = older.length - 1; at >= 0; at--) {
    kept += older[at]?.length ?? 0;
    if (kept > mostKept) older[at] = null;
  }
  return { Version: (record.shape.Version ?? 1) + 1, Versions: [...older, entries] };
}

export const prefixListActions = ({ operations: n, records, region }: Network) => {
  const checkVersion = (record: ListRecord, version: number | undefined) => {
    if (version !== undefined && version !== record.shape.Version) {
      throw new AwsError(
        "PrefixListVersionMismatch",
        `The prefix list has the version ${record.shape.Version}, not ${version}.`,
      );
    }
  };
  const versionOf = (record: ListRecord, version: number): readonly Entry[] => {
    const found = record.shape.Versions?.[version - 1];
    if (found === undefined || found === null) {
      throw new AwsError("PrefixListVersionNotFound", `${record.id} has no version ${version}.`);
    }
    return found;
  };
  const listArn = (record: ListRecord) =>
    arn(region, record.account_id.toLowerCase(), "prefix-list", record.id);
  const show = (record: ListRecord) => {
    const { Versions: _, ...shown } = records.show(prefixList, record);
    return { ...shown, PrefixListArn: listArn(record) };
  };
  const cloudList: ListRecord = {
    account_id: "AWS",
    id: cloudListId,
    tags: {},
    created: "",
    shape: {
      AddressFamily: "IPv4",
      PrefixListName: `com.amazonaws.${region}.s3`,
      State: "create-complete",
      Version: 1,
      Versions: [[{ Cidr: "169.254.0.0/16" }]],
    },
  };
  const required = async (id: string, call: Call) =>
    id === cloudListId ? cloudList : await records.require(prefixList, call.account_id, id);
  const answer = (record: ListRecord) => ({ PrefixList: show(record) });
  return {
    CreateManagedPrefixList: n.creates(prefixList, {
      without: ["Entries"],
      make: (input) => {
        if (input.AddressFamily !== "IPv4" && input.AddressFamily !== "IPv6") {
          throw invalidParameter("addressFamily", input.AddressFamily, "Expected: IPv4 or IPv6.");
        }
        checkName(input.PrefixListName);
        const entries = readEntries(input.Entries ?? [], input.AddressFamily);
        const most = within(input.MaxEntries, 1, 1000, "maxEntries");
        if (entries.length > most) {
          throw new AwsError("PrefixListMaxEntriesExceeded", `The list may have ${most} entries.`);
        }
        return { State: "create-complete", Version: 1, Versions: [entries] };
      },
      answer,
    }),
    DescribeManagedPrefixLists: n.custom({
      reads: true,
      run: async (input, call) => {
        const ids = [...new Set(input.PrefixListIds ?? [])];
        const lists = ids.length === 0
          ? [cloudList, ...records.all(prefixList, call.account_id)]
          : await Promise.all(ids.map((id) => required(id, call)));
        const matches = compileFilters<ListRecord>(
          input.Filters,
          records.of(prefixList).type.attributes as Attributes<ListRecord>,
          (one) => one.tags,
        );
        const page = pageOf(lists.filter(matches), (one) => one.id, {
          action: "DescribeManagedPrefixLists",
          input,
          call,
          limits: prefixList.limits,
          hasIds: ids.length > 0,
        });
        return { PrefixLists: page.items.map(show), NextToken: page.nextToken };
      },
    }),
    ModifyManagedPrefixList: n.changes(prefixList, {
      id: "PrefixListId",
      change: (record, input) => {
        checkVersion(record, input.CurrentVersion);
        const family = record.shape.AddressFamily ?? "IPv4";
        const added = readEntries(input.AddEntries ?? [], family);
        const removed = readEntries(input.RemoveEntries ?? [], family).map((one) => one.Cidr);
        const now = record.shape.Versions?.at(-1) ?? [];
        const missing = removed.find((one) => !now.some((entry) => entry.Cidr === one));
        if (missing !== undefined) {
          throw invalidParameter("removeEntries", missing, "The list has no such entry.");
        }
        const next = [
          ...now.filter((one) =>
            !removed.includes(one.Cidr) && !added.some((other) => other.Cidr === one.Cidr)
          ),
          ...added,
        ];
        const most = within(
          input.MaxEntries ?? record.shape.MaxEntries ?? 1,
          1,
          1000,
          "maxEntries",
        );
        const resized = { ...record, shape: { ...record.shape, MaxEntries: most } };
        const changed = withVersion(resized, next);
        return {
          ...(input.PrefixListName === undefined
            ? {}
            : { PrefixListName: checkName(input.PrefixListName) }),
          MaxEntries: most,
          State: "modify-complete",
          ...(added.length + removed.length > 0 ? changed : {}),
        };
      },
      answer,
    }),
    RestoreManagedPrefixListVersion: n.changes(prefixList, {
      id: "PrefixListId",
      change: (record, input) => {
        checkVersion(record, input.CurrentVersion);
        return {
          State: "restore-complete",
          ...withVersion(record, versionOf(record, input.PreviousVersion)),
        };
      },
      answer,
    }),
    DeleteManagedPrefixList: n.deletes(prefixList, {
      id: "PrefixListId",
      refuse: (record, _input, call) => {
        if (users(record, call.account_id).length > 0) {
          throw new AwsError("DependencyViolation", `The prefix list '${record.id}' is in use.`);
        }
      },
      answer: ([record]) => ({
        PrefixList: record === undefined
          ? undefined
          : { ...show(record), State: "delete-complete" },
      }),
    }),
    GetManagedPrefixListEntries: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await required(input.PrefixListId, call);
        const entries = versionOf(record, input.TargetVersion ?? record.shape.Version ?? 1);
        const page = pageOf(entries, (one) => one.Cidr ?? "", {
          action: "GetManagedPrefixListEntries",
          input,
          call,
          limits,
        });
        return {
          Entries: page.items,
          NextToken: page.nextToken,
        };
      },
    }),
    GetManagedPrefixListAssociations: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await required(input.PrefixListId, call);
        return {
          PrefixListAssociations: users(record, call.account_id).map((ResourceId) => ({
            ResourceId,
            ResourceOwner: call.account_id,
          })),
        };
      },
    }),
    DescribePrefixLists: n.custom({
      reads: true,
      run: (input) => {
        const own = {
          Cidrs: versionOf(cloudList, 1).flatMap((one) => one.Cidr ?? []),
          PrefixListId: cloudListId,
          PrefixListName: cloudList.shape.PrefixListName,
        };
        const matches = compileFilters<typeof own>(input.Filters, {
          "prefix-list-id": (one) => one.PrefixListId,
          "prefix-list-name": (one) => one.PrefixListName,
        });
        const missing = input.PrefixListIds?.find((id) => id !== own.PrefixListId);
        if (missing !== undefined) {
          throw new AwsError(
            "InvalidPrefixListId.NotFound",
            `The prefix list ID '${missing}' does not exist`,
          );
        }
        return { PrefixLists: [own].filter(matches) };
      },
    }),
  } satisfies ActionTable;

  /** Route tables and groups that name the list. */
  function users(record: ListRecord, account: string): string[] {
    const tables = records.find(records.kindNamed("route-table"), account, record.id);
    const rules = records.find(records.kindNamed("security-group-rule"), account, record.id);
    const groups = rules.map((one) => String((one.shape as { GroupId?: string }).GroupId));
    return [...new Set([...tables.map((one) => one.id), ...groups])];
  }
};
