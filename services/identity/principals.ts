/**
 * Who a principal ARN names, and what that principal may.
 *
 * The account's root may all in its account. A user may what its policies say, from the newest state
 * that this process knows; a user or account that is gone or suspended may nothing. Nobody may
 * anything on a resource of another account.
 */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeDecision, AuthorizeRequest } from "./contract.ts";
import { managedPolicies } from "./managed_policies.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { allowsEverywhere, type Decision, evaluate } from "./policy/evaluate.ts";
import type { Context } from "./policy/pattern.ts";
import {
  type KeyRecord,
  rootArn,
  rootOwner,
  type State,
  userArn,
  type UserRecord,
} from "./state.ts";

export interface Principal {
  readonly account_id: string;
  readonly arn: string;
  /** The user's id; the account's of its root. */
  readonly id: string;
  /** Undefined for the account's root. */
  readonly user: UserRecord | undefined;
}

function principal(account_id: string, user: UserRecord | undefined): Principal {
  return user === undefined
    ? { account_id, arn: rootArn(account_id), id: account_id, user }
    : { account_id, arn: userArn(user), id: user.user_id, user };
}

/** The principal that an ARN names, if it exists and its account is active. */
export function principalOf(state: State, arn: string): Principal | undefined {
  const match = /^arn:aws:iam::(\d{12}):(root|user\/(?:.*\/)?([^/]+))$/.exec(arn);
  const accountId = match?.[1] ?? "";
  if (state.account(accountId)?.status !== "active") return undefined;
  if (match?.[2] === "root") return principal(accountId, undefined);
  const user = state.user(accountId, match?.[3] ?? "")?.value;
  // The path is part of the name by which policies know a user.
  return user !== undefined && userArn(user) === arn ? principal(accountId, user) : undefined;
}

/** Whose an access key is, if the owner exists and its account is active. */
export function ownerOf(state: State, key: KeyRecord): Principal | undefined {
  if (state.account(key.account_id)?.status !== "active") return undefined;
  if (key.owner === rootOwner) return principal(key.account_id, undefined);
  const user = state.userById(key.owner)?.value;
  return user?.account_id === key.account_id ? principal(key.account_id, user) : undefined;
}

const parsed = new WeakMap<UserRecord, readonly Policy[]>();

function policiesOf(user: UserRecord): readonly Policy[] {
  let policies = parsed.get(user);
  if (policies === undefined) {
    policies = [
      // A policy that is not known could be one that denies: then nothing is allowed.
      ...user.attached.map((arn) => managedPolicies.get(arn)?.policy ?? denyAll),
      ...Object.values(user.inline).map((document) => parsePolicy(document)),
    ];
    parsed.set(user, policies);
  }
  return policies;
}

const denyAll = parsePolicy(
  JSON.stringify({ Statement: { Effect: "Deny", Action: "*", Resource: "*" } }),
);

function contextOf(
  who: Principal,
  given: AuthorizeRequest["conditions"],
  call: CallContext,
): Context {
  const context = new Map<string, readonly string[]>();
  for (const [key, value] of Object.entries(given ?? {})) {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    context.set(key.toLowerCase(), values.map(String));
  }
  const now = new Date();
  const own = {
    "aws:currenttime": now.toISOString(),
    "aws:epochtime": String(Math.floor(now.getTime() / 1000)),
    "aws:principalaccount": who.account_id,
    "aws:principalarn": who.arn,
    "aws:principaltype": who.user === undefined ? "Account" : "User",
    "aws:userid": who.id,
    "aws:username": who.user?.name ?? "",
    "aws:sourceip": call.source_ip,
    "aws:requestedregion": call.region,
  };
  for (const [key, value] of Object.entries(own)) {
    if (value === "") context.delete(key);
    else context.set(key, [value]);
  }
  for (const [name, value] of Object.entries(who.user?.tags ?? {})) {
    context.set(`aws:principaltag/${name.toLowerCase()}`, [value]);
  }
  return context;
}

const resourceForm = /^(\*|arn:aws[a-z-]*:[^:\s]+:[^:\s]*:[^:\s]*:.+)$/s;

export function decide(
  who: Principal | undefined,
  request: Omit<AuthorizeRequest, "principal_arn">,
  call: CallContext,
): Decision {
  if (who === undefined || typeof request.action !== "string") return "implicit_deny";
  // What is no action or no ARN matches no statement: not even one that denies, so it is refused.
  if (!/^[A-Za-z0-9-]+:[A-Za-z0-9]+$/.test(request.action)) return "implicit_deny";
  if (typeof request.resource !== "string" || !resourceForm.test(request.resource)) {
    return "implicit_deny";
  }
  const owner = request.resource.split(":")[4] ?? "";
  if (/^\d{12}$/.test(owner) && owner !== who.account_id) return "implicit_deny";
  if (who.user === undefined) return "allowed";
  return evaluate(policiesOf(who.user), {
    action: request.action,
    resource: request.resource,
    context: contextOf(who, request.conditions, call),
  });
}

export function authorizeRequest(
  state: State,
  request: AuthorizeRequest,
  call: CallContext,
): AuthorizeDecision {
  const who = typeof request?.principal_arn === "string"
    ? principalOf(state, request.principal_arn)
    : undefined;
  const decision = decide(who, request, call);
  if (decision !== "allowed" || who === undefined) {
    return { allowed: false, reason: decision === "allowed" ? "implicit_deny" : decision };
  }
  const { action, resource } = request;
  const everywhere = who.user === undefined ||
    allowsEverywhere(policiesOf(who.user), { action, resource, context: new Map() });
  return everywhere ? { allowed: true, every_resource: true } : { allowed: true };
}
