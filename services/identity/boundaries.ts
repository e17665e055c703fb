/** Permissions boundaries of users and roles: a managed policy that limits what the others allow. */
import type { AwsError } from "../aws/errors.ts";
import type { Table } from "../state/table.ts";
import { type Call, noSuchEntity } from "./call.ts";
import { checkPolicyArn } from "./holder_policies.ts";
import { isManagedPolicy } from "./managed_policies.ts";
import { nameKey, type RoleRecord, type UserRecord } from "./records.ts";

/** The field of a record. @throws AwsError `ValidationError`, `NoSuchEntity` */
export function boundaryOf(call: Call, arn: string | undefined): { readonly boundary?: string } {
  if (arn === undefined) return {};
  checkPolicyArn(arn);
  if (!isManagedPolicy(call.state, call.caller.account_id, arn)) {
    throw noSuchEntity(`Policy ${arn} does not exist or is not attachable.`);
  }
  return { boundary: arn };
}

export const shownBoundary = (arn: string | undefined) =>
  arn === undefined ? {} : {
    PermissionsBoundary: {
      PermissionsBoundaryType: "PermissionsBoundaryPolicy" as const,
      PermissionsBoundaryArn: arn,
    },
  };

/** `Put…PermissionsBoundary` and `Delete…PermissionsBoundary` of users or roles. */
export function actionsOnBoundary<T extends UserRecord | RoleRecord>(kind: {
  readonly title: "User" | "Role";
  table(call: Call): Table<T>;
  id(one: T): string;
  required(call: Call, action: string, name: string | undefined): T;
  noSuch(name: string): AwsError;
}) {
  type Input = {
    readonly UserName?: string | undefined;
    readonly RoleName?: string | undefined;
    readonly PermissionsBoundary?: string | undefined;
  };
  const change = async (one: T, call: Call, make: (now: T) => T) => {
    await kind.table(call).modify(nameKey(one.account_id, one.name), (now) => {
      if (now === undefined || kind.id(now) !== kind.id(one)) throw kind.noSuch(one.name);
      return make(now);
    });
    return {};
  };
  const named = (input: Input) => kind.title === "User" ? input.UserName : input.RoleName;
  return {
    async put(input: Input, call: Call): Promise<Record<string, never>> {
      const action = `iam:Put${kind.title}PermissionsBoundary`;
      const one = kind.required(call, action, named(input));
      const arn = input.PermissionsBoundary ?? "";
      const bound = boundaryOf(call, arn);
      return await change(one, call, (now) => ({ ...now, ...bound }));
    },
    async remove(input: Input, call: Call): Promise<Record<string, never>> {
      const action = `iam:Delete${kind.title}PermissionsBoundary`;
      const one = kind.required(call, action, named(input));
      return await change(one, call, (now) => {
        if (now.boundary === undefined) {
          throw noSuchEntity(`${now.name} has no permissions boundary.`);
        }
        const { boundary: _gone, ...rest } = now;
        return rest as T;
      });
    },
  };
}
