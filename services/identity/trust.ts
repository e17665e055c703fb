/** Who may take a role: the role's trust policy, weighed with what the caller's own policies say. */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeRequest } from "./contract.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { type Decision, evaluateAll, evaluateResource } from "./policy/evaluate.ts";
import type { Asker } from "./policy/principal.ts";
import { askerOf, contextOf, type Principal } from "./principals.ts";
import { policySetsOf } from "./decisions.ts";
import { roleArn, type RoleRecord } from "./records.ts";
import type { State } from "./state.ts";

const parsed = new WeakMap<RoleRecord, Policy>();

function trustOf(role: RoleRecord): Policy {
  let policy = parsed.get(role);
  if (policy === undefined) {
    policy = parsePolicy(role.trust, "trust");
    parsed.set(role, policy);
  }
  return policy;
}

/**
 * A caller of the role's own account that the trust policy names by its ARN needs no permission of its
 * own, unless something denies it; one that is trusted through its account does, and one of another
 * account always.
 */
export function mayAssume(
  state: State,
  role: RoleRecord,
  caller: Principal,
  conditions: AuthorizeRequest["conditions"],
  call: CallContext,
): Decision {
  const request = {
    action: "sts:AssumeRole",
    resource: roleArn(role),
    context: contextOf(caller, conditions, call),
  };
  const trusted = evaluateResource(trustOf(role), askerOf(caller), request);
  if (trusted.decision !== "allowed") return trusted.decision;
  const own = evaluateAll(policySetsOf(state, caller), request);
  if (own === "explicit_deny") return own;
  const named = trusted.naming === "directly" && caller.account_id === role.account_id;
  return named ? "allowed" : own;
}

/** Whether the role trusts a service, for example `ec2.amazonaws.com`. */
export function trustsService(role: RoleRecord, service: string): boolean {
  const asker: Asker = { account_id: "", arns: [], service };
  const request = {
    action: "sts:AssumeRole",
    resource: roleArn(role),
    context: new Map([["aws:principalisawsservice", ["true"]]]),
  };
  return evaluateResource(trustOf(role), asker, request).decision === "allowed";
}
