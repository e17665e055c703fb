/** Who an ARN, an access key or a session speaks for, and how policies see that one. */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeRequest } from "./contract.ts";
import type { Context } from "./policy/pattern.ts";
import type { Asker } from "./policy/principal.ts";
import {
  assumedRoleArn,
  federatedUserArn,
  type KeyRecord,
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
  const { account_id, arn } = who;
  return who.kind === "role"
    ? {
      ...{ account_id, arn, role_arn: roleArn(who.role), role_id: who.role.role_id },
      session_id: who.id,
    }
    : { account_id, arn, ...(who.kind === "user" ? { user_id: who.user.user_id } : {}) };
}

const principalTypes = {
  root: "Account",
  user: "User",
  role: "AssumedRole",
  federated: "FederatedUser",
} as const;

type MadeContext = Map<string, readonly string[]>;

/** What the request gives, under what is known here, which wins. */
function contextFrom(
  given: AuthorizeRequest["conditions"],
  call: CallContext,
  known: Readonly<Record<string, string>>,
): MadeContext {
  const context: MadeContext = new Map();
  for (const [key, value] of Object.entries(given ?? {})) {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    context.set(key.toLowerCase(), values.map(String));
  }
  const now = new Date();
  const own = {
    "aws:currenttime": now.toISOString(),
    "aws:epochtime": String(Math.floor(now.getTime() / 1000)),
    "aws:sourceip": call.source_ip,
    "aws:requestedregion": call.region,
    // The doors speak TLS only, and no service calls another in somebody's name.
    "aws:securetransport": "true",
    "aws:viaawsservice": "false",
    "aws:principalisawsservice": "false",
    ...known,
  };
  for (const [key, value] of Object.entries(own)) {
    if (value === "") context.delete(key);
    else context.set(key, [value]);
  }
  return context;
}

/** Nothing is known of who it is, and nothing of it can be claimed. */
export function anonymousContext(
  given: AuthorizeRequest["conditions"],
  call: CallContext,
): Context {
  const context = contextFrom(given, call, {
    "aws:principaltype": "Anonymous",
    "aws:userid": "anonymous",
  });
  for (const key of context.keys()) {
    if (
      /^aws:(principal(account|arn|tag\/.*)|username|sourceidentity|tokenissuetime|multifactor.*)$/
        .test(key)
    ) {
      context.delete(key);
    }
  }
  return context;
}

export function contextOf(
  who: Principal,
  given: AuthorizeRequest["conditions"],
  call: CallContext,
): Context {
  const context = contextFrom(given, call, {
    "aws:principalaccount": who.account_id,
    "aws:principalarn": who.kind === "role" ? roleArn(who.role) : who.arn,
    "aws:principaltype": principalTypes[who.kind],
    "aws:userid": who.id,
    "aws:username": who.user?.name ?? "",
    "aws:tokenissuetime": who.session?.created ?? "",
    "aws:multifactorauthpresent": who.session === undefined ? "" : "false",
    "aws:sourceidentity": who.session?.source_identity ?? "",
  });
  const holder = who.kind === "role" ? who.role : who.user;
  for (const [name, value] of Object.entries({ ...holder?.tags, ...who.session?.tags })) {
    context.set(`aws:principaltag/${name.toLowerCase()}`, [value]);
  }
  return context;
}
