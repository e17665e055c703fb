/** Policies of IAM's users: inline ones, and attached ones that AWS manages. */
import type * as Iam from "@aws-sdk/client-iam";
import { AwsError } from "../aws/errors.ts";
import {
  type Call,
  checkName,
  invalid,
  noSuchEntity,
  noSuchUser,
  type OnBus,
  pageOf,
  requiredUser,
} from "./call.ts";
import { managedPolicies } from "./managed_policies.ts";
import { parsePolicy, policySizes } from "./policy/document.ts";
import { userKey, type UserRecord } from "./state.ts";

const attachedPerUser = 10;

const size = (document: string) => document.replaceAll(/\s/g, "").length;

/** Changes a user's row, or throws NoSuchEntity when it is no longer that user's. */
async function change(
  call: Call,
  user: UserRecord,
  made: (user: UserRecord) => UserRecord,
): Promise<void> {
  await call.state.users.modify(userKey(user.account_id, user.name), (now) => {
    if (now?.user_id !== user.user_id) throw noSuchUser(user.name);
    return made(now);
  });
}

/** The inline policy of that name: own property or nothing, whatever the name. */
function inlineOf(user: UserRecord, name: string): string | undefined {
  return Object.hasOwn(user.inline, name) ? user.inline[name] : undefined;
}

const noSuchPolicy = (name: string) =>
  noSuchEntity(`The user policy with name ${name} cannot be found.`);

export async function putUserPolicy(
  input: OnBus<Iam.PutUserPolicyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:PutUserPolicy", input.UserName);
  const { PolicyName: name, PolicyDocument: document } = input;
  checkName(name, "policyName", 128);
  if (typeof document !== "string" || document.length > 131_072) {
    throw invalid("The specified value for policyDocument is invalid.");
  }
  parsePolicy(document);
  await change(call, user, (now) => {
    const entries = Object.entries(now.inline).filter(([other]) => other !== name);
    const inline = Object.fromEntries([...entries, [name, document] as const]);
    const total = Object.values(inline).reduce((sum, one) => sum + size(one), 0);
    if (total > policySizes.userInline) {
      throw new AwsError(
        "LimitExceeded",
        `Maximum policy size of ${policySizes.userInline} bytes exceeded for user ${now.name}`,
        { status: 409 },
      );
    }
    return { ...now, inline };
  });
  return {};
}

export function getUserPolicy(
  input: OnBus<Iam.GetUserPolicyCommandInput>,
  call: Call,
): OnBus<Iam.GetUserPolicyCommandOutput> {
  const user = requiredUser(call, "iam:GetUserPolicy", input.UserName);
  const { PolicyName: name } = input;
  checkName(name, "policyName", 128);
  const document = inlineOf(user, name);
  if (document === undefined) throw noSuchPolicy(name);
  // IAM gives documents percent-encoded; its clients decode them.
  return { UserName: user.name, PolicyName: name, PolicyDocument: encodeURIComponent(document) };
}

export async function deleteUserPolicy(
  input: OnBus<Iam.DeleteUserPolicyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:DeleteUserPolicy", input.UserName);
  const { PolicyName: name } = input;
  checkName(name, "policyName", 128);
  await change(call, user, (now) => {
    if (inlineOf(now, name) === undefined) throw noSuchPolicy(name);
    const left = Object.entries(now.inline).filter(([other]) => other !== name);
    return { ...now, inline: Object.fromEntries(left) };
  });
  return {};
}

export function listUserPolicies(
  input: OnBus<Iam.ListUserPoliciesCommandInput>,
  call: Call,
): OnBus<Iam.ListUserPoliciesCommandOutput> {
  const user = requiredUser(call, "iam:ListUserPolicies", input.UserName);
  const page = pageOf(Object.keys(user.inline).sort(), (name) => name, input);
  return {
    PolicyNames: [...page.items],
    IsTruncated: page.IsTruncated,
    ...(page.Marker === undefined ? {} : { Marker: page.Marker }),
  };
}

function checkPolicyArn(arn: string | undefined): asserts arn is string {
  if (arn === undefined || !/^arn:aws:iam::(aws|\d{12}):policy\/[\x21-\x7e]+$/.test(arn)) {
    throw invalid("The specified value for policyArn is invalid.");
  }
}

export async function attachUserPolicy(
  input: OnBus<Iam.AttachUserPolicyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:AttachUserPolicy", input.UserName);
  const arn = input.PolicyArn;
  checkPolicyArn(arn);
  if (!managedPolicies.has(arn)) {
    throw noSuchEntity(`Policy ${arn} does not exist or is not attachable.`);
  }
  await change(call, user, (now) => {
    if (now.attached.includes(arn)) return now;
    if (now.attached.length >= attachedPerUser) {
      throw new AwsError(
        "LimitExceeded",
        `Cannot exceed quota for PoliciesPerUser: ${attachedPerUser}`,
        { status: 409 },
      );
    }
    return { ...now, attached: [...now.attached, arn] };
  });
  return {};
}

export async function detachUserPolicy(
  input: OnBus<Iam.DetachUserPolicyCommandInput>,
  call: Call,
): Promise<Record<string, never>> {
  const user = requiredUser(call, "iam:DetachUserPolicy", input.UserName);
  const arn = input.PolicyArn;
  checkPolicyArn(arn);
  await change(call, user, (now) => {
    if (!now.attached.includes(arn)) throw noSuchEntity(`Policy ${arn} was not found.`);
    return { ...now, attached: now.attached.filter((other) => other !== arn) };
  });
  return {};
}

export function listAttachedUserPolicies(
  input: OnBus<Iam.ListAttachedUserPoliciesCommandInput>,
  call: Call,
): OnBus<Iam.ListAttachedUserPoliciesCommandOutput> {
  const user = requiredUser(call, "iam:ListAttachedUserPolicies", input.UserName);
  const page = pageOf([...user.attached].sort(), (arn) => arn, input);
  return {
    AttachedPolicies: page.items.map((arn) => ({
      PolicyName: arn.slice(arn.lastIndexOf("/") + 1),
      PolicyArn: arn,
    })),
    IsTruncated: page.IsTruncated,
    ...(page.Marker === undefined ? {} : { Marker: page.Marker }),
  };
}
