/** Which function answers which action of IAM and STS: all that the contract promises, and no other. */
import {
  createAccessKey,
  deleteAccessKey,
  listAccessKeys,
  updateAccessKey,
} from "./access_keys.ts";
import type { Call } from "./call.ts";
import type { identityActions } from "./contract.ts";
import { getAccessKeyInfo, getCallerIdentity } from "./sts.ts";
import {
  attachUserPolicy,
  deleteUserPolicy,
  detachUserPolicy,
  getUserPolicy,
  listAttachedUserPolicies,
  listUserPolicies,
  putUserPolicy,
} from "./user_policies.ts";
import { createUser, deleteUser, getUser, listUsers } from "./users.ts";

/** The gateway's codec has checked the input's shape by the SDK's schema; here it is any of them. */
type Answer = (input: never, call: Call) => unknown;

type ActionsOf<Service extends keyof typeof identityActions> = Readonly<
  Record<(typeof identityActions)[Service][number], Answer>
>;

export const iamActions: ActionsOf<"iam"> = {
  AttachUserPolicy: attachUserPolicy,
  CreateAccessKey: createAccessKey,
  CreateUser: createUser,
  DeleteAccessKey: deleteAccessKey,
  DeleteUser: deleteUser,
  DeleteUserPolicy: deleteUserPolicy,
  DetachUserPolicy: detachUserPolicy,
  GetUser: getUser,
  GetUserPolicy: getUserPolicy,
  ListAccessKeys: listAccessKeys,
  ListAttachedUserPolicies: listAttachedUserPolicies,
  ListUserPolicies: listUserPolicies,
  ListUsers: listUsers,
  PutUserPolicy: putUserPolicy,
  UpdateAccessKey: updateAccessKey,
};

export const stsActions: ActionsOf<"sts"> = {
  GetAccessKeyInfo: getAccessKeyInfo,
  GetCallerIdentity: getCallerIdentity,
};
