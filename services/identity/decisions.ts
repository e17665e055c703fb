/**
 * What a principal may.
 *
 * The account's root may all in its account. A user may what its policies and its groups' say, a role
 * what its policies say, each bounded by its permissions boundary and, in a session, by the session's
 * policies: all of them must allow. Decided from the newest state that this process knows; who is gone,
 * suspended or expired may nothing. Nobody may anything on a resource of another account.
 */
import type { CallContext } from "../bus/subject.ts";
import { anonymousPrincipal, type AuthorizeDecision, type AuthorizeRequest } from "./contract.ts";
import { policyByArn } from "./iam/managed_policies.ts";
import { parsePolicy, type Policy } from "./policy/document.ts";
import { allowsEverywhere, type Decision, evaluateAll } from "./policy/evaluate.ts";
import { contextOf, type Principal, principalOf } from "./principals.ts";
import { type OwnDecisions, weighForAnonymous, weighResource } from "./resource_policy.ts";
import type { PolicyHolder, RoleRecord, SessionRecord, State, UserRecord } from "./state.ts";

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

/** The sets of policies of which each must allow: the first is its own, all others only limit it. */
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

const resourceForm = /^(\*|arn:aws[a-z-]*:[^:\s]+:[^:\s]*:[^:\s]*:.+)$/s;

type Asked = Omit<AuthorizeRequest, "principal_arn">;

const nothing: OwnDecisions = { all: "implicit_deny", limits: "implicit_deny" };

function decideOwn(
  state: State,
  who: Principal | undefined,
  { action, resource, conditions }: Asked,
  call: CallContext,
): OwnDecisions {
  if (who === undefined || typeof action !== "string") return nothing;
  // What is no action or no ARN matches no statement: not even one that denies, so it is refused.
  if (!/^[A-Za-z0-9-]+:[A-Za-z0-9]+$/.test(action)) return nothing;
  if (typeof resource !== "string" || !resourceForm.test(resource)) return nothing;
  const owner = resource.split(":")[4] ?? "";
  if (/^\d{12}$/.test(owner) && owner !== who.account_id) return nothing;
  if (who.kind === "root") return { all: "allowed", limits: "allowed" };
  const asked = { action, resource, context: contextOf(who, conditions, call) };
  const sets = policySetsOf(state, who);
  return { all: evaluateAll(sets, asked), limits: evaluateAll(sets.slice(1), asked) };
}

/** What a principal may by its own policies, its boundary and its session's. */
export function decide(
  state: State,
  who: Principal | undefined,
  request: Asked,
  call: CallContext,
): Decision {
  return decideOwn(state, who, request, call).all;
}

export function authorizeRequest(
  state: State,
  request: AuthorizeRequest,
  call: CallContext,
): AuthorizeDecision {
  if (request?.principal_arn === anonymousPrincipal) return weighForAnonymous(request, call);
  const who = typeof request?.principal_arn === "string"
    ? principalOf(state, request.principal_arn, call.access_key_id)
    : undefined;
  const own = decideOwn(state, who, request, call);
  const { resource_policy } = request;
  if (resource_policy !== undefined && who !== undefined) {
    const { decision, by_resource } = weighResource(who, own, resource_policy, request, call);
    if (decision === "allowed") return { allowed: true, by_resource };
    return { allowed: false, reason: decision };
  }
  const decision = own.all;
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
