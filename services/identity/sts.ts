/** STS: who is calling, whose a key is, and temporary credentials. */
import type * as Sts from "@aws-sdk/client-sts";
import { AwsError } from "../aws/errors.ts";
import { type Call, demand, denied, invalid, type OnBus, overLimit } from "./call.ts";
import { checkDocument, checkPolicyArn } from "./iam/holder_policies.ts";
import { isManagedPolicy } from "./iam/managed_policies.ts";
import { parsePolicy, policySizes } from "./policy/document.ts";
import { assumedRoleArn, federatedUserArn, roleArn, rootOwner } from "./records.ts";
import { packedSize } from "./credentials/packed_size.ts";
import { createSession, type Credentials } from "./credentials/sessions.ts";
import { tagsOf } from "./iam/tags.ts";
import { mayAssume } from "./trust.ts";

/** Needs no permission, and no policy can take it away, as on AWS. */
export function getCallerIdentity(
  _input: OnBus<Sts.GetCallerIdentityCommandInput>,
  { caller }: Call,
): OnBus<Sts.GetCallerIdentityCommandOutput> {
  return { UserId: caller.id, Account: caller.account_id, Arn: caller.arn };
}

export function getAccessKeyInfo(
  input: OnBus<Sts.GetAccessKeyInfoCommandInput>,
  call: Call,
): OnBus<Sts.GetAccessKeyInfoCommandOutput> {
  demand(call, "sts:GetAccessKeyInfo", "*");
  const accessKeyId = input.AccessKeyId ?? "";
  if (!/^\w{16,128}$/.test(accessKeyId)) {
    throw invalid("The specified value for accessKeyId is invalid.");
  }
  const account_id = call.state.accessKey(accessKeyId)?.value.account_id ??
    call.state.sessions.get(accessKeyId)?.value.account_id;
  if (account_id === undefined) {
    throw new AwsError("InvalidClientTokenId", "The access key does not exist.", { status: 403 });
  }
  return { Account: account_id };
}

/** @throws AwsError `ValidationError` */
function durationOf(
  given: number | undefined,
  usual: number,
  limit: number,
  tooLong = `The requested DurationSeconds exceeds the ${limit} seconds that are allowed.`,
): number {
  const seconds = given ?? Math.min(usual, limit);
  if (!Number.isInteger(seconds) || seconds < 900) {
    throw invalid("DurationSeconds must be a whole number, 900 at least.");
  }
  if (seconds > limit) throw invalid(tooLong);
  return seconds;
}

function checkSessionName(
  name: string | undefined,
  member: string,
  limit: number,
): asserts name is string {
  if (name === undefined || name.length > limit || !/^[\w+=,.@-]{2,}$/.test(name)) {
    throw invalid(
      `The specified value for ${member} is invalid: 2 to ${limit} letters, digits and +=,.@-_`,
    );
  }
}

/** The policies that narrow a session. @throws AwsError */
function narrowing(
  call: Call,
  accountId: string,
  input: {
    readonly Policy?: string | undefined;
    readonly PolicyArns?: readonly { readonly arn?: string | undefined }[] | undefined;
  },
): { readonly policies: readonly string[]; readonly policy_arns: readonly string[] } {
  const policies: string[] = [];
  if (input.Policy !== undefined) {
    checkDocument(input.Policy, "policy");
    // White space counts here, as it does nowhere else.
    if (input.Policy.length > policySizes.session) {
      throw invalid(
        `The value at 'policy' must have length less than or equal to ${policySizes.session}.`,
      );
    }
    parsePolicy(input.Policy);
    policies.push(input.Policy);
  }
  const policy_arns = (input.PolicyArns ?? []).map(({ arn }) => {
    checkPolicyArn(arn);
    if (!isManagedPolicy(call.state, accountId, arn)) {
      throw invalid(`Policy ${arn} does not exist in the account.`);
    }
    return arn;
  });
  if (policy_arns.length > 10) throw overLimit("Cannot exceed quota for PolicyArns: 10");
  return { policies, policy_arns };
}

/** A role taken by a role's session lasts an hour at most, as on AWS. */
const longestChained_s = 3_600;
const chainedTooLong =
  "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
const roleTooLong =
  "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";

/**
 * What a session of a role has of the session that took it: the source identity, which nobody changes any more, and
 * the tags that are transitive.
 * @throws AwsError
 */
function chainOf(
  { caller: { session } }: Call,
  input: OnBus<Sts.AssumeRoleCommandInput>,
  tags: Readonly<Record<string, string>>,
) {
  const source_identity = session?.source_identity ?? input.SourceIdentity;
  if (input.SourceIdentity !== undefined && input.SourceIdentity !== source_identity) {
    throw new AwsError("AccessDenied", "The source identity of a session cannot be changed.", {
      status: 403,
    });
  }
  const goesOn = new Set(session?.transitive ?? []);
  const inherited = Object.entries(session?.tags ?? {})
    .filter(([key]) => goesOn.has(key.toLowerCase()));
  const given = new Set(Object.keys(tags).map((key) => key.toLowerCase()));
  for (const [key] of inherited) {
    if (given.has(key.toLowerCase())) {
      throw invalid(`The session tag "${key}" is inherited and cannot be given again.`);
    }
  }
  const named = (input.TransitiveTagKeys ?? []).map((key) => key.toLowerCase());
  return {
    source_identity,
    tags: Object.fromEntries([...inherited, ...Object.entries(tags)]),
    transitive: [...new Set([...goesOn, ...named.filter((key) => given.has(key))])],
  };
}

const roleForm = /^arn:aws:iam::(\d{12}):role\/(?:[\x21-\x7e]*\/)?([\w+=,.@-]{1,64})$/;

export async function assumeRole(
  input: OnBus<Sts.AssumeRoleCommandInput>,
  call: Call,
): Promise<OnBus<Sts.AssumeRoleCommandOutput>> {
  const { caller, state } = call;
  const arn = input.RoleArn ?? "";
  const match = roleForm.exec(arn);
  if (match === null) throw invalid(`${arn} is invalid`);
  checkSessionName(input.RoleSessionName, "roleSessionName", 64);
  if (input.SourceIdentity !== undefined) {
    checkSessionName(input.SourceIdentity, "sourceIdentity", 64);
  }
  if (caller.kind === "root") {
    throw new AwsError("AccessDenied", "Roles may not be assumed by root accounts.", {
      status: 403,
    });
  }
  const tags = tagsOf(input.Tags);
  const chained = chainOf(call, input, tags);
  const role = state.role(match[1] ?? "", match[2] ?? "")?.value;
  const conditions: Record<string, string | readonly string[]> = {
    "sts:RoleSessionName": input.RoleSessionName,
    ...(input.ExternalId === undefined ? {} : { "sts:ExternalId": input.ExternalId }),
    ...(input.SourceIdentity === undefined ? {} : { "sts:SourceIdentity": input.SourceIdentity }),
    ...(Object.keys(tags).length === 0 ? {} : { "aws:TagKeys": Object.keys(tags) }),
    ...(chained.transitive.length === 0 ? {} : { "sts:TransitiveTagKeys": chained.transitive }),
  };
  for (const [key, value] of Object.entries(tags)) conditions[`aws:RequestTag/${key}`] = value;
  // The same answer for a role that is not there and for one that does not trust the caller.
  if (role === undefined || roleArn(role) !== arn) {
    throw denied(call, "sts:AssumeRole", arn, "implicit_deny");
  }
  const actions = [
    "sts:AssumeRole" as const,
    ...(Object.keys(chained.tags).length === 0 ? [] : ["sts:TagSession" as const]),
    ...(chained.source_identity === undefined ? [] : ["sts:SetSourceIdentity" as const]),
  ];
  for (const action of actions) {
    const decision = mayAssume(state, role, caller, action, conditions, call.context);
    if (decision !== "allowed") throw denied(call, action, arn, decision);
  }
  const duration_s = caller.kind === "role"
    ? durationOf(input.DurationSeconds, 3_600, longestChained_s, chainedTooLong)
    : durationOf(input.DurationSeconds, 3_600, role.max_session_s, roleTooLong);
  const narrowed = narrowing(call, role.account_id, input);
  const size = packedSize({ ...narrowed, tags: chained.tags });
  const credentials = await createSession(state, call.masterKeys, {
    account_id: role.account_id,
    kind: "role",
    owner: role.role_id,
    name: input.RoleSessionName,
    ...narrowed,
    ...chained,
    duration_s,
  });
  return {
    Credentials: credentials,
    AssumedRoleUser: {
      AssumedRoleId: `${role.role_id}:${input.RoleSessionName}`,
      Arn: assumedRoleArn(role, input.RoleSessionName),
    },
    ...size,
    ...(chained.source_identity === undefined ? {} : { SourceIdentity: chained.source_identity }),
  };
}

/** Only long-lived credentials of a user or the root may ask for more. */
function demandLongLived(call: Call, action: string): void {
  if (call.caller.session !== undefined) {
    throw new AwsError("AccessDenied", `Cannot call ${action} with session credentials`, {
      status: 403,
    });
  }
}

/** How long what long-lived credentials ask for lasts: half a day, at most 36 hours; never more than an hour for the root. */
function longLivedDuration({ caller }: Call, wanted_s: number | undefined): number {
  const seconds = durationOf(wanted_s, 43_200, 129_600);
  return caller.user === undefined ? Math.min(seconds, 3_600) : seconds;
}

export async function getSessionToken(
  input: OnBus<Sts.GetSessionTokenCommandInput>,
  call: Call,
): Promise<{ readonly Credentials: Credentials }> {
  demandLongLived(call, "GetSessionToken");
  if (input.SerialNumber !== undefined || input.TokenCode !== undefined) {
    throw invalid("There are no multi-factor devices in this cloud.");
  }
  const { user, account_id } = call.caller;
  return {
    Credentials: await createSession(call.state, call.masterKeys, {
      account_id,
      kind: "user",
      owner: user?.user_id ?? rootOwner,
      name: "",
      duration_s: longLivedDuration(call, input.DurationSeconds),
    }),
  };
}

export async function getFederationToken(
  input: OnBus<Sts.GetFederationTokenCommandInput>,
  call: Call,
): Promise<OnBus<Sts.GetFederationTokenCommandOutput>> {
  demandLongLived(call, "GetFederationToken");
  checkSessionName(input.Name, "name", 32);
  const { user, account_id } = call.caller;
  const arn = federatedUserArn(account_id, input.Name);
  demand(call, "sts:GetFederationToken", arn);
  const tags = tagsOf(input.Tags);
  if (Object.keys(tags).length > 0) demand(call, "sts:TagSession", arn);
  const narrowed = narrowing(call, account_id, input);
  const size = packedSize({ ...narrowed, tags });
  const credentials = await createSession(call.state, call.masterKeys, {
    account_id,
    kind: "federated",
    owner: user?.user_id ?? rootOwner,
    name: input.Name,
    ...narrowed,
    tags,
    duration_s: longLivedDuration(call, input.DurationSeconds),
  });
  return {
    Credentials: credentials,
    FederatedUser: { FederatedUserId: `${account_id}:${input.Name}`, Arn: arn },
    ...size,
  };
}
