/**
 * Weighs the policy of a resource with what the caller's own policies say.
 *
 * A denial in either wins. Within the resource's own account one that allows is enough; a caller of
 * another account needs both. A policy that cannot be read denies: its owner may have meant it to.
 */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeDecision, AuthorizeRequest, ResourcePolicy } from "./contract.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { type Decision, evaluateResource } from "./policy/evaluate.ts";
import { anonymousContext, askerOf, contextOf, type Principal } from "./principals.ts";

const mending: ReadonlySet<string> = new Set([
  "s3:getbucketpolicy",
  "s3:putbucketpolicy",
  "s3:deletebucketpolicy",
]);
const mostParsed = 256;
const parsed = new Map<string, Policy | undefined>();

function policyOf(document: string): Policy | undefined {
  if (parsed.has(document)) return parsed.get(document);
  let policy: Policy | undefined;
  try {
    policy = parsePolicy(document, "resource");
  } catch {
    policy = undefined;
  }
  if (parsed.size >= mostParsed) parsed.clear();
  parsed.set(document, policy);
  return policy;
}

/** @param own what the caller's own policies say */
export function weighResource(
  who: Principal,
  own: Decision,
  of: ResourcePolicy,
  request: Pick<AuthorizeRequest, "action" | "resource" | "conditions">,
  call: CallContext,
): { readonly decision: Decision; readonly by_resource: boolean } {
  const local = of.account_id === who.account_id;
  // An account's root can always mend a policy that has locked everybody out.
  if (local && who.kind === "root" && mending.has(request.action.toLowerCase())) {
    return { decision: "allowed", by_resource: false };
  }
  const policy = policyOf(of.document);
  if (policy === undefined) return { decision: "explicit_deny", by_resource: false };
  const said = evaluateResource(policy, askerOf(who), {
    action: request.action,
    resource: request.resource,
    context: contextOf(who, request.conditions, call),
  }).decision;
  const by_resource = said === "allowed";
  if (own === "explicit_deny" || said === "explicit_deny") {
    return { decision: "explicit_deny", by_resource: false };
  }
  const allowed = local ? own === "allowed" || by_resource : own === "allowed" && by_resource;
  return { decision: allowed ? "allowed" : "implicit_deny", by_resource: allowed && by_resource };
}

/** Who signs nothing has no policies of its own: the resource's alone says whether it may. */
export function weighForAnonymous(
  { action, resource, conditions, resource_policy }: AuthorizeRequest,
  call: CallContext,
): AuthorizeDecision {
  const policy = resource_policy === undefined ? undefined : policyOf(resource_policy.document);
  if (policy === undefined) return { allowed: false, reason: "implicit_deny" };
  const nobody = { account_id: "", arns: [] };
  const { decision } = evaluateResource(policy, nobody, {
    action,
    resource,
    context: anonymousContext(conditions, call),
  });
  return decision === "allowed"
    ? { allowed: true, by_resource: true }
    : { allowed: false, reason: decision };
}
