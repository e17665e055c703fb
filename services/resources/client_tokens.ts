/**
 * `ClientToken`: the same token with the same parameters makes the same resource, once.
 *
 * A token is claimed with compare-and-set before any work, together with the ids that the work will
 * use. Whoever comes later with the token, at the same time or after a crash, goes on with the same
 * ids, so that the work must be steps that may be repeated. A finished claim only shows what there
 * is; a claim whose work was refused is given back. Claims are kept for a day.
 */
import { createHash } from "node:crypto";
import { AwsError } from "../aws/errors.ts";
import type { Bus } from "../bus/bus.ts";
import type { CallContext } from "../bus/subject.ts";
import type { Log } from "../log/log.ts";
import { Conflict, Table } from "../state/table.ts";
import { invalidValue } from "./errors.ts";
import type { ActionName } from "./wire.ts";

interface Claim {
  readonly parameters: string;
  readonly state: "begun" | "done";
  readonly value: unknown;
  /** Milliseconds since 1970. */
  readonly claimed_ms: number;
}

const kept_ms = 24 * 3600_000;
const longest = 64;

/** JSON with sorted members, without what may differ between two tries of one request. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part) => {
    if (part === null || typeof part !== "object" || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1));
  });
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

/** Whether the request may be one that was made before: what it asks for is checked with the work alone then. */
export const mayBeRepeated = (
  { ClientToken, DryRun }: {
    readonly ClientToken?: string | undefined;
    readonly DryRun?: boolean | undefined;
  },
): boolean => ClientToken !== undefined && ClientToken !== "" && DryRun !== true;

export interface TokenWork<Value, Result> {
  readonly action: ActionName | "StartSnapshot";
  /** The request's input; `ClientToken` and `DryRun` in it are left out of the comparison. */
  readonly input: { readonly ClientToken?: string | undefined };
  /** Chooses the ids (and whatever else a second try must repeat). */
  readonly choose: () => Value;
  /** Does the work with these ids; may run again, also at the same time. */
  readonly work: (value: Value) => Promise<Result>;
  /**
   * Takes back what a refused request has made, in this try and in those before it that came to no answer: nobody has
   * heard of it. Only where `work` does not see to that itself; may run again.
   */
  readonly undo?: (value: Value) => Promise<void>;
  /** Shows what an earlier call with the token has made. */
  readonly again: (value: Value) => Promise<Result>;
}

export class ClientTokens implements AsyncDisposable {
  private constructor(readonly table: Table<Claim>) {}

  static async open(bus: Bus, bucket: string, log: Log): Promise<ClientTokens> {
    return new ClientTokens(await Table.open<Claim>(bus, bucket, log));
  }

  /**
   * Does the work of a request once for each client token; without a token simply does it.
   * @throws AwsError `IdempotentParameterMismatch` for a token that was used with other parameters, or whose
   * resource is no more
   */
  async once<Value, Result>(
    context: CallContext,
    request: TokenWork<Value, Result>,
  ): Promise<Result> {
    const token = request.input.ClientToken;
    if (token === undefined || token === "") {
      const value = request.choose();
      return await request.work(value).catch(async (error) => {
        if (isRefusal(error)) await request.undo?.(value);
        throw error;
      });
    }
    if (token.length > longest || !/^[\x21-\x7e]*$/.test(token)) {
      throw invalidValue(
        `The client token may have ${longest} ASCII characters without blanks at most`,
      );
    }
    const key = `${context.account_id}.${request.action}.${hash(token)}`;
    const parameters = hash(
      canonical({ ...request.input, ClientToken: undefined, DryRun: undefined }),
    );
    const claim = await this.#claim(key, parameters, request.choose);
    if (claim.parameters !== parameters) {
      throw new AwsError(
        "IdempotentParameterMismatch",
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
      );
    }
    const value = claim.value as Value;
    if (claim.state === "done") return await shownAgain(() => request.again(value));
    try {
      const result = await request.work(value);
      await this.table.modify(key, (now) => ({ ...(now ?? claim), state: "done" }));
      return result;
    } catch (error) {
      if (isRefusal(error)) await this.#giveBack(key, () => request.undo?.(value));
      throw error;
    }
  }

  async #claim(key: string, parameters: string, choose: () => unknown): Promise<Claim> {
    for (;;) {
      const present = this.table.get(key) ?? await this.table.read(key);
      if (present !== undefined) {
        if (Date.now() - present.value.claimed_ms <= kept_ms) return present.value;
        await this.table.delete(key, present.revision).catch(ignoreConflict);
        continue;
      }
      try {
        const row = await this.table.create(key, {
          parameters,
          state: "begun",
          value: choose(),
          claimed_ms: Date.now(),
        });
        return row.value;
      } catch (error) {
        ignoreConflict(error);
      }
    }
  }

  /** A refused request leaves its token free, unless another one with it has succeeded meanwhile. */
  async #giveBack(key: string, undo: () => Promise<void> | undefined): Promise<void> {
    const row = await this.table.read(key);
    if (row?.value.state !== "begun") return;
    // The claim knows of what was made until nothing of it is left.
    await undo();
    await this.table.delete(key, row.revision).catch(ignoreConflict);
  }

  /** Forgets claims that are older than a day. */
  async expire(): Promise<void> {
    for (const row of this.table.list()) {
      if (Date.now() - row.value.claimed_ms > kept_ms) {
        await this.table.delete(row.key, row.revision).catch(ignoreConflict);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.table[Symbol.asyncDispose]();
  }
}

const isRefusal = (error: unknown) => error instanceof AwsError && error.status < 500;

/** What a token has made may be gone since: the token is used up, and its holder has to take another one. */
async function shownAgain<Result>(again: () => Promise<Result>): Promise<Result> {
  try {
    return await again();
  } catch (error) {
    if (!(error instanceof AwsError) || !error.code.endsWith("NotFound")) throw error;
    throw new AwsError(
      "IdempotentParameterMismatch",
      "The client token you have provided is associated with a resource that is already deleted. Please use a different client token for the new request.",
      { cause: error },
    );
  }
}

function ignoreConflict(error: unknown): void {
  if (!(error instanceof Conflict)) throw error;
}
