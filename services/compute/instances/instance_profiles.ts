/**
 * Instance profiles of instances. The profile itself is identity's; an instance's record holds its ARN
 * and id, from which the metadata service gets the instance's credentials. An association's id follows
 * from instance and profile, so that it needs no record of its own and a repeated call means the same.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { instanceProfile } from "../../identity/contract.ts";
import type { Action, Call, RegisterOptions } from "../../resources/actions.ts";
import {
  invalidCombination,
  missingParameter,
  unauthorizedOperation,
} from "../../resources/errors.ts";
import { compileFilters } from "../../resources/filters.ts";
import { idOf } from "../../resources/ids.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Resources } from "../../resources/resource.ts";
import type { Output } from "../../resources/wire.ts";
import type { InstanceRecord } from "../contract.ts";

export interface ProfileDependencies {
  readonly bus: Bus;
  readonly instances: Resources<InstanceRecord>;
  readonly authorize?: RegisterOptions["authorize"];
}

type Profile = NonNullable<InstanceRecord["iam_instance_profile"]>;
type Association = NonNullable<
  Output<"DescribeIamInstanceProfileAssociations">["IamInstanceProfileAssociations"]
>[number];

/**
 * The profile that a caller names, if it may pass the profile's role on to an instance.
 * @throws AwsError `InvalidParameterValue`, `UnauthorizedOperation`
 */
export async function profileFor(
  { bus, authorize }: Pick<ProfileDependencies, "bus" | "authorize">,
  given: { readonly Arn?: string | undefined; readonly Name?: string | undefined },
  call: Call,
): Promise<Profile> {
  const { Arn: arn, Name: name } = given;
  if (arn === undefined && name === undefined) throw missingParameter("IamInstanceProfile");
  if (arn !== undefined && name !== undefined) {
    throw invalidCombination("The parameters 'Name' and 'Arn' may not be used together");
  }
  const found = await bus.ask(
    instanceProfile,
    {
      account_id: call.account_id,
      ...(name === undefined ? {} : { name }),
      ...(arn === undefined ? {} : { arn }),
    },
    call,
  );
  if (found.role_arn !== undefined && authorize !== undefined) {
    const request = {
      principal_arn: call.principal_arn,
      action: "iam:PassRole",
      resource: found.role_arn,
      conditions: { "iam:PassedToService": "ec2.amazonaws.com" },
    };
    if (!await authorize(request, call)) {
      throw unauthorizedOperation(
        `iam:PassRole on resource: ${found.role_arn}`,
        call.principal_arn,
      );
    }
  }
  const associated = new Date().toISOString();
  return { arn: found.arn, id: found.id, associated };
}

const associationId = (instance: InstanceRecord, profile: Profile) =>
  idOf("iip-assoc-", instance.instance_id, profile.id, profile.associated);

async function shown(
  instance: InstanceRecord,
  profile: Profile,
  state: "associated" | "disassociating" = "associated",
): Promise<Association> {
  return {
    AssociationId: await associationId(instance, profile),
    InstanceId: instance.instance_id,
    IamInstanceProfile: { Arn: profile.arn, Id: profile.id },
    State: state,
    Timestamp: profile.associated,
  };
}

/** Instances of the account with a profile, by their ids. */
function associatedOf(
  instances: Resources<InstanceRecord>,
  account: string,
): readonly (readonly [InstanceRecord, Profile])[] {
  return instances.table.list(`${account}.`).flatMap(({ value }) =>
    value.iam_instance_profile === undefined || value.state === "terminated"
      ? []
      : [[value, value.iam_instance_profile] as const]
  );
}

async function associationOf(
  instances: Resources<InstanceRecord>,
  call: Call,
  id: string,
): Promise<readonly [InstanceRecord, Profile]> {
  for (const [instance, profile] of associatedOf(instances, call.account_id)) {
    if (await associationId(instance, profile) === id) return [instance, profile];
  }
  throw new AwsError(
    "NoSuchAssociation",
    `An invalid association-id of '${id}' was given`,
  );
}

export function profileActions(dependencies: ProfileDependencies) {
  const { instances } = dependencies;
  const associate: Action<"AssociateIamInstanceProfile"> = {
    resources: (input, call) => [instances.arnOf(call, input.InstanceId)],
    run: async (input, call) => {
      const instance = await instances.require(call.account_id, input.InstanceId);
      const profile = await profileFor(dependencies, input.IamInstanceProfile, call);
      const changed = await instances.modify(
        call.account_id,
        instance.instance_id,
        (now) => {
          if (now.wanted === "terminated") {
            throw new AwsError(
              "IncorrectInstanceState",
              `The instance '${now.instance_id}' is being terminated.`,
            );
          }
          if (now.iam_instance_profile !== undefined) {
            throw new AwsError(
              "IncorrectState",
              `There is an existing association for instance ${now.instance_id}`,
            );
          }
          return { ...now, iam_instance_profile: profile };
        },
      );
      return { IamInstanceProfileAssociation: await shown(changed, profile) };
    },
  };
  const disassociate: Action<"DisassociateIamInstanceProfile"> = {
    run: async (input, call) => {
      const [instance, profile] = await associationOf(instances, call, input.AssociationId);
      await instances.modify(call.account_id, instance.instance_id, (now) => {
        if (now.iam_instance_profile?.associated !== profile.associated) return now;
        const { iam_instance_profile: _gone, ...rest } = now;
        return rest;
      });
      return {
        IamInstanceProfileAssociation: await shown(instance, profile, "disassociating"),
      };
    },
  };
  const replace: Action<"ReplaceIamInstanceProfileAssociation"> = {
    run: async (input, call) => {
      const [instance] = await associationOf(instances, call, input.AssociationId);
      const profile = await profileFor(dependencies, input.IamInstanceProfile, call);
      const changed = await instances.modify(
        call.account_id,
        instance.instance_id,
        (now) => ({ ...now, iam_instance_profile: profile }),
      );
      return { IamInstanceProfileAssociation: await shown(changed, profile) };
    },
  };
  const describe: Action<"DescribeIamInstanceProfileAssociations"> = {
    run: async (input, call) => {
      const all = await Promise.all(
        associatedOf(instances, call.account_id).map(([instance, profile]) =>
          shown(instance, profile)
        ),
      );
      const ids = input.AssociationIds;
      for (const id of ids ?? []) await associationOf(instances, call, id);
      const matches = compileFilters<Association>(input.Filters, {
        "instance-id": (one) => one.InstanceId,
        "state": (one) => one.State,
      });
      const page = pageOf(
        all.filter((one) =>
          (ids === undefined || ids.includes(one.AssociationId ?? "")) && matches(one)
        ),
        (one) => one.AssociationId ?? "",
        { action: "DescribeIamInstanceProfileAssociations", input, call },
      );
      return {
        IamInstanceProfileAssociations: page.items,
        NextToken: page.nextToken,
      };
    },
  };
  return {
    AssociateIamInstanceProfile: associate,
    DescribeIamInstanceProfileAssociations: describe,
    DisassociateIamInstanceProfile: disassociate,
    ReplaceIamInstanceProfileAssociation: replace,
  };
}
