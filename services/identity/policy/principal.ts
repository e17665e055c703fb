/**
 * The `Principal` element of a policy that belongs to a resource or a role: who it speaks of.
 *
 * It knows `"*"`, accounts (by number or as `…:root`), users, roles and sessions by their full ARN,
 * and services such as `ec2.amazonaws.com`. There are no wildcards inside an ARN, as on AWS.
 */

export interface Principals {
  /** Everybody; then the rest is empty. */
  readonly everybody: boolean;
  /** Ids of whole accounts. */
  readonly accounts: readonly string[];
  /** ARNs of users, roles and sessions, and in policies that mean somebody's id such ids (see trusted_ids.ts). */
  readonly arns: readonly string[];
  readonly services: readonly string[];
  /** The statement speaks of everybody but these. */
  readonly negated: boolean;
}

/** Who asks, as a resource's policy sees it. */
export interface Asker {
  readonly account_id: string;
  /** Its own; who signs nothing has none. */
  readonly arn?: string;
  /** Of a user. */
  readonly user_id?: string;
  /** Of a role's session: the role, by which it is known too. */
  readonly role_arn?: string;
  readonly role_id?: string;
  /** Of a role's session. */
  readonly session_id?: string;
  /** Of a service that asks for itself; it has no account then. */
  readonly service?: string;
}

/** How a statement names the asker, from the weakest to the strongest. */
export const namings = ["not", "by_account", "as_anybody", "by_role", "by_itself"] as const;
export type Naming = typeof namings[number];

const account = /^\d{12}$/;
const root = /^arn:aws:iam::(\d{12}):root$/;
const identity =
  /^arn:aws:(iam::\d{12}:(user|role)\/[\x21-\x7e]+|sts::\d{12}:(assumed-role|federated-user)\/[\x21-\x7e]+)$/;
const service = /^[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com$/;

/** @throws RangeError when it is malformed; the message says how */
export function parsePrincipals(element: unknown, negated: boolean): Principals {
  const found = { accounts: [] as string[], arns: [] as string[], services: [] as string[] };
  let everybody = element === "*";
  if (!everybody) {
    if (typeof element !== "object" || element === null || Array.isArray(element)) {
      throw new RangeError(`Principal must be "*" or an object`);
    }
    const kinds = Object.entries(element);
    if (kinds.length === 0) throw new RangeError("Principal names nobody");
    for (const [kind, given] of kinds) {
      for (const one of Array.isArray(given) ? given : [given]) {
        if (typeof one !== "string") throw new RangeError(`a ${kind} principal must be text`);
        if (kind === "AWS") everybody = addIdentity(one, found) || everybody;
        else if (kind === "Service" && service.test(one)) found.services.push(one);
        else throw new RangeError(`"${one}" is no ${kind} principal that this cloud knows`);
      }
    }
  }
  return { everybody, ...found, negated };
}

/** Returns whether it is everybody. */
function addIdentity(
  text: string,
  to: { readonly accounts: string[]; readonly arns: string[] },
): boolean {
  if (text === "*") return true;
  const whole = account.test(text) ? text : root.exec(text)?.[1];
  if (whole !== undefined) to.accounts.push(whole);
  else if (identity.test(text)) to.arns.push(text);
  else throw new RangeError(`"${text}" is no principal; write an account, or a full ARN`);
  return false;
}

/** How the element of a statement with that effect names the asker. */
export function naming(principals: Principals, asker: Asker, effect: "Allow" | "Deny"): Naming {
  const named = plainNaming(principals, asker);
  if (!principals.negated) return named;
  // Whoever is named at all is not allowed; from a denial only those are left out who are named whole.
  const leftOut = effect === "Allow" ? named !== "not" : isNamedWhole(principals, asker);
  return leftOut ? "not" : "as_anybody";
}

/**
 * Whether everything that the asker is stands in the list: its account, and besides the root the user or role itself.
 * An account alone is its root and not all who are in it, and a user without its account is nobody, as on AWS.
 */
function isNamedWhole(principals: Principals, asker: Asker): boolean {
  const { everybody, accounts, arns, services } = principals;
  if (everybody) return true;
  const { service, arn, user_id, role_arn, role_id, account_id } = asker;
  if (service !== undefined) return services.includes(service);
  if (arn === undefined || !accounts.includes(account_id)) return false;
  const [itsArn, itsId] = role_arn === undefined ? [arn, user_id] : [role_arn, role_id];
  return root.test(arn) || arns.includes(itsArn) ||
    (itsId !== undefined && arns.includes(itsId));
}

function plainNaming({ arns, accounts, everybody, services }: Principals, asker: Asker): Naming {
  const { service, arn, user_id, role_arn, role_id, session_id, account_id } = asker;
  const names = (...texts: readonly (string | undefined)[]) =>
    texts.some((text) => text !== undefined && arns.includes(text));
  if (service !== undefined) return services.includes(service) ? "by_itself" : "not";
  if (names(arn, user_id, session_id)) return "by_itself";
  if (names(role_arn, role_id)) return "by_role";
  if (everybody) return "as_anybody";
  return accounts.includes(account_id) ? "by_account" : "not";
}
