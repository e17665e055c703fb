/**
 * Policy documents, checked whole when they are written: what is stored can be evaluated. Anything
 * else is `MalformedPolicyDocument`.
 *
 * A policy of an identity names no principal; one of a resource does; a role's trust policy names
 * principals and no resource, since the role itself is the resource.
 */
import { AwsError } from "../../aws/errors.ts";
import { type Condition, ConditionError, parseConditions } from "./conditions.ts";
import { parsePattern, type Pattern, PatternError } from "./pattern.ts";
import { parsePrincipals, type Principals } from "./principal.ts";

/** What a policy belongs to. */
export type PolicyKind = "identity" | "resource" | "trust";

export interface Statement {
  readonly sid?: string;
  /** Of a resource's or a role's policy only. */
  readonly principals?: Principals;
  readonly effect: "Allow" | "Deny";
  /** Patterns in lower case: actions are compared without regard to case. */
  readonly actions: readonly Pattern[];
  readonly notActions: boolean;
  readonly resources: readonly Pattern[];
  readonly notResources: boolean;
  readonly conditions: readonly Condition[];
}

export interface Policy {
  readonly statements: readonly Statement[];
}

/** AWS's sizes, in characters that are not white space. */
export const policySizes = {
  userInline: 2_048,
  groupInline: 5_120,
  roleInline: 10_240,
  managed: 6_144,
  trust: 2_048,
  session: 2_048,
} as const;

/** How long a document is by AWS's measure. */
export const policySize = (document: string) => document.replaceAll(/\s/g, "").length;

class Malformed extends Error {}

/** @throws AwsError `MalformedPolicyDocument` */
export function parsePolicy(text: string, kind: PolicyKind = "identity"): Policy {
  try {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new Malformed("it is not valid JSON");
    }
    return parseDocument(value, kind);
  } catch (cause) {
    if (
      cause instanceof Malformed || cause instanceof PatternError || cause instanceof ConditionError
    ) {
      throw new AwsError("MalformedPolicyDocument", `The policy is malformed: ${cause.message}.`, {
        cause,
      });
    }
    throw cause;
  }
}

function parseDocument(value: unknown, kind: PolicyKind): Policy {
  const document = asObject(value, "the document");
  onlyKeys(document, ["Version", "Id", "Statement"], "the document");
  const version = document["Version"] ?? "2008-10-17";
  if (version !== "2012-10-17" && version !== "2008-10-17") {
    throw new Malformed(`Version must be "2012-10-17"`);
  }
  if (document["Statement"] === undefined) throw new Malformed("Statement is missing");
  const statements = asList(document["Statement"]);
  if (statements.length === 0) throw new Malformed("there is no statement");
  const parsed = statements.map((one) => parseStatement(one, version === "2012-10-17", kind));
  const sids = parsed.flatMap(({ sid }) => sid === undefined || kind === "resource" ? [] : [sid]);
  if (new Set(sids).size < sids.length) throw new Malformed("two statements have the same Sid");
  return { statements: parsed };
}

const statementKeys = [
  "Sid",
  "Effect",
  "Principal",
  "NotPrincipal",
  "Action",
  "NotAction",
  "Resource",
  "NotResource",
  "Condition",
] as const;

/** IAM is strict; S3 takes any text, also twice, and its own examples have whole sentences. */
const sidForms = {
  identity: /^[A-Za-z0-9]*$/,
  trust: /^[A-Za-z0-9]*$/,
  resource: /^/,
} as const satisfies Record<PolicyKind, RegExp>;

function parseStatement(value: unknown, variables: boolean, kind: PolicyKind): Statement {
  const statement = asObject(value, "a statement");
  const named = "Principal" in statement || "NotPrincipal" in statement;
  if (named && kind === "identity") {
    throw new Malformed("a policy of an identity has no Principal");
  }
  if (!named && kind !== "identity") throw new Malformed("a statement needs a Principal");
  if (kind === "trust" && ("Resource" in statement || "NotResource" in statement)) {
    throw new Malformed("a role's trust policy has no Resource");
  }
  onlyKeys(statement, statementKeys, "a statement");
  const { Sid: sid, Effect: effect } = statement;
  if (sid !== undefined && (typeof sid !== "string" || !sidForms[kind].test(sid))) {
    throw new Malformed("a Sid has only letters and digits");
  }
  if (effect !== "Allow" && effect !== "Deny") throw new Malformed(`Effect must be Allow or Deny`);
  const actions = oneOf(statement, "Action", "NotAction");
  const resources = kind === "trust" ? ["*"] : oneOf(statement, "Resource", "NotResource");
  return {
    ...(sid === undefined || sid === "" ? {} : { sid }),
    ...(named ? { principals: principalsOf(statement) } : {}),
    effect,
    notActions: "NotAction" in statement,
    actions: actions.map(parseAction),
    notResources: "NotResource" in statement,
    resources: resources.map((resource) => parseResource(resource, variables)),
    conditions: statement["Condition"] === undefined
      ? []
      : parseConditions(statement["Condition"], variables),
  };
}

function principalsOf(statement: Record<string, unknown>): Principals {
  if ("Principal" in statement && "NotPrincipal" in statement) {
    throw new Malformed("a statement has either Principal or NotPrincipal");
  }
  try {
    return parsePrincipals(
      statement["Principal"] ?? statement["NotPrincipal"],
      "NotPrincipal" in statement,
    );
  } catch (cause) {
    if (cause instanceof RangeError) throw new Malformed(cause.message);
    throw cause;
  }
}

function parseAction(action: string): Pattern {
  if (action !== "*" && !/^[A-Za-z0-9.-]+:[A-Za-z0-9*?]+$/.test(action)) {
    throw new Malformed(`"${action}" is no action; write service:Name`);
  }
  return parsePattern(action.toLowerCase(), false);
}

function parseResource(resource: string, variables: boolean): Pattern {
  if (resource !== "*" && !/^arn:[^:\s]*:[^:\s]+/.test(resource)) {
    throw new Malformed(`"${resource}" is neither an ARN nor "*"`);
  }
  return parsePattern(resource, variables);
}

/** The list of texts of exactly one of two elements. */
function oneOf(statement: Record<string, unknown>, name: string, not: string): string[] {
  if ((name in statement) === (not in statement)) {
    throw new Malformed(`a statement needs either ${name} or ${not}`);
  }
  const list = asList(statement[name] ?? statement[not]);
  if (list.length === 0 || !list.every((item) => typeof item === "string" && item !== "")) {
    throw new Malformed(`${name in statement ? name : not} must be text, or a list of texts`);
  }
  return list as string[];
}

function onlyKeys(object: Record<string, unknown>, known: readonly string[], what: string): void {
  for (const key of Object.keys(object)) {
    if (!known.includes(key)) throw new Malformed(`${what} has an unknown element "${key}"`);
  }
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Malformed(`${what} must be an object`);
  }
  return value as Record<string, unknown>;
}
