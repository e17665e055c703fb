/**
 * Policies by ARN: those that AWS manages and that exist in every account, only where their meaning
 * here is the same as there, and those of customers, of which the default version holds.
 */
import { parsePolicy, type Policy } from "../policy/document.ts";
import { type ManagedPolicyRecord, nameKey, policyArn } from "../records.ts";
import type { State } from "../state.ts";

export const administratorAccess = "arn:aws:iam::aws:policy/AdministratorAccess";

const allow = (...actions: string[]) =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: actions, Resource: "*" }],
  });

/** ARN to document, of those that AWS manages. */
export const awsPolicies: ReadonlyMap<string, { document: string; policy: Policy }> = new Map(
  Object.entries({
    [administratorAccess]: allow("*"),
    "arn:aws:iam::aws:policy/PowerUserAccess": JSON.stringify({
      Version: "2012-10-17",
      Statement: [{
        Effect: "Allow",
        NotAction: ["iam:*", "organizations:*", "account:*"],
        Resource: "*",
      }, {
        Effect: "Allow",
        Action: ["iam:ListRoles", "organizations:DescribeOrganization", "account:ListRegions"],
        Resource: "*",
      }],
    }),
    "arn:aws:iam::aws:policy/IAMFullAccess": allow("iam:*"),
    "arn:aws:iam::aws:policy/IAMReadOnlyAccess": allow(
      "iam:GenerateCredentialReport",
      "iam:GenerateServiceLastAccessedDetails",
      "iam:Get*",
      "iam:List*",
      "iam:SimulateCustomPolicy",
      "iam:SimulatePrincipalPolicy",
    ),
    "arn:aws:iam::aws:policy/AmazonEC2FullAccess": allow("ec2:*"),
    "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess": allow("ec2:Describe*", "ec2:Get*"),
    "arn:aws:iam::aws:policy/AmazonS3FullAccess": allow("s3:*"),
    "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess": allow("s3:Get*", "s3:List*", "s3:Describe*"),
  }).map(([arn, document]) => [arn, { document, policy: parsePolicy(document) }]),
);

/** The customer's policy of that ARN. */
export function customerPolicy(state: State, arn: string): ManagedPolicyRecord | undefined {
  const match = /^arn:aws:iam::(\d{12}):policy\/(?:.*\/)?([^/]+)$/.exec(arn);
  if (match === null) return undefined;
  const policy = state.policies.get(nameKey(match[1] ?? "", match[2] ?? ""))?.value;
  return policy !== undefined && policyArn(policy) === arn ? policy : undefined;
}

export function documentOf(policy: ManagedPolicyRecord, version = policy.default_version): string {
  const found = policy.versions.find((one) => one.id === version);
  if (found === undefined) throw new Error(`${policyArn(policy)} has no version ${version}`);
  return found.document;
}

const parsed = new WeakMap<ManagedPolicyRecord, Policy>();

/** What the policy of that ARN says now; undefined when there is none. */
export function policyByArn(state: State, arn: string): Policy | undefined {
  const known = awsPolicies.get(arn);
  if (known !== undefined) return known.policy;
  const record = customerPolicy(state, arn);
  if (record === undefined) return undefined;
  let policy = parsed.get(record);
  if (policy === undefined) {
    policy = parsePolicy(documentOf(record));
    parsed.set(record, policy);
  }
  return policy;
}

/** Whether an identity of the account may have it attached. */
export function isManagedPolicy(state: State, accountId: string, arn: string): boolean {
  return awsPolicies.has(arn) ||
    (arn.split(":")[4] === accountId && customerPolicy(state, arn) !== undefined);
}
