/**
 * The records of many kinds in one KV bucket, with what lies between them: who names whom, how many
 * of a kind an account has, and which of an account's changes runs now.
 *
 * Changes of one account run one after the other in this process, so that what a change has looked at
 * (nobody uses the subnet, no block overlaps) still holds when it writes; every write is compare-and-set
 * besides. The index of references follows the table's watch and answers without walking.
 */
import type { Bus } from "../bus/bus.ts";
import type { CallContext } from "../bus/subject.ts";
import type { Log } from "../log/log.ts";
import { errorFields } from "../log/log.ts";
import { AwsError } from "../aws/errors.ts";
import { Conflict, type Row, Table } from "../state/table.ts";
import type { Attributes } from "./filters.ts";
import { isId, newId, notFound } from "./ids.ts";
import {
  type AnyKind,
  filterPaths,
  type Kind,
  type KindRecord,
  type OtherRecords,
  readPath,
} from "./kind.ts";
import { Resources, type ResourceType } from "./resource.ts";
import { showTags, type Tags } from "./tags.ts";

type AnyRecord = KindRecord<Record<string, unknown>>;

type Completion = (record: AnyRecord) => Promise<void>;

/** How long what has ended is still shown, as EC2 shows deleted gateways. */
const shownAfterEnd_ms = 3600_000;

/** What brings a record from a passing state to a lasting one; the data plane implements it. */
export interface Plane {
  /** Returns when the world is as the record says. Repeated after a crash. */
  realise(kind: AnyKind, record: AnyRecord): Promise<void> | void;
}

/** Records and nothing behind them: every state settles at once. */
export const recordPlane: Plane = { realise: () => {} };

export class Records implements AsyncDisposable, OtherRecords {
  readonly #opened = new Map<string, Resources<AnyRecord>>();
  readonly #kinds: readonly AnyKind[];
  readonly #kindOfKey = new Map<string, AnyKind>();
  /** `<account>.<value>` to the keys of the records that name it. */
  readonly #index = new Map<string, Set<string>>();
  /** What is in the index of each key, so that a change takes the old entries out. */
  readonly #indexed = new Map<string, readonly string[]>();
  readonly #counts = new Map<string, number>();
  readonly #locks = new Map<string, Promise<unknown>>();
  readonly #completions = new Map<string, Completion>();
  readonly #settling = new Set<Promise<void>>();
  readonly #unwatch: () => void;
  #stopped = false;

  private constructor(
    readonly table: Table<AnyRecord>,
    kinds: readonly AnyKind[],
    readonly plane: Plane,
    readonly log: Log,
    pageBytes: number,
  ) {
    this.#kinds = kinds;
    for (const one of kinds) {
      this.#opened.set(one.name, Resources.over(typeOf(one, table.bucket, this), table, pageBytes));
    }
    const note = (key: string, row: Row<AnyRecord> | undefined) => this.#note(key, row?.value);
    this.#unwatch = table.watch(({ key, row }) => note(key, row));
    for (const row of table.rows()) note(row.key, row);
  }

  static async open(
    kinds: readonly AnyKind[],
    bucket: string,
    bus: Bus,
    log: Log,
    plane: Plane = recordPlane,
  ): Promise<Records> {
    const table = await Table.open<AnyRecord>(bus, bucket, log);
    const pageBytes = Resources.pageBytes(bus);
    return new Records(table, kinds, plane, log, pageBytes);
  }

  get kinds(): readonly AnyKind[] {
    return this.#kinds;
  }

  kindNamed(name: string): AnyKind {
    const found = this.#kinds.find((one) => one.name === name);
    if (found === undefined) throw new RangeError(`there is no kind ${name}`);
    return found;
  }

  kindOf(id: string): AnyKind | undefined {
    return this.#kinds.find((one) => isId(one.idPrefix, id));
  }

  #note(key: string, record: AnyRecord | undefined): void {
    const account = key.slice(0, key.indexOf("."));
    const before = this.#kindOfKey.get(key);
    if (before !== undefined) this.#count(account, before, -1);
    for (const entry of this.#indexed.get(key) ?? []) {
      const keys = this.#index.get(entry);
      keys?.delete(key);
      if (keys?.size === 0) this.#index.delete(entry);
    }
    const of = record === undefined || record.ended_ms !== undefined
      ? undefined
      : this.kindOf(record.id);
    if (record === undefined || of === undefined) {
      this.#indexed.delete(key);
      this.#kindOfKey.delete(key);
      return;
    }
    this.#kindOfKey.set(key, of);
    this.#count(account, of, 1);
    const values = new Set<string>();
    for (const path of [...Object.keys(of.references ?? {}), ...of.indexed ?? []]) {
      for (const value of readPath(record.shape, path)) values.add(`${account}.${value}`);
    }
    for (const path of of.unique ?? []) {
      for (const value of readPath(record.shape, path)) values.add(`*.${value}`);
    }
    for (const entry of values) {
      const keys = this.#index.get(entry) ?? new Set();
      keys.add(key);
      this.#index.set(entry, keys);
    }
    this.#indexed.set(key, [...values]);
  }

  #count(account: string, of: AnyKind, by: number): void {
    const name = `${account}.${of.name}`;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  count(account: string, of: AnyKind): number {
    return this.#counts.get(`${account}.${of.name}`) ?? 0;
  }

  of<S extends object>(one: Kind<S>): Resources<KindRecord<S>> {
    const opened = this.#opened.get(one.name);
    if (opened === undefined) throw new RangeError(`the kind ${one.name} is not opened`);
    return opened as unknown as Resources<KindRecord<S>>;
  }

  get<S extends object>(one: Kind<S>, account: string, id: string): KindRecord<S> | undefined {
    // The bucket holds all kinds: an id of another one is no id of this.
    const record = isId(one.idPrefix, id) ? this.of(one).get(account, id) : undefined;
    return record?.ended_ms === undefined ? record : undefined;
  }

  /** The same, also of another account that shares it. */
  visible<S extends object>(one: Kind<S>, account: string, id: string): KindRecord<S> | undefined {
    const record = isId(one.idPrefix, id) ? this.of(one).visible(account, id) : undefined;
    return record?.ended_ms === undefined ? record : undefined;
  }

  /** @throws AwsError in the kind's own codes */
  async require<S extends object>(
    one: Kind<S>,
    account: string,
    id: string,
  ): Promise<KindRecord<S>> {
    const record = await this.of(one).require(account, id);
    if (record.ended_ms !== undefined) throw notFound([id], one.errors);
    return record;
  }

  /** The account's records of a kind that name `value` in a reference or an indexed path. */
  find<S extends object>(one: Kind<S>, account: string, value: string): KindRecord<S>[] {
    const found: KindRecord<S>[] = [];
    for (const key of this.#index.get(`${account}.${value}`) ?? []) {
      if (this.#kindOfKey.get(key) !== one) continue;
      const record = this.table.get(key)?.value;
      if (record !== undefined) found.push(record as unknown as KindRecord<S>);
    }
    return found.sort((a, b) => a.id < b.id ? -1 : 1);
  }

  /**
   * The account's records of a kind that have `value` at this reference or indexed path. For what a request
   * says: another path may hold the same text, as a subnet's id is in every interface.
   */
  findAt<S extends object>(
    one: Kind<S>,
    account: string,
    path: string,
    value: string,
  ): KindRecord<S>[] {
    return this.find(one, account, value)
      .filter((record) => readPath(record.shape, path).includes(value));
  }

  /** The records of a kind in all accounts that have `value` in a unique path. */
  findAnywhere<S extends object>(one: Kind<S>, value: string): KindRecord<S>[] {
    return this.find(one, "*", value);
  }

  /** Everything of the account that names the id as something that it stands on. */
  dependents(account: string, id: string): { kind: AnyKind; record: AnyRecord }[] {
    const found: { kind: AnyKind; record: AnyRecord }[] = [];
    for (const key of this.#index.get(`${account}.${id}`) ?? []) {
      const of = this.#kindOfKey.get(key);
      const record = this.table.get(key)?.value;
      if (of === undefined || record === undefined || record.id === id) continue;
      const names = Object.keys(of.references ?? {});
      if (names.some((path) => readPath(record.shape, path).includes(id))) {
        found.push({ kind: of, record });
      }
    }
    return found;
  }

  *all<S extends object>(one: Kind<S>, account?: string): Generator<KindRecord<S>> {
    for (const record of this.of(one).all(account)) {
      if (record.ended_ms === undefined) yield record;
    }
  }

  /** @throws AwsError the quota's code when the account has as many as it may */
  requireRoom(one: AnyKind, account: string): void {
    const { most, code } = one.quota ?? { most: 10_000, code: "ResourceLimitExceeded" };
    if (this.count(account, one) < most) return;
    throw new AwsError(
      code,
      `The maximum number of ${one.name} resources of this account has been reached: ${most}.`,
    );
  }

  /**
   * Makes a record; answers the one that is there when the id was made before, for repeated steps.
   * @throws AwsError the quota's code
   */
  async create<S extends object>(
    one: Kind<S>,
    account: string,
    shape: S,
    options: { readonly id?: string; readonly tags?: Tags } = {},
  ): Promise<KindRecord<S>> {
    const id = options.id ?? newId(one.idPrefix);
    if (this.of(one).get(account, id) === undefined) this.requireRoom(one, account);
    const record = await this.of(one).ensure({
      account_id: account,
      id,
      created: new Date().toISOString(),
      tags: options.tags ?? {},
      shape,
    });
    this.#settle(one, record);
    return record;
  }

  /**
   * Changes members of a record's shape by compare-and-set; undefined takes one away. What `change` throws is
   * believed only when it was decided on the newest record.
   */
  async change<S extends object>(
    one: Kind<S>,
    account: string,
    id: string,
    change: (record: KindRecord<S>) => Partial<S> | Promise<Partial<S>>,
  ): Promise<KindRecord<S>> {
    const resources = this.of(one);
    for (let attempt = 0;; attempt++) {
      const row = resources.table.get(resources.keyOf(account, id));
      const record = row?.value ?? await this.require(one, account, id);
      if (record.ended_ms !== undefined) throw notFound([id], one.errors);
      let changed: KindRecord<S>;
      try {
        changed = { ...record, shape: { ...record.shape, ...await change(record) } };
      } catch (error) {
        // What the newest record is refused for is refused; an old copy of it decides nothing.
        if (row === undefined || !(error instanceof AwsError) || error.status >= 500) throw error;
        const newest = await resources.table.read(row.key);
        if (newest === undefined || newest.revision === row.revision || attempt === 20) throw error;
        await resources.table.waitFor(newest.revision);
        continue;
      }
      try {
        const revision = row?.revision ??
          (await resources.table.read(resources.keyOf(account, id)))?.revision ?? 0;
        const written = await resources.table.update(
          resources.keyOf(account, id),
          changed,
          revision,
        );
        this.#settle(one, written.value);
        return written.value;
      } catch (error) {
        if (!(error instanceof Conflict) || attempt === 20) throw error;
        await resources.table.waitFor(
          (await resources.table.read(resources.keyOf(account, id)))?.revision ?? 0,
        );
      }
    }
  }

  /**
   * Deletes a record, or leaves it to be shown for a while in its last state.
   * @param check what it throws of the very record that would end is the answer
   */
  async remove<S extends object>(
    one: Kind<S>,
    account: string,
    id: string,
    last?: Partial<S>,
    check: (record: KindRecord<S>) => void = () => {},
  ): Promise<void> {
    if (last === undefined) return await this.of(one).delete(account, id);
    await this.of(one).modify(account, id, (record) => {
      check(record);
      return { ...record, ended_ms: Date.now(), shape: { ...record.shape, ...last } };
    });
  }

  /** Runs a change when those before it in the queue are done; each account is one. */
  async serialised<T>(queue: string, work: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(queue) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(work);
    const settled = mine.catch(() => {});
    this.#locks.set(queue, settled);
    try {
      return await mine;
    } finally {
      if (this.#locks.get(queue) === settled) this.#locks.delete(queue);
    }
  }

  /** The same for a change of several; always taken in one order, so that no two wait for each other. */
  async serialisedAll<T>(queues: readonly string[], work: () => Promise<T>): Promise<T> {
    const [first, ...others] = [...new Set(queues)].sort();
    if (first === undefined) return await work();
    return await this.serialised(first, () => this.serialisedAll(others, work));
  }

  /** As EC2 shows it: the shape with its id, owner and tags. */
  show<S extends object>(one: Kind<S>, record: KindRecord<S>): S & Record<string, unknown> {
    const owner = one.owner === undefined ? "OwnerId" : one.owner;
    return {
      ...record.shape,
      ...one.shows?.(record, this),
      [one.id]: record.id,
      ...(owner === null ? {} : { [owner]: record.account_id }),
      Tags: showTags(record.tags),
    };
  }

  /** What is to be repeated of a creation that a crash left in a passing state. */
  completeBy<S extends object>(
    one: Kind<S>,
    completes: (record: KindRecord<S>) => Promise<void>,
  ): void {
    this.#completions.set(one.name, completes as unknown as Completion);
  }

  /** @param isLeft an earlier run may have left it unfinished */
  #settle<S extends object>(one: Kind<S>, record: KindRecord<S>, isLeft = false): void {
    const settles = one.settles;
    if (settles === undefined || this.#stopped) return;
    const state = readPath(record.shape, settles.member)[0];
    const next = settles.to[String(state)];
    if (next === undefined) return;
    const work = (async () => {
      await this.plane.realise(one, record as unknown as AnyRecord);
      await this.serialised(record.account_id, async () => {
        const now = this.get(one, record.account_id, record.id);
        if (now === undefined || readPath(now.shape, settles.member)[0] !== state) return;
        const last = withPath(now.shape, settles.member, next);
        const isEnd = /^delete(?:d|-complete)$/i.test(next);
        if (isLeft && !isEnd) {
          await this.#completions.get(one.name)?.(now as unknown as AnyRecord);
        }
        if (isEnd) {
          await this.remove(one, record.account_id, record.id, last);
        } else await this.change(one, record.account_id, record.id, () => last);
      });
    })().catch((error) => this.log.warn("settle_failed", { id: record.id, ...errorFields(error) }))
      .finally(() => this.#settling.delete(work));
    this.#settling.add(work);
  }

  /** Takes up what an earlier run left in a passing state, and forgets what ended long ago. */
  async keepHouse(): Promise<void> {
    for (const one of this.#kinds) {
      for (const record of [...this.of(one).all()]) {
        if (record.ended_ms === undefined) this.#settle(one, record, true);
        else if (Date.now() - record.ended_ms > shownAfterEnd_ms) {
          await this.of(one).delete(record.account_id, record.id);
        }
      }
    }
  }

  async settled(): Promise<void> {
    while (this.#settling.size > 0) await Promise.all([...this.#settling]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.settled();
    this.#unwatch();
    for (const one of this.#opened.values()) one.close();
    await this.table[Symbol.asyncDispose]();
  }
}

/** A member, or a member of a member, replaced. */
function withPath<S extends object>(shape: S, path: string, value: unknown): Partial<S> {
  const [first = "", second] = path.split(".");
  const now = (shape as Record<string, unknown>)[first];
  return {
    [first]: second === undefined ? value : { ...(now as object), [second]: value },
  } as Partial<S>;
}

function typeOf(one: AnyKind, bucket: string, records: Records): ResourceType<AnyRecord> {
  const owner = one.owner === undefined ? "OwnerId" : one.owner;
  const attributes: Record<string, Attributes<AnyRecord>[string]> = {};
  for (const [name, path] of filterPaths(one.filters ?? [])) {
    attributes[name] = path === one.id
      ? (record) => record.id
      : (record) => readPath(record.shape, path);
  }
  const idFilter = `${one.name}-id`;
  attributes[idFilter] ??= (record) => record.id;
  if (owner !== null) attributes["owner-id"] ??= (record) => record.account_id;
  for (const [name, read] of Object.entries(one.computed ?? {})) {
    attributes[name] = (record) => read(record, records);
  }
  return {
    name: one.name,
    idPrefix: one.idPrefix,
    errors: one.errors,
    bucket,
    id: (record) => record.id,
    states: Object.entries(one.settles?.to ?? {}).flat(),
    attributes,
    page: one.limits,
    ...(one.sharedWith === undefined ? {} : {
      shared: (record, account) => {
        const others = one.sharedWith?.(record) ?? [];
        return account === "" ? others.length > 0 : others.includes(account);
      },
    }),
  };
}

export type Caller = Pick<CallContext, "account_id">;
