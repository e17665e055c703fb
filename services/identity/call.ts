/**
 * How IAM and STS actions are answered: the caller is found again from the gateway's context, asked
 * for permission on exactly the resource that the action touches, and only then served.
 */
import { AwsError } from "../aws/errors.ts";
import type { CallContext } from "../bus/subject.ts";
import type { Wire } from "../resources/wire.ts";
import type { MasterKeys } from "./credentials/master_key.ts";
import { type Principal, principalOf } from "./principals.ts";
import { decide } from "./decisions.ts";
import { rootArn, type State, userArn, type UserRecord } from "./state.ts";

/** An SDK command's input or output as it travels on the bus; absent members are left away. */
export type OnBus<T> = Omit<Wire<T>, "$metadata">;

export interface Call {
  readonly state: State;
  readonly masterKeys: MasterKeys;
  readonly caller: Principal;
  readonly context: CallContext;
}

/** @throws AwsError `AccessDenied` when nobody who exists is calling */
export function callOf(state: State, masterKeys: MasterKeys, context: CallContext): Call {
  const caller = principalOf(state, context.principal_arn, context.access_key_id);
  if (caller === undefined || caller.account_id !== context.account_id) {
    throw new AwsError("AccessDenied", "The caller does not exist or may not act.", {
      status: 403,
    });
  }
  return { state, masterKeys, caller, context };
}

/** @throws AwsError `AccessDenied` */
export function demand(call: Call, action: string, resource: string): void {
  const decision = decide(call.state, call.caller, { action, resource }, call.context);
  if (decision !== "allowed") throw denied(call, action, resource, decision);
}

/** The refusal of an action on a resource, in AWS's words. */
export function denied(
  call: Call,
  action: string,
  resource: string,
  decision: "explicit_deny" | "implicit_deny",
): AwsError {
  const why = decision === "explicit_deny"
    ? "with an explicit deny in an identity-based policy"
    : `because no identity-based policy allows the ${action} action`;
  return new AwsError(
    "AccessDenied",
    `User: ${call.caller.arn} is not authorized to perform: ${action} on resource: ${resource} ${why}`,
    { status: 403 },
  );
}

export const invalid = (message: string) => new AwsError("ValidationError", message);
export const noSuchEntity = (message: string) =>
  new AwsError("NoSuchEntity", message, { status: 404 });
export const noSuchUser = (name: string) =>
  noSuchEntity(`The user with name ${name} cannot be found.`);

/** @throws AwsError `ValidationError` */
export function checkName(name: unknown, what: string, limit: number): asserts name is string {
  if (typeof name !== "string" || name.length > limit || !/^[\w+=,.@-]+$/.test(name)) {
    throw invalid(
      `The specified value for ${what} is invalid. It must contain only alphanumeric characters ` +
        `and/or the following: +=,.@_-, and be at most ${limit} characters long.`,
    );
  }
}

/**
 * The user that an action is about: the one named, or the caller itself; undefined when that is the
 * account's root. Permission is asked for before it is told whether the user exists.
 * @throws AwsError `ValidationError`, `AccessDenied`, `NoSuchEntity`
 */
export function targetUser(
  call: Call,
  action: string,
  name: string | undefined,
): UserRecord | undefined {
  const { caller } = call;
  if (name === undefined) {
    if (caller.kind === "role" || caller.kind === "federated") {
      throw invalid("Must specify userName when calling with non-User credentials");
    }
    demand(call, action, caller.user === undefined ? rootArn(caller.account_id) : caller.arn);
    return caller.user;
  }
  return namedUser(call, action, name);
}

function namedUser(call: Call, action: string, name: string): UserRecord {
  checkName(name, "userName", 128);
  const { account_id } = call.caller;
  const user = call.state.user(account_id, name)?.value;
  demand(
    call,
    action,
    user === undefined ? userArn({ account_id, path: "/", name }) : userArn(user),
  );
  if (user === undefined) throw noSuchUser(name);
  return user;
}

/** The user that an action names, which must be given. @throws AwsError as `targetUser` */
export function requiredUser(call: Call, action: string, name: string | undefined): UserRecord {
  if (name === undefined) throw invalid("The parameter userName is missing.");
  return namedUser(call, action, name);
}

/** @throws AwsError `ValidationError` */
export function checkPath(path: string): void {
  if (path.length > 512 || !/^\/([\x21-\x7e]+\/)?$/.test(path) || path.includes("//")) {
    throw invalid("The specified value for path is invalid: it must begin and end with /.");
  }
}

/** @throws AwsError `ValidationError` */
export function prefixOf(path: string | undefined): string {
  const prefix = path ?? "/";
  if (prefix.length > 512 || !/^\/[\x21-\x7e]*$/.test(prefix)) {
    throw invalid("The specified value for pathPrefix is invalid: it must begin with /.");
  }
  return prefix;
}

export const alreadyExists = (message: string, cause?: unknown) =>
  new AwsError("EntityAlreadyExists", message, { status: 409, cause });
export const overLimit = (message: string) =>
  new AwsError("LimitExceeded", message, { status: 409 });
export const deleteConflict = (message: string) =>
  new AwsError("DeleteConflict", message, { status: 409 });

/** What a page adds to an answer. */
export const pageEnd = (page: { readonly IsTruncated: boolean; readonly Marker?: string }) => ({
  IsTruncated: page.IsTruncated,
  ...(page.Marker === undefined ? {} : { Marker: page.Marker }),
});

export interface Page<T> {
  readonly items: readonly T[];
  readonly IsTruncated: boolean;
  readonly Marker?: string;
}

/**
 * One page of what is sorted by `keyOf`. The marker is the last key given, so that a page stays where
 * it was while others come and go.
 * @throws AwsError `ValidationError`
 */
export function pageOf<T>(
  all: readonly T[],
  keyOf: (item: T) => string,
  input: { readonly Marker?: string | undefined; readonly MaxItems?: number | undefined },
): Page<T> {
  const limit = input.MaxItems ?? 100;
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
    throw invalid("MaxItems must be a whole number from 1 to 1000.");
  }
  let after = "";
  if (input.Marker !== undefined) {
    try {
      after = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(input.Marker));
    } catch {
      throw invalid("Marker is not one that an earlier answer gave.");
    }
  }
  const rest = all.filter((item) => keyOf(item) > after);
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  if (items.length === rest.length || last === undefined) return { items, IsTruncated: false };
  return {
    items,
    IsTruncated: true,
    Marker: new TextEncoder().encode(keyOf(last)).toBase64(),
  };
}
