/**
 * Policies that AWS manages and that exist in every account under the same ARN. Only those whose
 * meaning here is the same as there.
 */
import { parsePolicy, type Policy } from "./policy/document.ts";

export const administratorAccess = "arn:aws:iam::aws:policy/AdministratorAccess";

const allow = (...actions: string[]) =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: actions, Resource: "*" }],
  });

/** ARN to document. */
export const managedPolicies: ReadonlyMap<string, { document: string; policy: Policy }> = new Map(
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
    "arn:aws:iam::aws:policy/AmazonEC2FullAccess": allow("ec2:*"),
    "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess": allow("ec2:Describe*", "ec2:Get*"),
    "arn:aws:iam::aws:policy/AmazonS3FullAccess": allow("s3:*"),
    "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess": allow("s3:Get*", "s3:List*", "s3:Describe*"),
  }).map(([arn, document]) => [arn, { document, policy: parsePolicy(document) }]),
);
