/**
 * Weighs the policy of a resource with what the caller's own policies say.
 *
 * A denial in either wins. A caller of another account needs both to allow. Within the resource's own
 * account one that allows is enough, as on AWS: the resource's to whom it names by its ARN; to whom it
 * names by its role or as anybody within what bounds the role or user and narrows its session; and to an
 * account as a whole it says only that the account may give it. A policy that cannot be read denies: its
 * owner may have meant it to.
 */
import type { CallContext } from "../bus/subject.ts";
import type { AuthorizeDecision, AuthorizeRequest, ResourcePolicy } from "./contract.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { type Decision, evaluateResource } from "./policy/evaluate.ts";
import type { Naming } from "./policy/principal.ts";
import { withIds } from "./trusted_ids.ts";
import { anonymousContext, askerOf, contextOf, type Principal } from "./principals.ts";

const mending: ReadonlySet<string> = new Set([
  "s3:getbucketpolicy",
  "s3:putbucketpolicy",
  "s3:deletebucketpolicy",
]);
const mostParsed = 256;
const parsed = new Map<string, Policy | undefined>();

function policyOf({ document, trusted }: ResourcePolicy): Policy | undefined {
  const policy = parsedPolicy(document);
  return policy === undefined || trusted === undefined ? policy : withIds(policy, trusted);
}

function parsedPolicy(document: string): Policy | undefined {
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

/** What the caller's side says without the resource's. */
export interface OwnDecisions {
  /** All its policies together. */
  readonly all: Decision;
  /** Only those that bound it and narrow its session. */
  readonly limits: Decision;
}

/** Whether an allowing policy of its own account's resource is enough for a caller whom it names so. */
export function isEnough(naming: Naming, limits: Decision): boolean {
  if (naming === "by_itself") return true;
  return (naming === "by_role" || naming === "as_anybody") && limits === "allowed";
}

export function weighResource(
  who: Principal,
  own: OwnDecisions,
  of: ResourcePolicy,
  request: Pick<AuthorizeRequest, "action" | "resource" | "conditions">,
  call: CallContext,
): { readonly decision: Decision; readonly by_resource: boolean } {
  const local = of.account_id === who.account_id;
  // An account's root can always mend a policy that has locked everybody out.
  if (local && who.kind === "root" && mending.has(request.action.toLowerCase())) {
    return { decision: "allowed", by_resource: false };
  }
  const policy = policyOf(of);
  if (policy === undefined) return { decision: "explicit_deny", by_resource: false };
  const said = evaluateResource(policy, askerOf(who), {
    action: request.action,
    resource: request.resource,
    context: contextOf(who, request.conditions, call),
  });
  if ([own.all, own.limits, said.decision].includes("explicit_deny")) {
    return { decision: "explicit_deny", by_resource: false };
  }
  const mine = own.all === "allowed";
  const theirs = said.decision === "allowed";
  const by_resource = theirs && (local ? mine || isEnough(said.naming, own.limits) : mine);
  const allowed = by_resource || (local && mine);
  return { decision: allowed ? "allowed" : "implicit_deny", by_resource };
}

/** Who signs nothing has no policies of its own: the resource's alone says whether it may. */
export function weighForAnonymous(
  { action, resource, conditions, resource_policy }: AuthorizeRequest,
  call: CallContext,
): AuthorizeDecision {
  const policy = resource_policy === undefined ? undefined : policyOf(resource_policy);
  if (policy === undefined) return { allowed: false, reason: "implicit_deny" };
  const nobody = { account_id: "" };
  const { decision } = evaluateResource(policy, nobody, {
    action,
    resource,
    context: anonymousContext(conditions, call),
  });
  return decision === "allowed"
    ? { allowed: true, by_resource: true }
    : { allowed: false, reason: decision };
}
