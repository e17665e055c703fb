/**
 * A resource type is a table of facts; the framework makes the same behaviour of it everywhere: ids,
 * ownership, describe with filters and pages, tags, error codes.
 *
 * Records live in a KV bucket under `<account_id>.<resource id>`. An account sees its own records
 * and, where the type says so, those that others share with it. An ordered index of the keys
 * follows the table, so that a page costs what the page holds and not what the account holds.
 */
import type { CallContext } from "../bus/subject.ts";
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { Conflict, type Row, Table } from "../state/table.ts";
import { AwsError } from "../aws/errors.ts";
import { invalidValue } from "./errors.ts";
import { type Attributes, compileFilters } from "./filters.ts";
import { checkId, type IdErrors, isId, notFound } from "./ids.ts";
import {
  makeToken,
  type PageLimits,
  type PageRequest,
  pageSize,
  type Query,
  readToken,
} from "./paging.ts";
import { SortedKeys } from "./sorted_keys.ts";
import type { Tags } from "./tags.ts";
import type { ActionName, Filter } from "./wire.ts";

export interface ResourceRecord {
  readonly account_id: string;
  readonly tags: Tags;
}

export interface ResourceType<R extends ResourceRecord> {
  /** AWS's name of the type, in `TagSpecifications`, DescribeTags and ARNs: `key-pair`. */
  readonly name: string;
  /** `vol-` */
  readonly idPrefix: string;
  readonly errors: IdErrors;
  readonly bucket: string;
  readonly id: (record: R) => string;
  /** The states that a record goes through, for documentation and its tests. */
  readonly states: readonly string[];
  /** What each `Filter` name reads; `tag:KEY`, `tag-key` and `tag-value` come by themselves. */
  readonly attributes: Attributes<R>;
  readonly page: PageLimits;
  /** What ARNs of this type hold, where it is not the id. */
  readonly arnId?: (record: R) => string;
  /** ARNs of this type name no account, as those of images. */
  readonly ownerless?: true;
  /** Whether an account that does not own the record may see it; nobody unless given. */
  readonly shared?: (record: R, account: string) => boolean;
  /** Whether the record counts as there: an instance stays visible a while after its end. */
  readonly gone?: (record: R) => boolean;
}

export interface DescribeRequest<R> {
  readonly action: ActionName;
  readonly ids?: readonly string[] | undefined;
  readonly filters?: readonly Filter[] | undefined;
  /** The request itself, which says how much of the list to show and from where. */
  readonly page?: PageRequest | undefined;
  /** What else decides which records are shown, since a token is bound to it. */
  readonly parameters?: unknown;
  /** What a record must be besides, by those parameters. */
  readonly where?: (record: R) => boolean;
  /** What filters read in this action, where it differs from the type's. */
  readonly attributes?: Attributes<R>;
}

export interface Page<R> {
  readonly records: readonly R[];
  readonly nextToken?: string;
}

/** Part of the bus's largest message that one page may fill; encoded headers and names need the rest. */
const payloadShare = 0.7;

/** Ids that one describe may name. */
const mostIds = 1000;

/** The records of one type: what its actions work with. */
export class Resources<R extends ResourceRecord> implements AsyncDisposable {
  readonly #keys = new SortedKeys();
  /** Keys of records that are shared beyond their account. */
  readonly #shared = new SortedKeys();
  /** The same by their ids, which are unique among accounts. */
  readonly #sharedById = new Map<string, string>();
  readonly #unwatch: () => void;

  private constructor(
    readonly type: ResourceType<R>,
    readonly table: Table<R>,
    readonly pageBytes: number,
    /** The table is its own: it goes when this goes. */
    readonly ownsTable: boolean,
  ) {
    const isOurs = (key: string) =>
      ownsTable || isId(type.idPrefix, key.slice(key.indexOf(".") + 1));
    const note = (key: string, row: Row<R> | undefined) => {
      if (!isOurs(key)) return;
      if (row === undefined) this.#keys.remove(key);
      else this.#keys.add(key);
      if (type.shared === undefined) return;
      const id = key.slice(key.indexOf(".") + 1);
      if (row !== undefined && type.shared(row.value, "")) {
        this.#shared.add(key);
        this.#sharedById.set(id, key);
      } else {
        this.#shared.remove(key);
        if (this.#sharedById.get(id) === key) this.#sharedById.delete(id);
      }
    };
    this.#unwatch = table.watch(({ key, row }) => note(key, row));
    for (const row of table.rows()) note(row.key, row);
  }

  /** How large a page may be on this bus. */
  static pageBytes(bus: Bus): number {
    return Math.floor((bus.connection.info?.max_payload ?? 1 << 20) * payloadShare);
  }

  /** The records of one type in a table that holds several; the table stays its opener's. */
  static over<R extends ResourceRecord>(
    type: ResourceType<R>,
    table: Table<R>,
    pageBytes: number,
  ): Resources<R> {
    return new Resources(type, table, pageBytes, false);
  }

  static async open<R extends ResourceRecord>(
    type: ResourceType<R>,
    bus: Bus,
    log: Log,
  ): Promise<Resources<R>> {
    const table = await Table.open<R>(bus, type.bucket, log);
    return new Resources(type, table, Resources.pageBytes(bus), true);
  }

  keyOf(account: string, id: string): string {
    return `${account}.${id}`;
  }

  /** @param id or `*` for one that is yet to be made */
  arnOf(context: Pick<CallContext, "region" | "account_id">, id: string): string {
    const owner = this.type.ownerless === true ? "" : context.account_id;
    return `arn:aws:ec2:${context.region}:${owner}:${this.type.name}/${id}`;
  }

  /** The account's record as the local copy knows it; undefined when there is none. */
  get(account: string, id: string): R | undefined {
    const record = this.table.get(this.keyOf(account, id))?.value;
    return record === undefined || this.type.gone?.(record) === true ? undefined : record;
  }

  /** A record that the account owns or that is shared with it. */
  visible(account: string, id: string): R | undefined {
    return this.#visibleRow(account, id)?.value;
  }

  #visibleRow(account: string, id: string): Row<R> | undefined {
    const own = this.table.get(this.keyOf(account, id));
    if (own !== undefined && this.type.gone?.(own.value) !== true) return own;
    const key = this.#sharedById.get(id);
    const row = key === undefined ? undefined : this.table.get(key);
    if (row === undefined || this.type.gone?.(row.value) === true) return undefined;
    return this.type.shared?.(row.value, account) === true ? row : undefined;
  }

  /**
   * The account's own record, asked of the server when the local copy has none yet; undefined when there is none.
   * @throws AwsError malformed, in the type's own code; `ServiceUnavailable` when nobody can tell
   */
  async find(account: string, id: string): Promise<R | undefined> {
    checkId(this.type.idPrefix, id, this.type.errors);
    const record = this.get(account, id) ??
      (await this.table.read(this.keyOf(account, id)))?.value;
    return record === undefined || this.type.gone?.(record) === true ? undefined : record;
  }

  /**
   * The same, where it must be there.
   * @throws AwsError as `find`, or not found in the type's own code
   */
  async require(account: string, id: string): Promise<R> {
    const record = await this.find(account, id);
    if (record === undefined) throw notFound([id], this.type.errors);
    return record;
  }

  /** @throws Conflict when it exists */
  async create(record: R): Promise<R> {
    const row = await this.table.create(
      this.keyOf(record.account_id, this.type.id(record)),
      record,
    );
    return row.value;
  }

  /** Makes the record, or answers the one that is there: for steps that may be repeated. */
  async ensure(record: R): Promise<R> {
    try {
      return await this.create(record);
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      return (await this.table.read(error.key))?.value ?? await this.ensure(record);
    }
  }

  /**
   * Changes the account's record by compare-and-set. What `change` throws is believed only when it
   * was decided on the newest record.
   * @throws AwsError not found in the type's own code, or what `change` throws
   */
  async modify(account: string, id: string, change: (record: R) => R): Promise<R> {
    if (!isId(this.type.idPrefix, id)) throw notFound([id], this.type.errors);
    const key = this.keyOf(account, id);
    const apply = (record: R | undefined) => {
      if (record === undefined || this.type.gone?.(record) === true) {
        throw notFound([id], this.type.errors);
      }
      return change(record);
    };
    const known = this.table.get(key)?.revision;
    try {
      return (await this.table.modify(key, apply)).value;
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
      const newest = await this.table.read(key);
      if (newest === undefined || newest.revision === known) throw error;
      await this.table.waitFor(newest.revision);
      return (await this.table.modify(key, apply)).value;
    }
  }

  /** Deleting what is not there is no error. */
  async delete(account: string, id: string): Promise<void> {
    // Only what is an id may become part of a key, where some characters mean more than themselves.
    if (!isId(this.type.idPrefix, id)) return;
    await this.table.delete(this.keyOf(account, id));
  }

  /** Every record of the account, or of all accounts, in the order of ids. */
  *all(account?: string): Generator<R> {
    const prefix = account === undefined ? "" : `${account}.`;
    for (const key of this.#keys.after(prefix, "")) {
      const record = this.table.get(key)?.value;
      if (record !== undefined) yield record;
    }
  }

  /**
   * The records of a Describe: by ids, filters and page.
   * @throws AwsError for unknown ids, filters, tokens and page sizes
   */
  async describe(request: DescribeRequest<R>, context: CallContext): Promise<Page<R>> {
    const ids = [...new Set(request.ids ?? [])];
    if (ids.length > mostIds) throw invalidValue(`A request may name ${mostIds} ids at most`);
    const account = context.account_id;
    const { MaxResults, NextToken } = request.page ?? {};
    const size = pageSize(MaxResults, this.type.page, ids.length > 0);
    const matches = compileFilters<R>(
      request.filters,
      request.attributes ?? this.type.attributes,
      (record) => record.tags,
    );
    const query: Query = {
      account,
      action: request.action,
      parameters: [ids, request.filters ?? [], request.parameters ?? null],
    };
    const after = NextToken === undefined || NextToken === "" ? "" : readToken(query, NextToken);
    const candidates = ids.length > 0
      ? await this.#named(account, ids, after)
      : this.#candidates(account, after);
    const records: R[] = [];
    let bytes = 0;
    let lastKey = after;
    for (const { key, value: record, bytes: stored } of candidates) {
      if (!matches(record) || request.where?.(record) === false) continue;
      // Names in an answer are longer than in a record.
      const length = stored * 2;
      if (records.length === size || (records.length > 0 && bytes + length > this.pageBytes)) {
        return { records, nextToken: makeToken(query, lastKey) };
      }
      records.push(record);
      bytes += length;
      lastKey = key;
    }
    return { records };
  }

  async #named(account: string, ids: string[], after: string): Promise<Row<R>[]> {
    const found: Row<R>[] = [];
    const missing: string[] = [];
    for (const id of ids) {
      checkId(this.type.idPrefix, id, this.type.errors, this.type.errors.describedAs);
      const row = this.#visibleRow(account, id) ??
        await this.table.read(this.keyOf(account, id));
      if (row === undefined || this.type.gone?.(row.value) === true) missing.push(id);
      else found.push(row);
    }
    if (missing.length > 0) throw notFound(missing, this.type.errors);
    return found.filter(({ key }) => key > after).sort((a, b) => a.key < b.key ? -1 : 1);
  }

  *#candidates(account: string, after: string): Generator<Row<R>> {
    const prefix = `${account}.`;
    if (this.type.shared === undefined) {
      yield* this.#records(this.#keys.after(prefix, after), account);
      return;
    }
    // Shared records of others and the account's own, merged in the order of keys.
    const own = this.#keys.after(prefix, after);
    const shared = this.#shared.after("", after);
    let mine = own.next();
    let theirs = shared.next();
    while (!mine.done || !theirs.done) {
      if (!theirs.done && theirs.value.startsWith(prefix)) {
        theirs = shared.next();
      } else if (theirs.done || (!mine.done && mine.value < theirs.value)) {
        yield* this.#records([mine.value as string], account);
        mine = own.next();
      } else {
        yield* this.#records([theirs.value], account);
        theirs = shared.next();
      }
    }
  }

  *#records(keys: Iterable<string>, account: string): Generator<Row<R>> {
    for (const key of keys) {
      const row = this.table.get(key);
      if (row === undefined || this.type.gone?.(row.value) === true) continue;
      const { value } = row;
      if (value.account_id !== account && this.type.shared?.(value, account) !== true) continue;
      yield row;
    }
  }

  /** Stops following the table. */
  close(): void {
    this.#unwatch();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    if (this.ownsTable) await this.table[Symbol.asyncDispose]();
  }
}
