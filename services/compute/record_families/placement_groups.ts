/** Placement groups: a strategy that launches name. One node is one rack, one partition, one host. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { idOf } from "../../resources/ids.ts";
import { kind } from "../../resources/kind.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import type { RecordFamilies } from "./record_family.ts";

export const placementGroup = kind<Shape<Ec2.PlacementGroup>>({
  name: "placement-group",
  idPrefix: "pg-",
  id: "GroupId",
  owner: null,
  notFound: "InvalidPlacementGroupId.NotFound",
  malformed: "InvalidPlacementGroupId.Malformed",
  filters: ["group-arn", "group-name", "spread-level", "state", "strategy"],
  quota: { most: 500, code: "PlacementGroupLimitExceeded" },
});

const idOfName = (account: string, name: string) => idOf("pg-", account, name);

/** The account's group of that name. @throws AwsError `InvalidPlacementGroup.Unknown` */
export async function groupNamed(records: Records, account: string, name: string) {
  const found = records.get(placementGroup, account, await idOfName(account, name));
  if (found === undefined) {
    throw new AwsError(
      "InvalidPlacementGroup.Unknown",
      `The Placement Group '${name}' is unknown.`,
    );
  }
  return found;
}

export function placementGroupActions({ operations: n, records, instances }: RecordFamilies) {
  return {
    CreatePlacementGroup: n.creates(placementGroup, {
      answer: "PlacementGroup",
      id: (input, call) => idOfName(call.account_id, input.GroupName ?? ""),
      make: async (input, call) => {
        const name = input.GroupName;
        if (name === undefined || name === "") throw missingParameter("groupName");
        if (name.length > 255) throw invalidParameter("groupName", name, "It is too long.");
        if (
          records.get(placementGroup, call.account_id, await idOfName(call.account_id, name)) !==
            undefined
        ) {
          throw new AwsError(
            "InvalidPlacementGroup.Duplicate",
            `The Placement Group '${name}' already exists.`,
          );
        }
        const strategy = input.Strategy ?? "cluster";
        if (!["cluster", "spread", "partition"].includes(strategy)) {
          throw invalidParameter("strategy", strategy, "Expected: cluster, spread or partition.");
        }
        const partitions = input.PartitionCount;
        if (
          partitions !== undefined && (strategy !== "partition" || partitions < 1 || partitions > 7)
        ) {
          throw invalidParameter(
            "partitionCount",
            partitions,
            "A partition group has 1 to 7 partitions.",
          );
        }
        const level = input.SpreadLevel;
        if (level !== undefined && (strategy !== "spread" || !["host", "rack"].includes(level))) {
          throw invalidParameter(
            "spreadLevel",
            level,
            "A spread group has the level rack or host.",
          );
        }
        return {
          GroupArn: `arn:aws:ec2:${call.region}:${call.account_id}:placement-group/${name}`,
          ...(strategy === "partition" ? { PartitionCount: partitions ?? 2 } : {}),
          ...(strategy === "spread" ? { SpreadLevel: level ?? "rack" } : {}),
          State: "available",
          Strategy: strategy,
        };
      },
    }),
    DescribePlacementGroups: n.custom({
      reads: true,
      run: async (input, call) => {
        const ids = [...input.GroupIds ?? []];
        for (const name of input.GroupNames ?? []) {
          ids.push((await groupNamed(records, call.account_id, name)).id);
        }
        const page = await records.of(placementGroup).describe({
          action: "DescribePlacementGroups",
          ids,
          filters: input.Filters,
        }, call);
        return { PlacementGroups: page.records.map((one) => records.show(placementGroup, one)) };
      },
    }),
    DeletePlacementGroup: n.deletes(placementGroup, {
      id: async (input, call) => (await groupNamed(records, call.account_id, input.GroupName)).id,
      refuse: (record, _input, call) => {
        for (const instance of instances.all(call.account_id)) {
          if (
            instance.state !== "terminated" &&
            instance.settings?.placement_group === record.shape.GroupName
          ) {
            throw new AwsError(
              "InvalidPlacementGroup.InUse",
              `The placement group '${record.shape.GroupName}' is in use and may not be deleted.`,
            );
          }
        }
      },
    }),
  } satisfies ActionTable;
}
