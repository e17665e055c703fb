/**
 * Pages that stay stable while things change: a token names the last key that was shown, not a
 * count, so that what is made or deleted between two pages neither repeats nor hides another record.
 *
 * A token is bound to the account, the action and the filters that it was made for, and is refused
 * with anything else. It grants nothing: it holds no more than a position in the caller's own list.
 */
import { createHash } from "node:crypto";
import { AwsError } from "../aws/errors.ts";
import type { CallContext } from "../bus/subject.ts";
import { invalidCombination, invalidValue } from "./errors.ts";
import type { ActionName } from "./wire.ts";

export interface PageLimits {
  readonly minimum: number;
  readonly maximum: number;
  /** EC2 refuses what is above the maximum of some actions and caps it for others. */
  readonly above: "refuse" | "cap";
  /** A size of 0 is none: some clients send it for the usual one. */
  readonly zeroIsNone?: true;
  /** As AWS's message names the parameter of ids: `volumeSet`. Absent where ids may be paged. */
  readonly idsParameter?: string;
}

export const usualLimits: PageLimits = { minimum: 5, maximum: 1000, above: "refuse" };

/** Everything that decides which records a query shows. */
export interface Query {
  readonly account: string;
  readonly action: string;
  readonly parameters: unknown;
}

/** What an API says to a token that it did not give for this request. */
export type ErrorOfToken = () => AwsError;
const invalidToken: ErrorOfToken = () =>
  new AwsError("InvalidNextToken", "The specified NextToken is not valid for this request");

function fingerprint(query: Query): string {
  const text = JSON.stringify([query.account, query.action, query.parameters ?? null]);
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}

function seal(bound: string, lastKey: string): string {
  return createHash("sha256").update(`${bound} ${lastKey}`).digest("base64url").slice(0, 11);
}

export function makeToken(query: Query, lastKey: string): string {
  const bound = fingerprint(query);
  const text = JSON.stringify([1, seal(bound, lastKey), lastKey]);
  return new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });
}

/** The key after which the page begins. @throws AwsError `InvalidNextToken` unless told otherwise */
export function readToken(query: Query, token: string, refused = invalidToken): string {
  if (token.length > 2048) throw refused();
  let parsed: unknown;
  try {
    parsed = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(
        Uint8Array.fromBase64(token, { alphabet: "base64url" }),
      ),
    );
  } catch {
    throw refused();
  }
  if (!Array.isArray(parsed) || parsed.length !== 3 || parsed[0] !== 1) throw refused();
  const [, sealed, lastKey] = parsed;
  if (typeof lastKey !== "string" || sealed !== seal(fingerprint(query), lastKey)) {
    throw refused();
  }
  return lastKey;
}

/**
 * How many records a page may have.
 * @throws AwsError `InvalidParameterValue` out of range, `InvalidParameterCombination` with ids
 */
export function pageSize(
  maxResults: number | undefined,
  limits: PageLimits,
  hasIds: boolean,
): number {
  if (maxResults === undefined || (maxResults === 0 && limits.zeroIsNone === true)) {
    return limits.maximum;
  }
  if (hasIds && limits.idsParameter !== undefined) {
    throw invalidCombination(
      `The parameter ${limits.idsParameter} cannot be used with the parameter maxResults`,
    );
  }
  if (maxResults < limits.minimum) {
    throw invalidValue(
      `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting a value greater than ${limits.minimum}.`,
    );
  }
  if (maxResults > limits.maximum) {
    if (limits.above === "cap") return limits.maximum;
    throw invalidValue(
      `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting a value less than or equal to ${limits.maximum}.`,
    );
  }
  return maxResults;
}

/** The members of an EC2 request that choose a page. */
export interface PageRequest {
  readonly MaxResults?: number | undefined;
  readonly NextToken?: string | undefined;
}

/** A page of what an EC2 request asks for and no table holds: `items` in the order of their `key`s. */
export function pageOf<T>(
  items: Iterable<T>,
  key: (item: T) => string,
  request: {
    readonly action: ActionName;
    /** All of it but the page decides which items are shown. */
    readonly input: PageRequest;
    readonly call: Pick<CallContext, "account_id">;
    readonly limits?: PageLimits;
    readonly hasIds?: boolean;
  },
): ItemPage<T> {
  const { MaxResults, NextToken, ...others } = request.input;
  return pageAfter(
    items,
    key,
    {
      account: request.call.account_id,
      action: request.action,
      // A client may send the parameters of its next request in another order.
      parameters: Object.entries(others).sort(([a], [b]) => a < b ? -1 : 1),
    },
    pageSize(MaxResults, request.limits ?? usualLimits, request.hasIds ?? false),
    NextToken,
  );
}

export interface ItemPage<T> {
  readonly items: T[];
  readonly nextToken?: string;
}

/** The same for APIs that name size and token in another way than EC2. */
export function pageAfter<T>(
  items: Iterable<T>,
  key: (item: T) => string,
  query: Query,
  size: number,
  nextToken: string | undefined,
  refused?: ErrorOfToken,
): ItemPage<T> {
  const after = nextToken === undefined ? "" : readToken(query, nextToken, refused);
  const page: T[] = [];
  const later = [...items].filter((item) => key(item) > after)
    .sort((a, b) => key(a) < key(b) ? -1 : 1);
  for (const item of later) {
    if (page.length === size) {
      return { items: page, nextToken: makeToken(query, key(page.at(-1) as T)) };
    }
    page.push(item);
  }
  return { items: page };
}
