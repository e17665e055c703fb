/** Who may take a role: the role's trust policy, weighed with what the caller's own policies say. */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeRequest } from "./contract.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { type Decision, evaluateAll, evaluateResource } from "./policy/evaluate.ts";
import type { Asker } from "./policy/principal.ts";
import { askerOf, contextOf, type Principal } from "./principals.ts";
import { policySetsOf } from "./decisions.ts";
import { isEnough } from "./resource_policy.ts";
import { roleArn, type RoleRecord } from "./records.ts";
import type { State } from "./state.ts";
import { withIds } from "./trusted_ids.ts";

const parsed = new WeakMap<RoleRecord, Policy>();

function trustOf(role: RoleRecord): Policy {
  let policy = parsed.get(role);
  if (policy === undefined) {
    policy = withIds(parsePolicy(role.trust, "trust"), role.trusted);
    parsed.set(role, policy);
  }
  return policy;
}

/**
 * A caller of the role's own account that the trust policy names by its ARN needs no permission of its
 * own, unless something denies it; nor does one that it names by the role that it has taken, within what
 * bounds that role and narrows the session. One that is trusted through its account needs one, and one of
 * another account always.
 *
 * Tags and a source identity that go with the session are actions of their own, asked for in the same way.
 */
export function mayAssume(
  state: State,
  role: RoleRecord,
  caller: Principal,
  action: "sts:AssumeRole" | "sts:TagSession" | "sts:SetSourceIdentity",
  conditions: AuthorizeRequest["conditions"],
  call: CallContext,
): Decision {
  const request = {
    action,
    resource: roleArn(role),
    context: contextOf(caller, conditions, call),
  };
  const trusted = evaluateResource(trustOf(role), askerOf(caller), request);
  if (trusted.decision !== "allowed") return trusted.decision;
  const [identity = [], ...limits] = policySetsOf(state, caller);
  const own = evaluateAll([identity, ...limits], request);
  if (own === "explicit_deny" || caller.account_id !== role.account_id) return own;
  // Whoever trusts anybody has named nobody.
  const named = trusted.naming !== "as_anybody" &&
    isEnough(trusted.naming, evaluateAll(limits, request));
  return named ? "allowed" : own;
}

/** Whether the role trusts a service, for example `ec2.amazonaws.com`. */
export function trustsService(role: RoleRecord, service: string): boolean {
  const asker: Asker = { account_id: "", service };
  const request = {
    action: "sts:AssumeRole",
    resource: roleArn(role),
    context: new Map([["aws:principalisawsservice", ["true"]]]),
  };
  return evaluateResource(trustOf(role), asker, request).decision === "allowed";
}
