/**
 * What the operations of every kind have in common: `creates`, `describes`, `changes`, `deletes` make
 * an action of what is particular. Ids that a request names are checked for their form and for being
 * there, tags and client tokens are honoured, changes of one account run one after the other, what
 * others stand on is not deleted, and a dry run decides everything and writes nothing.
 */
import { AwsError } from "../aws/errors.ts";
import type { Action, Call } from "./actions.ts";
import type { ClientTokens, TokenWork } from "./client_tokens.ts";
import { missingParameter } from "./errors.ts";
import { newId } from "./ids.ts";
import type { AnyKind, Kind, KindRecord } from "./kind.ts";
import { readPath } from "./kind.ts";
import type { PageRequest } from "./paging.ts";
import type { Records } from "./records.ts";
import { type Tags, tagsFromSpecifications } from "./tags.ts";
import type { ActionName, Filter, Input, Loose, Output, TagSpecification } from "./wire.ts";

type Members = Readonly<Record<string, unknown>>;
type Name<T> = Extract<keyof T, string>;

/** Members of requests that are the frame's and never part of a record. */
const ofTheFrame = ["ClientToken", "DryRun", "TagSpecifications"] as const;

export interface Creates<A extends ActionName, S extends object> {
  /** Member of the answer that shows the record, or the answer itself. */
  readonly answer?:
    | Name<Output<A>>
    | ((record: KindRecord<S>, input: Input<A>) => Loose<Output<A>>);
  /** Members of the record besides those that the request has under the same name. */
  readonly make?: (input: Input<A>, call: Call) => Partial<S> | Promise<Partial<S>>;
  /** Request members that the record must not have as they are. */
  readonly without?: readonly Name<Input<A>>[];
  /** The id, where it follows from something. */
  readonly id?: (input: Input<A>, call: Call) => string | Promise<string>;
  /** Records that must be there before it is, as steps that may be repeated: without it they mean nothing. */
  readonly first?: (id: string, call: Call) => Promise<void>;
  /**
   * Further records without which it is not whole, as steps that may be repeated: what a crash left in a
   * passing state is completed by them before it settles.
   */
  readonly completes?: (record: KindRecord<S>) => Promise<void>;
  /** What else follows from the request, as steps that may be repeated. */
  readonly after?: (record: KindRecord<S>, input: Input<A>, call: Call) => Promise<void>;
}

export interface Describes<A extends ActionName, S extends object> {
  /** Member of the answer with the records, and of the request with the ids. */
  readonly list: Name<Output<A>>;
  readonly ids?: Name<Input<A>>;
  readonly where?: (input: Input<A>, call: Call) => (record: KindRecord<S>) => boolean;
  readonly show?: (record: KindRecord<S>, call: Call) => unknown;
  /** Run first: what must be there before anything is shown. */
  readonly before?: (input: Input<A>, call: Call) => Promise<void> | void;
}

export interface Changes<A extends ActionName, S extends object> {
  /** Member of the request with the id. */
  readonly id: Name<Input<A>> | ((input: Input<A>, call: Call) => string | Promise<string>);
  /** What changes; what it throws refuses. */
  readonly change: (
    record: KindRecord<S>,
    input: Input<A>,
    call: Call,
  ) => Partial<S> | Promise<Partial<S>>;
  readonly answer?:
    | Name<Output<A>>
    | ((record: KindRecord<S>, input: Input<A>) => Loose<Output<A>>);
  readonly after?: (record: KindRecord<S>, input: Input<A>, call: Call) => Promise<void>;
}

export interface Deletes<A extends ActionName, S extends object> {
  /** Member of the request with the id or ids. */
  readonly id: Name<Input<A>> | ((input: Input<A>, call: Call) => string | Promise<string>);
  readonly refuse?: (record: KindRecord<S>, input: Input<A>, call: Call) => Promise<void> | void;
  /** What goes along and is therefore no dependent. */
  readonly takes?: (
    kind: AnyKind,
    dependent: KindRecord<Members>,
    record: KindRecord<S>,
  ) => boolean;
  /** What goes along, before the record itself. */
  readonly before?: (record: KindRecord<S>, input: Input<A>, call: Call) => Promise<void>;
  /** Shown for a while in this state, instead of gone. */
  readonly last?: () => Partial<S>;
  /** The passing state, where deleting takes its time; the kind's `settles` ends it. */
  readonly passing?: () => Partial<S>;
  /** AWS's code where dependents refuse; `DependencyViolation` unless given. */
  readonly inUse?: string;
  readonly answer?:
    | Name<Output<A>>
    | ((records: readonly KindRecord<S>[], input: Input<A>) => Loose<Output<A>>);
}

export interface Custom<A extends ActionName> extends Omit<Action<A>, "run"> {
  /** Changes nothing, and so need not wait for its turn. */
  readonly reads?: true;
  /** Another account whose records it changes too, if any; both wait for their turn then. */
  readonly changesOf?: (input: Input<A>, call: Call) => string | undefined;
  readonly run: (
    input: Input<A>,
    call: Call,
  ) => Promise<Loose<Output<A>>> | Loose<Output<A>>;
}

/** Request members that name a resource, in any operation. */
export type ParameterKinds = Readonly<Record<string, string>>;

export interface OperationsOptions {
  readonly records: Records;
  readonly tokens: ClientTokens;
  readonly parameters: ParameterKinds;
  /** Run before the first action of an account. */
  readonly ready?: (account: string) => Promise<void>;
}

export class Operations {
  readonly records: Records;
  readonly #options: OperationsOptions;

  constructor(options: OperationsOptions) {
    this.records = options.records;
    this.#options = options;
  }

  /** Does the work of a request once for each client token; see client_tokens.ts. */
  once<Value, Result>(call: Call, request: TokenWork<Value, Result>): Promise<Result> {
    return this.#options.tokens.once(call, request);
  }

  /** Anything else in the same frame: named resources are there, changes take their turn. */
  custom<A extends ActionName>(how: Custom<A>): Action<A> {
    return {
      ...(how.resources === undefined ? {} : { resources: how.resources }),
      check: async (input, call) => {
        await this.#ready(input, call);
        await how.check?.(input, call);
      },
      run: async (input, call) => {
        const accounts = [call.account_id, how.changesOf?.(input, call) ?? call.account_id];
        const answered = how.reads === true
          ? await how.run(input, call)
          : await this.records.serialisedAll(accounts, async () => {
            // What was checked before may have changed while others had their turn.
            await how.check?.(input, call);
            return await how.run(input, call);
          });
        return answered as unknown as Output<A>;
      },
    };
  }

  creates<A extends ActionName, S extends object>(
    one: Kind<S>,
    how: Creates<A, S> = {},
  ): Action<A> {
    const shapeOf = async (input: Input<A>, call: Call): Promise<S> => {
      const members: Record<string, unknown> = { ...(input as Members) };
      for (const name of [...ofTheFrame, ...how.without ?? []]) delete members[name];
      const shape = { ...members, ...await how.make?.(input, call) } as S;
      await this.#checkReferences(one, shape, call.account_id);
      return shape;
    };
    const answer = (record: KindRecord<S>, input: Input<A>): Output<A> =>
      this.#answer(one, how.answer, record, input);
    const make = async (id: string, input: Input<A>, call: Call) => {
      const shape = await shapeOf(input, call);
      if (how.first !== undefined) {
        this.records.requireRoom(one, call.account_id);
        await how.first(id, call);
      }
      return await this.records.create(one, call.account_id, shape, {
        id,
        tags: tagsOf(one, input),
      });
    };
    const work = async (id: string, input: Input<A>, call: Call, again: boolean) => {
      const made = again ? this.records.of(one).get(call.account_id, id) : undefined;
      const record = made ?? await (one.unique === undefined
        ? make(id, input, call)
        // What only one account may have is chosen by one account at a time.
        : this.records.serialised(`all of ${one.name}`, () => make(id, input, call)));
      await how.completes?.(record);
      await how.after?.(record, input, call);
      return answer(this.records.get(one, call.account_id, id) ?? record, input);
    };
    if (how.completes !== undefined) this.records.completeBy(one, how.completes);
    const tokenOf = (input: Input<A>) => (input as { ClientToken?: string }).ClientToken;
    return {
      resources: (_input, call) => [this.records.of(one).arnOf(call, "*")],
      check: async (input, call) => {
        await this.#ready(input, call);
        tagsOf(one, input);
        // A request that is repeated with its token would be refused because of its own success.
        const isDry = (input as { DryRun?: boolean }).DryRun === true;
        if (isDry || tokenOf(input) === undefined) await shapeOf(input, call);
      },
      run: async (input, call) => {
        const id = await how.id?.(input, call);
        const run = (chosen: string, again: boolean) =>
          this.records.serialised(call.account_id, () => work(chosen, input, call, again));
        if (tokenOf(input) === undefined) return await run(id ?? newId(one.idPrefix), false);
        let isNew = false;
        return await this.#options.tokens.once<string, Output<A>>(call, {
          action: tokenAction(one),
          input: input as { ClientToken?: string },
          choose: () => {
            isNew = true;
            return id ?? newId(one.idPrefix);
          },
          work: (chosen) => run(chosen, !isNew),
          again: async (chosen) =>
            answer(await this.records.require(one, call.account_id, chosen), input),
        });
      },
    };
  }

  describes<A extends ActionName, S extends object>(
    one: Kind<S>,
    how: Describes<A, S>,
  ): Action<A> {
    return {
      check: async (input, call) => {
        await this.#options.ready?.(call.account_id);
        await how.before?.(input, call);
      },
      run: async (input, call) => {
        const members = input as Members;
        const where = how.where?.(input, call);
        const page = await this.records.of(one).describe({
          action: `Describe ${one.name} ${how.list}` as ActionName,
          ids: how.ids === undefined ? undefined : members[how.ids] as string[] | undefined,
          filters: (members["Filters"] ?? members["Filter"]) as readonly Filter[] | undefined,
          page: members as PageRequest,
          ...(where === undefined ? {} : { where }),
        }, call);
        return {
          [how.list]: page.records.map((record) =>
            how.show === undefined ? this.records.show(one, record) : how.show(record, call)
          ),
          NextToken: page.nextToken,
        } as unknown as Output<A>;
      },
    };
  }

  changes<A extends ActionName, S extends object>(
    one: Kind<S>,
    how: Changes<A, S>,
  ): Action<A> {
    const idOf = (input: Input<A>, call: Call) => namedId(how.id, input, call);
    return {
      resources: (input, call) =>
        typeof how.id === "string"
          ? [this.records.of(one).arnOf(call, String((input as Members)[how.id] ?? "*"))]
          : [],
      check: async (input, call) => {
        await this.#ready(input, call, typeof how.id === "string" ? [how.id] : []);
        const record = await this.records.require(one, call.account_id, await idOf(input, call));
        await this.#checkReferences(one, await how.change(record, input, call), call.account_id);
      },
      run: async (input, call) =>
        await this.records.serialised(call.account_id, async () => {
          const id = await idOf(input, call);
          const record = await this.records.change(
            one,
            call.account_id,
            id,
            async (now) => {
              const changed = await how.change(now, input, call);
              await this.#checkReferences(one, changed, call.account_id);
              return changed;
            },
          );
          await how.after?.(record, input, call);
          return this.#answer(one, how.answer, record, input);
        }),
    };
  }

  deletes<A extends ActionName, S extends object>(
    one: Kind<S>,
    how: Deletes<A, S>,
  ): Action<A> {
    const idsOf = async (input: Input<A>, call: Call): Promise<readonly string[]> => {
      if (typeof how.id === "string") {
        const value = (input as Members)[how.id];
        if (Array.isArray(value)) return value as string[];
      }
      return [await namedId(how.id, input, call)];
    };
    const decide = async (input: Input<A>, call: Call): Promise<KindRecord<S>[]> => {
      const records: KindRecord<S>[] = [];
      for (const id of await idsOf(input, call)) {
        const record = await this.records.require(one, call.account_id, id);
        await how.refuse?.(record, input, call);
        this.refuseDependents(one, record, how.takes, how.inUse);
        records.push(record);
      }
      return records;
    };
    return {
      resources: (input, call) => {
        const value = typeof how.id === "string" ? (input as Members)[how.id] : undefined;
        const ids = Array.isArray(value) ? value as string[] : [String(value ?? "*")];
        return ids.map((id) => this.records.of(one).arnOf(call, id));
      },
      check: async (input, call) => {
        await this.#ready(input, call, typeof how.id === "string" ? [how.id] : []);
        await decide(input, call);
      },
      run: async (input, call) =>
        await this.records.serialised(call.account_id, async () => {
          const records = await decide(input, call);
          for (const record of records) {
            await how.before?.(record, input, call);
            if (how.passing === undefined) {
              await this.records.remove(one, call.account_id, record.id, how.last?.());
            } else {
              await this.records.change(one, call.account_id, record.id, how.passing);
            }
          }
          const shown = records.map((record) => ({
            ...record,
            shape: { ...record.shape, ...how.last?.(), ...how.passing?.() },
          }));
          if (typeof how.answer === "function") {
            return how.answer(shown, input) as unknown as Output<A>;
          }
          const [first] = shown;
          if (how.answer === undefined || first === undefined) {
            return { Return: true } as unknown as Output<A>;
          }
          return { [how.answer]: this.records.show(one, first) } as unknown as Output<A>;
        }),
    };
  }

  /** @throws AwsError `DependencyViolation` */
  refuseDependents<S extends object>(
    one: Kind<S>,
    record: KindRecord<S>,
    takes: Deletes<ActionName, S>["takes"] = () => false,
    code = "DependencyViolation",
  ): void {
    const [first] = this.records.dependents(record.account_id, record.id)
      .filter((dependent) => !takes(dependent.kind, dependent.record, record));
    if (first === undefined) return;
    throw new AwsError(
      code,
      `The ${one.errors.noun} '${record.id}' has dependencies and cannot be deleted: ${first.kind.name} '${first.record.id}' uses it.`,
    );
  }

  #answer<A extends ActionName, S extends object>(
    one: Kind<S>,
    how: Creates<A, S>["answer"],
    record: KindRecord<S>,
    input: Input<A>,
  ): Output<A> {
    if (typeof how === "function") return how(record, input) as unknown as Output<A>;
    if (how === undefined) return { Return: true } as unknown as Output<A>;
    return { [how]: this.records.show(one, record) } as unknown as Output<A>;
  }

  /** Every resource that the request names by a member of `parameters` is there. */
  async #ready(input: unknown, call: Call, except: readonly string[] = []): Promise<void> {
    await this.#options.ready?.(call.account_id);
    for (const [member, value] of Object.entries(input as Members)) {
      const name = this.#options.parameters[member];
      if (name === undefined || except.includes(member)) continue;
      const of = this.records.kindNamed(name);
      for (const id of Array.isArray(value) ? value : [value]) {
        if (typeof id === "string") await this.records.require(of, call.account_id, id);
      }
    }
  }

  async #checkReferences(one: AnyKind, shape: object, account: string): Promise<void> {
    for (const [path, name] of Object.entries(one.references ?? {})) {
      const of = this.records.kindNamed(name);
      for (const id of readPath(shape, path)) {
        // EC2's word for a resource that has no id.
        if (id !== "" && id !== "default") await this.records.require(of, account, String(id));
      }
    }
  }
}

/** Claims are kept by what is made; the name of the action is not known where it is made. */
const tokenAction = (one: AnyKind) => `Create_${one.name}` as ActionName;

function tagsOf(one: AnyKind, input: unknown): Tags {
  const given = (input as { TagSpecifications?: readonly TagSpecification[] }).TagSpecifications;
  return tagsFromSpecifications(given, [one.name])[one.name] ?? {};
}

async function namedId<A extends ActionName>(
  how: string | ((input: Input<A>, call: Call) => string | Promise<string>),
  input: Input<A>,
  call: Call,
): Promise<string> {
  if (typeof how === "function") return await how(input, call);
  const value = (input as Members)[how];
  if (typeof value !== "string" || value === "") throw missingParameter(how);
  return value;
}
