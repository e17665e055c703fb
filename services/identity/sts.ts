/** STS: who is calling, whose a key is, and temporary credentials. */
import type * as Sts from "@aws-sdk/client-sts";
import { AwsError } from "../aws/errors.ts";
import { type Call, demand, denied, invalid, type OnBus, overLimit } from "./call.ts";
import { checkDocument, checkPolicyArn } from "./iam/holder_policies.ts";
import { isManagedPolicy } from "./iam/managed_policies.ts";
import { parsePolicy, policySize, policySizes } from "./policy/document.ts";
import { assumedRoleArn, federatedUserArn, roleArn, rootOwner } from "./records.ts";
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
function durationOf(given: number | undefined, usual: number, limit: number): number {
  const seconds = given ?? Math.min(usual, limit);
  if (!Number.isInteger(seconds) || seconds < 900) {
    throw invalid("DurationSeconds must be a whole number, 900 at least.");
  }
  if (seconds > limit) {
    throw invalid(`The requested DurationSeconds exceeds the ${limit} seconds that are allowed.`);
  }
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
    if (policySize(input.Policy) > policySizes.session) {
      throw new AwsError(
        "PackedPolicyTooLarge",
        `The session policy exceeds ${policySizes.session} characters.`,
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
  const role = state.role(match[1] ?? "", match[2] ?? "")?.value;
  const conditions: Record<string, string | readonly string[]> = {
    "sts:RoleSessionName": input.RoleSessionName,
    ...(input.ExternalId === undefined ? {} : { "sts:ExternalId": input.ExternalId }),
    ...(input.SourceIdentity === undefined ? {} : { "sts:SourceIdentity": input.SourceIdentity }),
    ...(Object.keys(tags).length === 0 ? {} : { "aws:TagKeys": Object.keys(tags) }),
  };
  for (const [key, value] of Object.entries(tags)) conditions[`aws:RequestTag/${key}`] = value;
  // The same answer for a role that is not there and for one that does not trust the caller.
  if (role === undefined || roleArn(role) !== arn) {
    throw denied(call, "sts:AssumeRole", arn, "implicit_deny");
  }
  const decision = mayAssume(state, role, caller, conditions, call.context);
  if (decision !== "allowed") throw denied(call, "sts:AssumeRole", arn, decision);
  // A role taken by a role's session lasts an hour at most, as on AWS.
  const limit = caller.kind === "role" ? 3_600 : role.max_session_s;
  const duration_s = durationOf(input.DurationSeconds, 3_600, limit);
  const credentials = await createSession(state, call.masterKeys, {
    account_id: role.account_id,
    kind: "role",
    owner: role.role_id,
    name: input.RoleSessionName,
    ...narrowing(call, role.account_id, input),
    tags,
    source_identity: input.SourceIdentity ?? caller.session?.source_identity,
    duration_s,
  });
  return {
    Credentials: credentials,
    AssumedRoleUser: {
      AssumedRoleId: `${role.role_id}:${input.RoleSessionName}`,
      Arn: assumedRoleArn(role, input.RoleSessionName),
    },
    ...(input.SourceIdentity === undefined ? {} : { SourceIdentity: input.SourceIdentity }),
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

/** How long what long-lived credentials ask for lasts: half a day, at most 36 hours, an hour for the root. */
const longLivedDuration = ({ caller }: Call, wanted_s: number | undefined): number =>
  durationOf(wanted_s, 43_200, caller.user === undefined ? 3_600 : 129_600);

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
  const credentials = await createSession(call.state, call.masterKeys, {
    account_id,
    kind: "federated",
    owner: user?.user_id ?? rootOwner,
    name: input.Name,
    ...narrowing(call, account_id, input),
    tags: tagsOf(input.Tags),
    duration_s: longLivedDuration(call, input.DurationSeconds),
  });
  return {
    Credentials: credentials,
    FederatedUser: { FederatedUserId: `${account_id}:${input.Name}`, Arn: arn },
  };
}
