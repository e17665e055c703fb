/**
 * Whom the policy of a role or another resource means: the user or role that had the ARN when the policy was written. Kept
 * is that one's id beside the document, so that somebody made later under the name is not trusted, and one that
 * was renamed still is. As on AWS the policy shows the id in place of the ARN once its owner is gone.
 *
 * A session of a role is known by the role's id and the session's name. A federated user's session is made from nothing but a
 * name: only its account must be there. An ARN or account that is nobody's is refused, as on AWS. In policies of
 * earlier releases ARNs are ARNs.
 */
import { AwsError } from "../aws/errors.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { assumedRoleArn, nameKey, roleArn, userArn } from "./records.ts";
import type { State } from "./state.ts";

/** An ARN in a policy to the id of whoever had it then. */
export type TrustedIds = Readonly<Record<string, string>>;

/** A policy and whom it means. */
interface Written {
  readonly document: string;
  readonly trusted?: TrustedIds | undefined;
}

/** Nothing else is any user's or role's, nor fit to be part of a key. */
const arnForm = /^arn:aws:iam::(\d{12}):(user|role)\/(?:.*\/)?([\w+=,.@-]{1,64})$/;

/** Read from the store: this node may not have heard yet who has the name since a moment ago. */
async function idOf(state: State, arn: string): Promise<string | undefined> {
  const [, account, kind, name] = arnForm.exec(arn) ?? [];
  if (account === undefined || name === undefined) return undefined;
  const key = nameKey(account, name);
  // The path is part of the name by which policies know somebody.
  if (kind === "user") {
    const user = (await state.users.read(key))?.value;
    return user !== undefined && userArn(user) === arn ? user.user_id : undefined;
  }
  const role = (await state.roles.read(key))?.value;
  return role !== undefined && roleArn(role) === arn ? role.role_id : undefined;
}

const roleSession = /^arn:aws:sts::(\d{12}):assumed-role\/([\w+=,.@-]{1,64})\/([\w+=,.@-]{2,64})$/;
const federatedSession = /^arn:aws:sts::(\d{12}):federated-user\/[\w+=,.@-]{2,32}$/;

/** Of a role's session: it need not be there now, but its role. */
async function sessionIdOf(state: State, arn: string): Promise<string | undefined> {
  const [, account, name, session] = roleSession.exec(arn) ?? [];
  if (account === undefined || name === undefined) return undefined;
  const role = (await state.roles.read(nameKey(account, name)))?.value;
  return role?.name === name ? `${role.role_id}:${session}` : undefined;
}

const isAccount = async (state: State, account: string) =>
  (state.account(account) ?? await state.accounts.read(account)) !== undefined;

/**
 * What is kept beside a policy that is written now.
 * @throws AwsError `MalformedPolicyDocument` when it names who is not there
 */
export async function trustedIds(
  state: State,
  document: string,
  kind: "trust" | "resource" = "trust",
): Promise<{ readonly trusted: TrustedIds }> {
  const trusted = new Map<string, string>();
  for (const { principals } of parsePolicy(document, kind).statements) {
    for (const account of principals?.accounts ?? []) {
      if (!await isAccount(state, account)) throw unknown(account);
    }
    for (const arn of principals?.arns ?? []) {
      const [, federatedBy] = federatedSession.exec(arn) ?? [];
      if (federatedBy !== undefined && await isAccount(state, federatedBy)) continue;
      const id = await idOf(state, arn) ?? await sessionIdOf(state, arn);
      if (id === undefined) throw unknown(arn);
      trusted.set(arn, id);
    }
  }
  return { trusted: Object.fromEntries(trusted) };
}

const unknown = (principal: string) =>
  new AwsError("MalformedPolicyDocument", `Invalid principal in policy: "AWS":"${principal}"`);

/** The policy with ids in place of the ARNs that have one. */
export function withIds(policy: Policy, trusted: TrustedIds = {}): Policy {
  return {
    statements: policy.statements.map((one) =>
      one.principals === undefined ? one : {
        ...one,
        principals: {
          ...one.principals,
          arns: one.principals.arns.map((arn) => trusted[arn] ?? arn),
        },
      }
    ),
  };
}

/** The ARN that whoever has the id has now, or the id of who is no more. */
function arnNow(state: State, id: string): string {
  const user = state.userById(id)?.value;
  if (user !== undefined) return userArn(user);
  const [roleId = "", session] = id.split(":");
  const role = state.roleById(roleId)?.value;
  if (role === undefined) return id;
  return session === undefined ? roleArn(role) : assumedRoleArn(role, session);
}

/** A policy as it was given, but for those whose ARN is another one now or nobody's. */
export function shownPolicy(state: State, { document, trusted = {} }: Written): string {
  const changed = new Map(
    Object.entries(trusted).map(([arn, id]) => [arn, arnNow(state, id)] as const)
      .filter(([arn, now]) => arn !== now),
  );
  if (changed.size === 0) return document;
  const shown = (one: unknown) => typeof one === "string" ? changed.get(one) ?? one : one;
  return JSON.stringify(
    JSON.parse(document),
    (member, value) =>
      member !== "AWS" ? value : Array.isArray(value) ? value.map(shown) : shown(value),
  );
}
