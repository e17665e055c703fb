/**
 * Whom a role's trust policy means: the user or role that had the ARN when the policy was written. Kept is
 * that one's id beside the document, so that somebody made later under the name is not trusted, and one that
 * was renamed still is. As on AWS the policy shows the id in place of the ARN once its owner is gone.
 *
 * An ARN that was nobody's when it was written stays an ARN, as do those of roles of earlier releases.
 */
import { parsePolicy, type Policy } from "./policy/document.ts";
import { roleArn, type RoleRecord, userArn } from "./records.ts";
import type { State } from "./state.ts";

type Ids = Readonly<Record<string, string>>;

function idOf(state: State, arn: string): string | undefined {
  const [, account = "", kind, name = ""] =
    /^arn:aws:iam::(\d{12}):(user|role)\/(?:.*\/)?([^/]+)$/.exec(arn) ?? [];
  // The path is part of the name by which policies know somebody.
  if (kind === "user") {
    const user = state.user(account, name)?.value;
    return user !== undefined && userArn(user) === arn ? user.user_id : undefined;
  }
  const role = kind === "role" ? state.role(account, name)?.value : undefined;
  return role !== undefined && roleArn(role) === arn ? role.role_id : undefined;
}

/** What is kept beside a trust policy that is written now. */
export function trustedIds(state: State, trust: string): { readonly trusted: Ids } {
  const arns = parsePolicy(trust, "trust").statements.flatMap((one) => one.principals?.arns ?? []);
  return {
    trusted: Object.fromEntries(arns.flatMap((arn) => {
      const id = idOf(state, arn);
      return id === undefined ? [] : [[arn, id]];
    })),
  };
}

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
