/**
 * The decision: a statement that denies wins over any that allows; without one that allows, the
 * answer is no.
 */
import type { Policy, Statement } from "./document.ts";
import { holds } from "./conditions.ts";
import { type Asker, type Naming, naming, namings } from "./principal.ts";
import { type Context, matches, matchesArn, type Pattern } from "./pattern.ts";

export interface Request {
  /** For example `ec2:RunInstances`. */
  readonly action: string;
  /** ARN, or `*` where the action knows no resource. */
  readonly resource: string;
  readonly context: Context;
}

export type Decision = "allowed" | "explicit_deny" | "implicit_deny";

export function evaluate(policies: Iterable<Policy>, request: Request): Decision {
  let allowed = false;
  for (const policy of policies) {
    for (const statement of policy.statements) {
      if (statement.effect === "Allow" && allowed) continue;
      if (!applies(statement, request)) continue;
      if (statement.effect === "Deny") return "explicit_deny";
      allowed = true;
    }
  }
  return allowed ? "allowed" : "implicit_deny";
}

/**
 * The decision of several sets of policies of which each must allow: what an identity has, what bounds
 * it, and what narrows a session. A denial in any of them wins.
 */
export function evaluateAll(sets: readonly (readonly Policy[])[], request: Request): Decision {
  const decisions = sets.map((set) => evaluate(set, request));
  if (decisions.includes("explicit_deny")) return "explicit_deny";
  return decisions.every((one) => one === "allowed") ? "allowed" : "implicit_deny";
}

/**
 * What a resource's own policy says of an asker, and how strongly the statements that allow name it:
 * whether the asker needs a policy of its own besides depends on that.
 */
export function evaluateResource(
  policy: Policy,
  asker: Asker,
  request: Request,
): { readonly decision: Decision; readonly naming: Naming } {
  let best: Naming = "not";
  for (const statement of policy.statements) {
    if (statement.principals === undefined) continue;
    const how = naming(statement.principals, asker, statement.effect);
    if (how === "not" || !applies(statement, request)) continue;
    if (statement.effect === "Deny") return { decision: "explicit_deny", naming: how };
    if (namings.indexOf(how) > namings.indexOf(best)) best = how;
  }
  return { decision: best === "not" ? "implicit_deny" : "allowed", naming: best };
}

/**
 * Whether the action is allowed on every resource under any conditions: a statement allows it on
 * `*` without a condition, and none that denies speaks of it at all.
 */
export function allowsEverywhere(policies: Iterable<Policy>, request: Request): boolean {
  let allowed = false;
  for (const policy of policies) {
    for (const statement of policy.statements) {
      if (!appliesToAction(statement, request)) continue;
      if (statement.effect === "Deny") return false;
      allowed ||= statement.conditions.length === 0 && !statement.notResources &&
        statement.resources.some(matchesAll);
    }
  }
  return allowed;
}

const matchesAll = (pattern: Pattern) => pattern.parts.every((p) => "text" in p && p.text === "*");

function applies(statement: Statement, request: Request): boolean {
  return appliesToAction(statement, request) && appliesToResource(statement, request) &&
    statement.conditions.every((condition) => holds(condition, request.context));
}

function appliesToAction(statement: Statement, { action, context }: Request): boolean {
  const lower = action.toLowerCase();
  const named = statement.actions.some((pattern) => matches(pattern, lower, context) === true);
  return named !== statement.notActions;
}

function appliesToResource(statement: Statement, { resource, context }: Request): boolean {
  let unresolved = false;
  for (const pattern of statement.resources) {
    const matched = matchesArn(pattern, resource, context);
    if (matched === true) return !statement.notResources;
    unresolved ||= matched === undefined;
  }
  // A variable without a value never widens what is allowed, nor narrows what is denied.
  if (statement.notResources) return !unresolved || statement.effect === "Deny";
  return false;
}
