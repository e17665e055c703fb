/**
 * ModifyVolume and DescribeVolumesModifications. What is wanted is written into the record (`modifying`) before anything is
 * done; the keeper brings the volume there (`volume_modification.ts`).
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { incorrectState, invalidValue, missingParameter } from "../../resources/errors.ts";
import type { Attributes } from "../../resources/filters.ts";
import type { Input, Output } from "../../resources/wire.ts";
import type { VolumeModification, VolumeRecord, VolumeShape } from "../contract.ts";
import type { Quotas } from "../quotas/quotas.ts";
import type { VolumeKeeper } from "./volume_keeper.ts";
import { checkCapacity } from "./volume_lifecycle.ts";
import {
  changedPerformance,
  refuseHardDiskRoot,
  refuseMultiAttach,
  shownPerformance,
  typeNamed,
} from "./volume_performance.ts";

type Shown = NonNullable<Output<"DescribeVolumesModifications">["VolumesModifications"]>[number];

function showModification({ volume_id }: VolumeRecord, of: VolumeModification): Shown {
  const [original, target] = [shapeOf(of.original), shapeOf(of.target)];
  const [before, after] = [shownPerformance(original), shownPerformance(target)];
  return {
    VolumeId: volume_id,
    ModificationState: of.state,
    ...(of.message === undefined ? {} : { StatusMessage: of.message }),
    OriginalSize: of.original.size_gib,
    ...(before.Iops === undefined ? {} : { OriginalIops: before.Iops }),
    ...(before.Throughput === undefined ? {} : { OriginalThroughput: before.Throughput }),
    OriginalVolumeType: original.volume_type,
    OriginalMultiAttachEnabled: false,
    TargetSize: of.target.size_gib,
    ...(after.Iops === undefined ? {} : { TargetIops: after.Iops }),
    ...(after.Throughput === undefined ? {} : { TargetThroughput: after.Throughput }),
    TargetVolumeType: target.volume_type,
    TargetMultiAttachEnabled: false,
    Progress: of.state === "completed" ? 100 : 0,
    StartTime: of.start_time,
    ...(of.end_time === undefined ? {} : { EndTime: of.end_time }),
  };
}

const shapeOf = ({ volume_type = "gp3", ...rest }: VolumeShape) => ({ volume_type, ...rest });

/** What the volume is to be. @throws AwsError */
function targetOf(input: Input<"ModifyVolume">, volume: VolumeRecord) {
  const size_gib = input.Size ?? volume.size_gib;
  if (size_gib < volume.size_gib) {
    throw invalidValue("New size cannot be smaller than existing size");
  }
  const volume_type = input.VolumeType === undefined ? undefined : typeNamed(input.VolumeType);
  // Slot 0 is the root volume's.
  if (volume.attachment?.slot === 0) refuseHardDiskRoot(volume_type, "InvalidParameterValue");
  return {
    size_gib,
    ...changedPerformance(volume, {
      volume_type,
      size_gib,
      iops: input.Iops,
      throughput: input.Throughput,
    }),
  };
}

function checkState(volume: VolumeRecord): void {
  if (volume.state !== "available" && volume.state !== "in-use") {
    throw incorrectState(`The volume '${volume.volume_id}' is '${volume.state}'.`);
  }
  if (volume.modification?.state === "modifying") {
    throw new AwsError(
      "IncorrectModificationState",
      `Cannot modify volume '${volume.volume_id}': a modification is under way.`,
    );
  }
}

const attributes: Attributes<VolumeRecord> = {
  "volume-id": (volume) => volume.volume_id,
  "modification-state": (volume) => volume.modification?.state,
  "original-iops": ({ modification }) =>
    modification && shownPerformance(shapeOf(modification.original)).Iops,
  "original-size": (volume) => volume.modification?.original.size_gib,
  "original-volume-type": ({ modification }) =>
    modification && shapeOf(modification.original).volume_type,
  "originalMultiAttachEnabled": () => false,
  "start-time": (volume) => volume.modification?.start_time,
  "target-iops": ({ modification }) =>
    modification && shownPerformance(shapeOf(modification.target)).Iops,
  "target-size": (volume) => volume.modification?.target.size_gib,
  "target-volume-type": ({ modification }) =>
    modification && shapeOf(modification.target).volume_type,
  "targetMultiAttachEnabled": () => false,
};

export function modificationActions(keeper: VolumeKeeper, quotas: Quotas) {
  const { bus, volumes } = keeper.dependencies;
  return {
    ModifyVolume: {
      resources: (input, call) => [volumes.arnOf(call, input.VolumeId)],
      check: async (input, call: Call) => {
        const volume = await volumes.require(call.account_id, input.VolumeId);
        refuseMultiAttach(
          input.MultiAttachEnabled,
          input.VolumeType === undefined ? volume.volume_type : typeNamed(input.VolumeType),
        );
        if (
          input.Size === undefined && input.Iops === undefined && input.Throughput === undefined &&
          input.VolumeType === undefined
        ) throw missingParameter("size");
        targetOf(input, volume);
        checkState(volume);
      },
      run: async (input, call) => {
        const before = await volumes.require(call.account_id, input.VolumeId);
        const growth = (input.Size ?? before.size_gib) - before.size_gib;
        if (growth > 0) {
          quotas.checkStorage(call.account_id, growth);
          await checkCapacity(bus, growth);
        }
        const volume = await volumes.modify(call.account_id, input.VolumeId, (now) => {
          checkState(now);
          return {
            ...now,
            modification: {
              state: "modifying",
              original: {
                volume_type: now.volume_type,
                size_gib: now.size_gib,
                iops: now.iops,
                throughput: now.throughput,
              },
              target: targetOf(input, now),
              start_time: new Date().toISOString(),
            },
          };
        });
        keeper.drive(call.account_id, input.VolumeId);
        const { modification } = volume;
        return modification === undefined
          ? {}
          : { VolumeModification: showModification(volume, modification) };
      },
    },

    DescribeVolumesModifications: {
      run: async (input, call) => {
        for (const id of input.VolumeIds ?? []) {
          const { modification } = await volumes.require(call.account_id, id);
          if (modification !== undefined) continue;
          throw new AwsError(
            "InvalidVolumeModification.NotFound",
            `Modification for volume '${id}' does not exist.`,
          );
        }
        const page = await volumes.describe({
          action: "DescribeVolumesModifications",
          ids: input.VolumeIds,
          filters: input.Filters,
          page: input,
          attributes,
          where: (volume) => volume.modification !== undefined,
        }, call);
        return {
          VolumesModifications: page.records.flatMap((volume) =>
            volume.modification === undefined ? [] : [showModification(volume, volume.modification)]
          ),
          NextToken: page.nextToken,
        };
      },
    },
  } satisfies ActionTable;
}
