/**
 * Whom a role's trust policy means: the user or role that had the ARN when the policy was written. Kept is
 * that one's id beside the document, so that somebody made later under the name is not trusted, and one that
 * was renamed still is. As on AWS the policy shows the id in place of the ARN once its owner is gone.
 *
 * An ARN or account that is nobody's is refused, as on AWS. In policies of earlier releases ARNs are ARNs.
 */
import { AwsError } from "../aws/errors.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { nameKey, roleArn, type RoleRecord, userArn } from "./records.ts";
import type { State } from "./state.ts";

type Ids = Readonly<Record<string, string>>;

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

const isSession = (arn: string) => arn.startsWith("arn:aws:sts:");

/**
 * What is kept beside a trust policy that is written now.
 * @throws AwsError `MalformedPolicyDocument` when it names who is not there
 */
export async function trustedIds(
  state: State,
  trust: string,
): Promise<{ readonly trusted: Ids }> {
  const trusted = new Map<string, string>();
  for (const { principals } of parsePolicy(trust, "trust").statements) {
    for (const account of principals?.accounts ?? []) {
      const row = state.account(account) ?? await state.accounts.read(account);
      if (row === undefined) throw unknown(account);
    }
    for (const arn of principals?.arns ?? []) {
      if (isSession(arn)) continue;
      const id = await idOf(state, arn);
      if (id === undefined) throw unknown(arn);
      trusted.set(arn, id);
    }
  }
  return { trusted: Object.fromEntries(trusted) };
}

const unknown = (principal: string) =>
  new AwsError("MalformedPolicyDocument", `Invalid principal in policy: "AWS":"${principal}"`);

/** The policy with ids in place of the ARNs that have one. */
export function withIds(policy: Policy, trusted: Ids = {}): Policy {
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
  const role = state.roleById(id)?.value;
  return role === undefined ? id : roleArn(role);
}

/** The trust policy as it was given, but for those whose ARN is another one now or nobody's. */
export function shownTrust(state: State, { trust, trusted = {} }: RoleRecord): string {
  const changed = new Map(
    Object.entries(trusted).map(([arn, id]) => [arn, arnNow(state, id)] as const)
      .filter(([arn, now]) => arn !== now),
  );
  if (changed.size === 0) return trust;
  const shown = (one: unknown) => typeof one === "string" ? changed.get(one) ?? one : one;
  return JSON.stringify(
    JSON.parse(trust),
    (member, value) =>
      member !== "AWS" ? value : Array.isArray(value) ? value.map(shown) : shown(value),
  );
}
