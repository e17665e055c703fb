/** What policies would say: the same evaluation that every real call goes through. */
import type * as Iam from "@aws-sdk/client-iam";
import { type Call, demand, invalid, noSuchEntity, type OnBus, pageEnd, pageOf } from "../call.ts";
import { checkDocument } from "./holder_policies.ts";
import { parsePolicy, type Policy } from "../policy/document.ts";
import { type Decision, evaluateAll } from "../policy/evaluate.ts";
import type { Context } from "../policy/pattern.ts";
import { contextOf, type Principal } from "../principals.ts";
import { policySetsOf } from "../decisions.ts";
import { groupArn, roleArn, userArn } from "../records.ts";

type Result = NonNullable<
  OnBus<Iam.SimulatePrincipalPolicyCommandOutput>["EvaluationResults"]
>[number];

interface Simulation {
  readonly ActionNames?: readonly string[] | undefined;
  readonly ResourceArns?: readonly string[] | undefined;
  readonly ContextEntries?: readonly Iam.ContextEntry[] | undefined;
  readonly PolicyInputList?: readonly string[] | undefined;
  readonly PermissionsBoundaryPolicyInputList?: readonly string[] | undefined;
  readonly ResourcePolicy?: string | undefined;
  readonly ResourceOwner?: string | undefined;
  readonly Marker?: string | undefined;
  readonly MaxItems?: number | undefined;
}

const words: Readonly<Record<Decision, "allowed" | "explicitDeny" | "implicitDeny">> = {
  allowed: "allowed",
  explicit_deny: "explicitDeny",
  implicit_deny: "implicitDeny",
};

function parsedList(documents: readonly string[] | undefined): readonly Policy[] {
  return (documents ?? []).map((document) => {
    checkDocument(document, "policyInputList");
    return parsePolicy(document);
  });
}

function simulate(
  input: Simulation,
  sets: readonly (readonly Policy[])[],
  known: Context,
): { readonly EvaluationResults: Result[]; readonly IsTruncated: boolean } {
  if (input.ResourcePolicy !== undefined || input.ResourceOwner !== undefined) {
    throw invalid("Simulating a resource's own policy is not supported by this cloud.");
  }
  const actions = input.ActionNames ?? [];
  if (!actions.every((action) => /^[A-Za-z0-9-]+:[A-Za-z0-9]+$/.test(action))) {
    throw invalid("An action name has the form service:Name.");
  }
  const context = new Map(known);
  for (const { ContextKeyName: key, ContextKeyValues: values } of input.ContextEntries ?? []) {
    if (key !== undefined) context.set(key.toLowerCase(), (values ?? []).map(String));
  }
  const pairs = actions.flatMap((action) =>
    (input.ResourceArns ?? ["*"]).map((resource) => ({ action, resource }))
  );
  if (pairs.length > 10_000) throw invalid("That are more than 10000 simulations at once.");
  const numbered = pairs.map((pair, at) => ({ ...pair, key: String(at).padStart(6, "0") }));
  const page = pageOf(numbered, (one) => one.key, input);
  return {
    EvaluationResults: page.items.map(({ action, resource }) => ({
      EvalActionName: action,
      EvalResourceName: resource,
      EvalDecision: words[evaluateAll(sets, { action, resource, context })],
      MatchedStatements: [],
      MissingContextValues: [],
    })),
    ...pageEnd(page),
  };
}

/** The identity that a simulation speaks of. @throws AwsError `NoSuchEntity`, `ValidationError` */
function sourceOf(call: Call, arn: string): Principal | { readonly group: readonly Policy[] } {
  const { state } = call;
  const { account_id } = call.caller;
  const match = /^arn:aws:iam::(\d{12}):(user|group|role)\/(?:.*\/)?([^/]+)$/.exec(arn);
  if (match === null) throw invalid(`${arn} is not the ARN of a user, group or role.`);
  const [, owner, kind, name = ""] = match;
  const gone = () => noSuchEntity(`The entity with ARN ${arn} cannot be found.`);
  if (owner !== account_id) throw gone();
  if (kind === "user") {
    const user = state.user(account_id, name)?.value;
    if (user === undefined || userArn(user) !== arn) throw gone();
    return { kind: "user", account_id, arn, id: user.user_id, user };
  }
  if (kind === "role") {
    const role = state.role(account_id, name)?.value;
    if (role === undefined || roleArn(role) !== arn) throw gone();
    return { kind: "role", account_id, arn, id: role.role_id, role };
  }
  const group = state.groups.list(`${account_id}.`)
    .find(({ value }) => groupArn(value) === arn)?.value;
  if (group === undefined) throw gone();
  // A group alone is nobody: what it gives is seen through a member that has nothing else.
  const member: Principal = {
    kind: "user",
    account_id,
    arn,
    id: group.group_id,
    user: {
      account_id,
      user_id: group.group_id,
      name: group.name,
      path: group.path,
      created: group.created,
      attached: [],
      inline: {},
      tags: {},
      groups: [group.group_id],
    },
  };
  return { group: policySetsOf(state, member).flat() };
}

export function simulatePrincipalPolicy(
  input: OnBus<Iam.SimulatePrincipalPolicyCommandInput>,
  call: Call,
): OnBus<Iam.SimulatePrincipalPolicyCommandOutput> {
  const arn = input.PolicySourceArn ?? "";
  demand(call, "iam:SimulatePrincipalPolicy", arn === "" ? "*" : arn);
  const source = sourceOf(call, arn);
  const added = parsedList(input.PolicyInputList);
  const bounds = parsedList(input.PermissionsBoundaryPolicyInputList);
  const [own = [], ...others] = "group" in source
    ? [source.group]
    : policySetsOf(call.state, source);
  const sets = [[...own, ...added], ...others, ...(bounds.length > 0 ? [bounds] : [])];
  const known = "group" in source ? new Map() : contextOf(source, {}, call.context);
  return simulate(input, sets, known);
}

export function simulateCustomPolicy(
  input: OnBus<Iam.SimulateCustomPolicyCommandInput>,
  call: Call,
): OnBus<Iam.SimulateCustomPolicyCommandOutput> {
  demand(call, "iam:SimulateCustomPolicy", "*");
  const bounds = parsedList(input.PermissionsBoundaryPolicyInputList);
  const sets = [parsedList(input.PolicyInputList), ...(bounds.length > 0 ? [bounds] : [])];
  return simulate(input, sets, new Map());
}
