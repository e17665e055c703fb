/**
 * Security groups. A group's rules are records of their own (`security_group_rules.ts`); what a group
 * shows as permissions is made of them.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter, invalidValue, missingParameter } from "../../resources/errors.ts";
import { idOf } from "../../resources/ids.ts";
import type { AnyKind, KindRecord } from "../../resources/kind.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Records } from "../../resources/records.ts";
import { showTags } from "../../resources/tags.ts";
import { permissionsOf, rulesOf, securityGroupRule } from "../kinds/security_group_rules.ts";
import { type GroupRecord, securityGroup } from "../kinds/security_groups.ts";
import { defaultVpcOf, vpc } from "../kinds/vpcs.ts";
import { arn, type Network } from "../network.ts";
import { peeringBetween } from "./peering.ts";

const defaultGroupId = (vpcId: string) => vpcId.replace(/^vpc-/, "sg-");

/** The default group of a VPC: lets its members talk to each other, and everything out. */
export async function makeDefaultGroup(
  records: Records,
  account: string,
  vpcId: string,
): Promise<void> {
  const id = defaultGroupId(vpcId);
  await records.create(securityGroup, account, {
    Description: "default VPC security group",
    GroupName: "default",
    VpcId: vpcId,
  }, { id });
  await records.create(securityGroupRule, account, {
    GroupId: id,
    GroupOwnerId: account,
    IsEgress: false,
    IpProtocol: "-1",
    FromPort: -1,
    ToPort: -1,
    ReferencedGroupInfo: { GroupId: id, UserId: account },
  }, { id: await idOf("sgr-", id, "in") });
  await allowAllOut(records, account, id);
}

async function allowAllOut(records: Records, account: string, id: string): Promise<void> {
  await records.create(securityGroupRule, account, {
    GroupId: id,
    GroupOwnerId: account,
    IsEgress: true,
    IpProtocol: "-1",
    FromPort: -1,
    ToPort: -1,
    CidrIpv4: "0.0.0.0/0",
  }, { id: await idOf("sgr-", id, "out") });
}

/**
 * What a creation left behind that was cut off between the first rule and its group.
 * @param age_ms from when on: where another process makes the two, this one may see the rule alone for a moment
 */
export async function forgetRulesOfNoGroup(records: Records, age_ms = 60_000): Promise<void> {
  for (const { account_id, id, shape, created } of [...records.all(securityGroupRule)]) {
    const isLeft = () => records.get(securityGroup, account_id, shape.GroupId ?? "") === undefined;
    if (Date.now() - Date.parse(created) < age_ms || !isLeft()) continue;
    await records.serialised(account_id, async () => {
      if (isLeft()) await records.remove(securityGroupRule, account_id, id);
    });
  }
}

/** A group's own rules go with it; those of others that name it keep it. */
export const ownRules = (
  one: AnyKind,
  rule: KindRecord<Readonly<Record<string, unknown>>>,
  group: GroupRecord,
) => one.name === "security-group-rule" && rule.shape["GroupId"] === group.id;

async function removeRules(records: Records, group: GroupRecord): Promise<void> {
  for (const rule of rulesOf(records, group)) {
    await records.remove(securityGroupRule, group.account_id, rule.id);
  }
}

/** Takes a group away with its rules. */
export async function removeGroup(records: Records, group: GroupRecord): Promise<void> {
  await removeRules(records, group);
  await records.remove(securityGroup, group.account_id, group.id);
}

const association = (record: GroupRecord, vpcId: string, account: string) => ({
  GroupId: record.id,
  GroupOwnerId: account,
  VpcId: vpcId,
  VpcOwnerId: account,
  State: "associated" as const,
});

export const securityGroupActions = ({ operations: n, records, region }: Network) => {
  const named = (account: string, vpcId: string, name: string) =>
    records.find(securityGroup, account, name).find((one) =>
      one.shape.GroupName === name && one.shape.VpcId === vpcId
    );
  return {
    CreateSecurityGroup: n.creates(securityGroup, {
      make: (input, call) => {
        const of = input.VpcId ?? defaultVpcOf(records, call.account_id)?.id;
        if (of === undefined) {
          throw new AwsError("VPCIdNotSpecified", "No default VPC for this user");
        }
        for (
          const [name, text] of [["groupName", input.GroupName], [
            "groupDescription",
            input.Description,
          ]] as const
        ) {
          if (text === "" || text.length > 255 || !/^[\w \-.:/()#,@[\]+=&;{}!$*]+$/.test(text)) {
            throw invalidParameter(name, text, "Character sets beyond ASCII are not supported.");
          }
        }
        if (/^sg-/.test(input.GroupName)) {
          throw invalidParameter("groupName", input.GroupName, "It may not begin with sg-.");
        }
        if (named(call.account_id, of, input.GroupName) !== undefined) {
          throw new AwsError(
            input.GroupName === "default" ? "InvalidGroup.Reserved" : "InvalidGroup.Duplicate",
            `The security group '${input.GroupName}' already exists for VPC '${of}'`,
          );
        }
        return { VpcId: of };
      },
      // A group that a crash left without it would cut off whoever is in it.
      first: (id, call) => allowAllOut(records, call.account_id, id),
      answer: (record) => ({
        GroupId: record.id,
        SecurityGroupArn: arn(region, record.account_id, "security-group", record.id),
        Tags: showTags(record.tags),
      }),
    }),
    DescribeSecurityGroups: n.custom({
      reads: true,
      run: async (input, call) => {
        const of = defaultVpcOf(records, call.account_id)?.id ?? "";
        const ids = [...input.GroupIds ?? []];
        for (const name of input.GroupNames ?? []) {
          const found = named(call.account_id, of, name);
          if (found === undefined) {
            throw new AwsError(
              "InvalidGroup.NotFound",
              `The security group '${name}' does not exist in default VPC '${of}'`,
            );
          }
          ids.push(found.id);
        }
        const page = await records.of(securityGroup).describe({
          action: "DescribeSecurityGroups",
          ids,
          filters: input.Filters,
          page: input,
        }, call);
        return {
          SecurityGroups: page.records.map((record) => ({
            ...records.show(securityGroup, record),
            SecurityGroupArn: arn(region, record.account_id, "security-group", record.id),
          })),
          NextToken: page.nextToken,
        };
      },
    }),
    DeleteSecurityGroup: n.deletes(securityGroup, {
      id: (input, call) => {
        if (input.GroupId !== undefined) return input.GroupId;
        if (input.GroupName === undefined) throw missingParameter("groupName or groupId");
        const of = defaultVpcOf(records, call.account_id)?.id ?? "";
        const found = named(call.account_id, of, input.GroupName);
        if (found === undefined) {
          throw new AwsError(
            "InvalidGroup.NotFound",
            `The security group '${input.GroupName}' does not exist in default VPC '${of}'`,
          );
        }
        return found.id;
      },
      refuse: (record) => {
        if (record.shape.GroupName === "default") {
          throw new AwsError(
            "CannotDelete",
            `the specified group: "${record.id}" name: "default" cannot be deleted by a user`,
          );
        }
      },
      takes: ownRules,
      before: (record) => removeRules(records, record),
      answer: ([record]) => ({ Return: true, GroupId: record?.id }),
    }),

    DescribeSecurityGroupReferences: n.custom({
      reads: true,
      check: async (input, call) => {
        for (const id of input.GroupId) await records.require(securityGroup, call.account_id, id);
      },
      run: (input, call) => ({
        SecurityGroupReferenceSet: input.GroupId.flatMap((id) => {
          const home = records.get(securityGroup, call.account_id, id)?.shape.VpcId;
          return records.find(securityGroupRule, call.account_id, id).flatMap((rule) => {
            if (rule.shape.ReferencedGroupInfo?.GroupId !== id) return [];
            const other = records.get(securityGroup, call.account_id, rule.shape.GroupId ?? "");
            if (other === undefined || other.shape.VpcId === home) return [];
            const link = peeringBetween(records, [call.account_id], home, other.shape.VpcId)?.id;
            return [{
              GroupId: id,
              ReferencingVpcId: other.shape.VpcId,
              ...(link === undefined ? {} : { VpcPeeringConnectionId: link }),
            }];
          });
        }),
      }),
    }),
    DescribeStaleSecurityGroups: n.custom({
      reads: true,
      check: async (input, call) => {
        await records.require(vpc, call.account_id, input.VpcId);
      },
      run: (input, call) => {
        const stale = records.find(securityGroup, call.account_id, input.VpcId).flatMap((group) => {
          const rules = rulesOf(records, group).filter((rule) => {
            const other = rule.shape.ReferencedGroupInfo?.GroupId;
            return other !== undefined &&
              records.get(securityGroup, call.account_id, other) === undefined;
          });
          if (rules.length === 0) return [];
          const shown = permissionsOf(rules);
          const plain = (list: typeof shown.IpPermissions) =>
            (list ?? []).map((one) => ({ ...one, IpRanges: [], PrefixListIds: [] }));
          return [{
            Description: group.shape.Description,
            GroupId: group.id,
            GroupName: group.shape.GroupName,
            StaleIpPermissions: plain(shown.IpPermissions),
            StaleIpPermissionsEgress: plain(shown.IpPermissionsEgress),
            VpcId: input.VpcId,
          }];
        });
        const page = pageOf(stale, (one) => one.GroupId, {
          action: "DescribeStaleSecurityGroups",
          input,
          call,
        });
        return {
          StaleSecurityGroupSet: page.items,
          NextToken: page.nextToken,
        };
      },
    }),
    GetSecurityGroupsForVpc: n.custom({
      reads: true,
      check: async (input, call) => {
        await records.require(vpc, call.account_id, input.VpcId);
      },
      run: async (input, call) => {
        const page = await records.of(securityGroup).describe({
          action: "GetSecurityGroupsForVpc",
          filters: input.Filters?.map((one) =>
            one.Name === "primary-vpc-id" ? { ...one, Name: "vpc-id" } : one
          ),
          page: input,
          parameters: input.VpcId,
          where: ({ shape }) =>
            shape.VpcId === input.VpcId || shape.AssociatedVpcs?.includes(input.VpcId) === true,
        }, call);
        return {
          SecurityGroupForVpcs: page.records.map((record) => ({
            Description: record.shape.Description,
            GroupId: record.id,
            GroupName: record.shape.GroupName,
            OwnerId: record.account_id,
            PrimaryVpcId: record.shape.VpcId,
            Tags: showTags(record.tags),
          })),
          NextToken: page.nextToken,
        };
      },
    }),

    AssociateSecurityGroupVpc: n.changes(securityGroup, {
      id: "GroupId",
      change: (record, input) => {
        if (record.shape.GroupName === "default" || record.shape.VpcId === input.VpcId) {
          throw invalidValue(
            "A default security group, or one of this VPC, cannot be associated with it.",
          );
        }
        const present = record.shape.AssociatedVpcs ?? [];
        return { AssociatedVpcs: [...new Set([...present, input.VpcId])] };
      },
      answer: () => ({ State: "associated" }),
    }),
    DisassociateSecurityGroupVpc: n.changes(securityGroup, {
      id: "GroupId",
      change: (record, input, call) => {
        const present = record.shape.AssociatedVpcs ?? [];
        if (!present.includes(input.VpcId)) {
          throw new AwsError(
            "InvalidVpcSecurityGroupAssociation.NotFound",
            `The security group '${record.id}' is not associated with the VPC '${input.VpcId}'.`,
          );
        }
        const used = records.dependents(call.account_id, record.id).some((one) =>
          one.kind.name === "network-interface" && one.record.shape["VpcId"] === input.VpcId
        );
        if (used) {
          throw new AwsError(
            "DependencyViolation",
            `Network interfaces of the VPC '${input.VpcId}' use the security group '${record.id}'.`,
          );
        }
        return { AssociatedVpcs: present.filter((one) => one !== input.VpcId) };
      },
      answer: () => ({ State: "disassociated" }),
    }),
    DescribeSecurityGroupVpcAssociations: n.custom({
      reads: true,
      run: async (input, call) => {
        const page = await records.of(securityGroup).describe({
          action: "DescribeSecurityGroupVpcAssociations",
          filters: input.Filters,
          page: input,
          where: (record) => (record.shape.AssociatedVpcs ?? []).length > 0,
          attributes: {
            "group-id": (record) => record.id,
            "group-owner-id": (record) => record.account_id,
            "state": () => "associated",
            "vpc-id": (record) => record.shape.AssociatedVpcs ?? [],
            "vpc-owner-id": (record) => record.account_id,
          },
        }, call);
        return {
          SecurityGroupVpcAssociations: page.records.flatMap((record) =>
            (record.shape.AssociatedVpcs ?? []).map((one) =>
              association(record, one, call.account_id)
            )
          ),
          NextToken: page.nextToken,
        };
      },
    }),
  } satisfies ActionTable;
};
