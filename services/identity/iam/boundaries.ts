/** Permissions boundaries of users and roles: a managed policy that limits what the others allow. */
import { type Call, noSuchEntity } from "../call.ts";
import { checkPolicyArn, type HolderKind } from "./holder_policies.ts";
import { isManagedPolicy } from "./managed_policies.ts";
import { changeNamed } from "./named.ts";
import type { RoleRecord, UserRecord } from "../records.ts";

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
export function actionsOnBoundary<T extends UserRecord | RoleRecord>(kind: HolderKind<T>) {
  type Input = {
    readonly UserName?: string | undefined;
    readonly RoleName?: string | undefined;
    readonly PermissionsBoundary?: string | undefined;
  };
  const holderOf = (input: Input, call: Call, verb: "Put" | "Delete") =>
    kind.required(
      call,
      `iam:${verb}${kind.title}PermissionsBoundary`,
      kind.word === "user" ? input.UserName : input.RoleName,
    );
  return {
    async put(input: Input, call: Call): Promise<Record<string, never>> {
      const one = holderOf(input, call, "Put");
      const bound = boundaryOf(call, input.PermissionsBoundary ?? "");
      await changeNamed(call, kind, one, (now) => ({ ...now, ...bound }));
      return {};
    },
    async remove(input: Input, call: Call): Promise<Record<string, never>> {
      const one = holderOf(input, call, "Delete");
      await changeNamed(call, kind, one, (now) => {
        if (now.boundary === undefined) {
          throw noSuchEntity(`${now.name} has no permissions boundary.`);
        }
        const { boundary: _gone, ...rest } = now;
        return rest as T;
      });
      return {};
    },
  };
}
