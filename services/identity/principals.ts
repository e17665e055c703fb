/**
 * Who a principal ARN names, and what that principal may.
 *
 * The account's root may all in its account. A user may what its policies and its groups' say, a role
 * what its policies say, each bounded by its permissions boundary and, in a session, by the session's
 * policies: all of them must allow. Decided from the newest state that this process knows; who is gone,
 * suspended or expired may nothing. Nobody may anything on a resource of another account.
 */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeDecision, AuthorizeRequest } from "./contract.ts";
import { policyByArn } from "./managed_policies.ts";
import { weighResource } from "./resource_policy.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { allowsEverywhere, type Decision, evaluateAll } from "./policy/evaluate.ts";
import type { Context } from "./policy/pattern.ts";
import type { Asker } from "./policy/principal.ts";
import {
  assumedRoleArn,
  federatedUserArn,
  type KeyRecord,
  type PolicyHolder,
  roleArn,
  type RoleRecord,
  rootArn,
  rootOwner,
  type SessionRecord,
  type State,
  userArn,
  type UserRecord,
} from "./state.ts";

interface Who {
  readonly account_id: string;
  readonly arn: string;
  /** The user's id; the account's of its root; `AROA…:name` of a role's session. */
  readonly id: string;
  /** The temporary credentials that speak for it. */
  readonly session?: SessionRecord;
}

export type Principal =
  | (Who & { readonly kind: "root"; readonly user?: undefined })
  | (Who & { readonly kind: "user"; readonly user: UserRecord })
  | (Who & { readonly kind: "role"; readonly role: RoleRecord; readonly user?: undefined })
  /** A session that a user or the root made for somebody else. */
  | (Who & { readonly kind: "federated"; readonly by: UserRecord | undefined; user?: undefined });

const isActive = (state: State, accountId: string) => state.account(accountId)?.status === "active";

export const rootPrincipal = (account_id: string): Principal => ({
  kind: "root",
  account_id,
  arn: rootArn(account_id),
  id: account_id,
});

const userPrincipal = (user: UserRecord): Principal => ({
  kind: "user",
  account_id: user.account_id,
  arn: userArn(user),
  id: user.user_id,
  user,
});

/** The user of that id, if it is of that account. */
function ownUser(state: State, accountId: string, userId: string): UserRecord | undefined {
  const user = state.userById(userId)?.value;
  return user?.account_id === accountId ? user : undefined;
}

/** Whom temporary credentials speak for, while they last and that one exists. */
export function principalOfSession(
  state: State,
  session: SessionRecord,
  now_ms = Date.now(),
): Principal | undefined {
  const { account_id, owner, name } = session;
  if (session.expires_ms <= now_ms || !isActive(state, account_id)) return undefined;
  if (session.kind === "role") {
    const role = state.roleById(owner)?.value;
    if (role?.account_id !== account_id) return undefined;
    const arn = assumedRoleArn(role, name);
    return { kind: "role", account_id, arn, id: `${role.role_id}:${name}`, role, session };
  }
  const user = owner === rootOwner ? undefined : ownUser(state, account_id, owner);
  if (owner !== rootOwner && user === undefined) return undefined;
  if (session.kind === "federated") {
    const arn = federatedUserArn(account_id, name);
    return { kind: "federated", account_id, arn, id: `${account_id}:${name}`, by: user, session };
  }
  return { ...(user === undefined ? rootPrincipal(account_id) : userPrincipal(user)), session };
}

/**
 * The principal that an ARN names, if it exists and its account is active; with temporary credentials
 * it is whom those speak for.
 */
export function principalOf(
  state: State,
  arn: string,
  accessKeyId = "",
): Principal | undefined {
  if (accessKeyId.startsWith("ASIA")) {
    const session = state.sessions.get(accessKeyId)?.value;
    const who = session === undefined ? undefined : principalOfSession(state, session);
    return who?.arn === arn ? who : undefined;
  }
  const match = /^arn:aws:iam::(\d{12}):(root|user\/(?:.*\/)?([^/]+))$/.exec(arn);
  const accountId = match?.[1] ?? "";
  if (!isActive(state, accountId)) return undefined;
  if (match?.[2] === "root") return rootPrincipal(accountId);
  const user = state.user(accountId, match?.[3] ?? "")?.value;
  // The path is part of the name by which policies know a user.
  return user !== undefined && userArn(user) === arn ? userPrincipal(user) : undefined;
}

/** Whose an access key is, if the owner exists and its account is active. */
export function ownerOf(state: State, key: KeyRecord): Principal | undefined {
  if (!isActive(state, key.account_id)) return undefined;
  if (key.owner === rootOwner) return rootPrincipal(key.account_id);
  const user = ownUser(state, key.account_id, key.owner);
  return user === undefined ? undefined : userPrincipal(user);
}

/** As the policy of a role or another resource sees it. */
export function askerOf(who: Principal): Asker {
  const arns = who.kind === "role" ? [who.arn, roleArn(who.role)] : [who.arn];
  return { account_id: who.account_id, arns };
}

const denyAll = parsePolicy(
  JSON.stringify({ Statement: { Effect: "Deny", Action: "*", Resource: "*" } }),
);
const allowAll = parsePolicy(
  JSON.stringify({ Statement: { Effect: "Allow", Action: "*", Resource: "*" } }),
);

const inlineOf = new WeakMap<PolicyHolder | SessionRecord, readonly Policy[]>();

function parsedOnce(
  of: PolicyHolder | SessionRecord,
  documents: readonly string[],
): readonly Policy[] {
  let policies = inlineOf.get(of);
  if (policies === undefined) {
    policies = documents.map((document) => parsePolicy(document));
    inlineOf.set(of, policies);
  }
  return policies;
}

/** A policy that is not known could be one that denies: then nothing is allowed. */
const named = (state: State, arns: readonly string[]) =>
  arns.map((arn) => policyByArn(state, arn) ?? denyAll);

function policiesOf(state: State, holder: PolicyHolder): readonly Policy[] {
  return [
    ...named(state, holder.attached),
    ...parsedOnce(holder, Object.values(holder.inline)),
  ];
}

function policiesOfUser(state: State, user: UserRecord): readonly Policy[] {
  const groups = (user.groups ?? []).map((id) => state.groupById(id)?.value);
  return [user, ...groups].flatMap((one) =>
    // A group that is gone denied perhaps what nothing else does.
    one === undefined ? [denyAll] : policiesOf(state, one)
  );
}

/** The sets of policies of which each must allow. */
export function policySetsOf(state: State, who: Principal): readonly (readonly Policy[])[] {
  const sets: (readonly Policy[])[] = [];
  const bound = (holder: UserRecord | RoleRecord) => {
    if (holder.boundary !== undefined) sets.push(named(state, [holder.boundary]));
  };
  if (who.kind === "role") {
    sets.push(policiesOf(state, who.role));
    bound(who.role);
  } else {
    const user = who.kind === "federated" ? who.by : who.user;
    sets.push(user === undefined ? [allowAll] : policiesOfUser(state, user));
    if (user !== undefined) bound(user);
  }
  const { session } = who;
  if (session === undefined) return sets;
  const narrowed = [...named(state, session.policy_arns), ...parsedOnce(session, session.policies)];
  // A federated user without a policy of its own may nothing, on AWS as here.
  if (narrowed.length > 0 || who.kind === "federated") sets.push(narrowed);
  return sets;
}

const principalTypes = {
  root: "Account",
  user: "User",
  role: "AssumedRole",
  federated: "FederatedUser",
} as const;

export function contextOf(
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
    "aws:principalarn": who.kind === "role" ? roleArn(who.role) : who.arn,
    "aws:principaltype": principalTypes[who.kind],
    "aws:userid": who.id,
    "aws:username": who.user?.name ?? "",
    "aws:sourceip": call.source_ip,
    "aws:requestedregion": call.region,
    "aws:tokenissuetime": who.session?.created ?? "",
    "aws:multifactorauthpresent": who.session === undefined ? "" : "false",
    "aws:sourceidentity": who.session?.source_identity ?? "",
  };
  for (const [key, value] of Object.entries(own)) {
    if (value === "") context.delete(key);
    else context.set(key, [value]);
  }
  const holder = who.kind === "role" ? who.role : who.user;
  for (const [name, value] of Object.entries({ ...holder?.tags, ...who.session?.tags })) {
    context.set(`aws:principaltag/${name.toLowerCase()}`, [value]);
  }
  return context;
}

const resourceForm = /^(\*|arn:aws[a-z-]*:[^:\s]+:[^:\s]*:[^:\s]*:.+)$/s;

export function decide(
  state: State,
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
  if (who.kind === "root") return "allowed";
  return evaluateAll(policySetsOf(state, who), {
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
    ? principalOf(state, request.principal_arn, call.access_key_id)
    : undefined;
  const own = decide(state, who, request, call);
  const { resource_policy } = request;
  if (resource_policy !== undefined && who !== undefined) {
    const { decision, by_resource } = weighResource(who, own, resource_policy, request, call);
    if (decision === "allowed") return { allowed: true, by_resource };
    return { allowed: false, reason: decision };
  }
  const decision = own;
  if (decision !== "allowed" || who === undefined) {
    return { allowed: false, reason: decision === "allowed" ? "implicit_deny" : decision };
  }
  const { action, resource } = request;
  const everywhere = who.kind === "root" ||
    policySetsOf(state, who).every((set) =>
      allowsEverywhere(set, { action, resource, context: new Map() })
    );
  return everywhere ? { allowed: true, every_resource: true } : { allowed: true };
}
