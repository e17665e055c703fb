/** Which function answers which action of IAM and STS: all that the contract promises, and no other. */
import {
  createAccessKey,
  deleteAccessKey,
  listAccessKeys,
  updateAccessKey,
} from "./iam/access_keys.ts";
import { getAccountSummary } from "./accounts.ts";
import { createAccountAlias, deleteAccountAlias, listAccountAliases } from "./aliases.ts";
import type { Call } from "./call.ts";
import type { identityActions } from "./contract.ts";
import * as policies from "./iam/customer_policies.ts";
import * as groups from "./iam/groups.ts";
import type { HolderActions } from "./iam/holder_policies.ts";
import * as profiles from "./iam/instance_profiles.ts";
import * as roles from "./iam/roles.ts";
import { simulateCustomPolicy, simulatePrincipalPolicy } from "./iam/simulation.ts";
import * as sts from "./sts.ts";
import * as users from "./iam/users.ts";

/** The gateway's codec has checked the input's shape by the SDK's schema; here it is any of them. */
type Answer = (input: never, call: Call) => unknown;

type ActionsOf<Service extends keyof typeof identityActions> = Readonly<
  Record<(typeof identityActions)[Service][number], Answer>
>;

function named<Title extends string>(title: Title, actions: HolderActions) {
  return {
    [`Put${title}Policy`]: actions.put,
    [`Get${title}Policy`]: actions.get,
    [`Delete${title}Policy`]: actions.remove,
    [`List${title}Policies`]: actions.list,
    [`Attach${title}Policy`]: actions.attach,
    [`Detach${title}Policy`]: actions.detach,
    [`ListAttached${title}Policies`]: actions.listAttached,
  } as Record<
    | `${"Put" | "Get" | "Delete" | "Attach" | "Detach"}${Title}Policy`
    | `${"List" | "ListAttached"}${Title}Policies`,
    Answer
  >;
}

export const iamActions: ActionsOf<"iam"> = {
  ...named("User", users.userPolicies),
  ...named("Group", groups.groupPolicies),
  ...named("Role", roles.rolePolicies),
  AddRoleToInstanceProfile: profiles.addRoleToInstanceProfile,
  AddUserToGroup: groups.addUserToGroup,
  CreateAccessKey: createAccessKey,
  CreateAccountAlias: createAccountAlias,
  CreateGroup: groups.createGroup,
  CreateInstanceProfile: profiles.createInstanceProfile,
  CreatePolicy: policies.createPolicy,
  CreatePolicyVersion: policies.createPolicyVersion,
  CreateRole: roles.createRole,
  CreateUser: users.createUser,
  DeleteAccessKey: deleteAccessKey,
  DeleteAccountAlias: deleteAccountAlias,
  DeleteGroup: groups.deleteGroup,
  DeleteInstanceProfile: profiles.deleteInstanceProfile,
  DeletePolicy: policies.deletePolicy,
  DeletePolicyVersion: policies.deletePolicyVersion,
  DeleteRole: roles.deleteRole,
  DeleteRolePermissionsBoundary: roles.roleBoundary.remove,
  DeleteUser: users.deleteUser,
  DeleteUserPermissionsBoundary: users.userBoundary.remove,
  GetAccountSummary: getAccountSummary,
  GetGroup: groups.getGroup,
  GetInstanceProfile: profiles.getInstanceProfile,
  GetPolicy: policies.getPolicy,
  GetPolicyVersion: policies.getPolicyVersion,
  GetRole: roles.getRole,
  GetUser: users.getUser,
  ListAccessKeys: listAccessKeys,
  ListAccountAliases: listAccountAliases,
  ListEntitiesForPolicy: policies.listEntitiesForPolicy,
  ListGroups: groups.listGroups,
  ListGroupsForUser: groups.listGroupsForUser,
  ListInstanceProfileTags: profiles.profileTags.list,
  ListInstanceProfiles: profiles.listInstanceProfiles,
  ListInstanceProfilesForRole: profiles.listInstanceProfilesForRole,
  ListPolicies: policies.listPolicies,
  ListPolicyTags: policies.policyTags.list,
  ListPolicyVersions: policies.listPolicyVersions,
  ListRoleTags: roles.roleTags.list,
  ListRoles: roles.listRoles,
  ListUserTags: users.userTags.list,
  ListUsers: users.listUsers,
  PutRolePermissionsBoundary: roles.roleBoundary.put,
  PutUserPermissionsBoundary: users.userBoundary.put,
  RemoveRoleFromInstanceProfile: profiles.removeRoleFromInstanceProfile,
  RemoveUserFromGroup: groups.removeUserFromGroup,
  SetDefaultPolicyVersion: policies.setDefaultPolicyVersion,
  SimulateCustomPolicy: simulateCustomPolicy,
  SimulatePrincipalPolicy: simulatePrincipalPolicy,
  TagInstanceProfile: profiles.profileTags.tag,
  TagPolicy: policies.policyTags.tag,
  TagRole: roles.roleTags.tag,
  TagUser: users.userTags.tag,
  UntagInstanceProfile: profiles.profileTags.untag,
  UntagPolicy: policies.policyTags.untag,
  UntagRole: roles.roleTags.untag,
  UntagUser: users.userTags.untag,
  UpdateAccessKey: updateAccessKey,
  UpdateAssumeRolePolicy: roles.updateAssumeRolePolicy,
  UpdateGroup: groups.updateGroup,
  UpdateRole: roles.updateRole,
  UpdateRoleDescription: roles.updateRoleDescription,
  UpdateUser: users.updateUser,
};

export const stsActions: ActionsOf<"sts"> = {
  AssumeRole: sts.assumeRole,
  GetAccessKeyInfo: sts.getAccessKeyInfo,
  GetCallerIdentity: sts.getCallerIdentity,
  GetFederationToken: sts.getFederationToken,
  GetSessionToken: sts.getSessionToken,
};
