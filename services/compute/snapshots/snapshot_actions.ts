/**
 * CreateSnapshot, CreateSnapshots, DescribeSnapshots, CopySnapshot, DeleteSnapshot.
 *
 * A snapshot's moment is the answer of the block store; what it still has to store goes on while the
 * snapshot is `pending`. Its record is written before the block store is asked, so that one that was
 * begun is never forgotten.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { incorrectState, invalidValue, unsupported } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import { showTags, tagsFromSpecifications } from "../../resources/tags.ts";
import type { Resources } from "../../resources/resource.ts";
import type { Input, Output } from "../../resources/wire.ts";
import { copySnapshot, createSnapshot } from "../../viperblock/contract.ts";
import type { InstanceRecord, SnapshotRecord, VolumeRecord } from "../contract.ts";
import {
  chooseEncryption,
  encryptionDefaults,
  type EncryptionRequest,
  sameEncryption,
  showEncryption,
} from "../volumes/encryption_choice.ts";
import type { Quotas } from "../quotas/quotas.ts";
import type { SnapshotKeeper } from "./snapshots.ts";
import type { ComputeState } from "../state.ts";

type Shown = NonNullable<Output<"DescribeSnapshots">["Snapshots"]>[number];

export function showSnapshot(snapshot: SnapshotRecord): Shown {
  return {
    SnapshotId: snapshot.snapshot_id,
    VolumeId: snapshot.volume_id ?? "vol-ffffffff",
    VolumeSize: snapshot.size_gib,
    Description: snapshot.description ?? "",
    ...showEncryption(snapshot),
    OwnerId: snapshot.account_id,
    StartTime: snapshot.start_time,
    State: snapshot.state === "deleting" ? "completed" : snapshot.state,
    Progress: snapshot.state === "pending" ? "0%" : "100%",
    StorageTier: "standard",
    Tags: showTags(snapshot.tags),
    ...(snapshot.completion_time === undefined ? {} : { CompletionTime: snapshot.completion_time }),
  };
}

/** Freezes a volume; the record says `pending` until the keeper hears that it is stored. */
export async function freezeVolume(
  bus: Bus,
  state: ComputeState,
  keeper: SnapshotKeeper,
  volume: VolumeRecord,
  rest: Pick<SnapshotRecord, "snapshot_id" | "tags"> & Partial<SnapshotRecord>,
): Promise<SnapshotRecord> {
  if (volume.state !== "available" && volume.state !== "in-use") {
    throw incorrectState(`The volume '${volume.volume_id}' is '${volume.state}'.`);
  }
  const record = await state.snapshots.ensure({
    ...rest,
    account_id: volume.account_id,
    volume_id: volume.volume_id,
    ...sameEncryption(volume),
    size_gib: volume.size_gib,
    state: "pending",
    start_time: new Date().toISOString(),
  });
  try {
    await bus.ask(createSnapshot, {
      volume_id: volume.volume_id,
      snapshot_id: record.snapshot_id,
    });
  } catch (error) {
    await keeper.remove(volume.account_id, record.snapshot_id);
    throw error;
  }
  return await keeper.look(record);
}

/** The volumes of an instance that a set of snapshots is to hold. */
export async function volumesOf(
  volumes: Resources<VolumeRecord>,
  instance: InstanceRecord,
  options: { readonly excludeRoot?: boolean; readonly exclude?: readonly string[] },
): Promise<readonly { readonly device: string; readonly volume: VolumeRecord }[]> {
  const chosen = instance.attachments.filter(({ device, volume_id }) =>
    !(options.excludeRoot === true && device === instance.root_device_name) &&
    !(options.exclude ?? []).includes(volume_id)
  );
  return await Promise.all(chosen.map(async ({ device, volume_id }) => ({
    device,
    volume: await volumes.require(instance.account_id, volume_id),
  })));
}

export function snapshotActions(
  bus: Bus,
  state: ComputeState,
  instances: Resources<InstanceRecord>,
  keeper: SnapshotKeeper,
  quotas: Quotas,
) {
  const { snapshots, volumes } = state;
  const tagsOf = (specifications: Input<"CreateSnapshot">["TagSpecifications"]) =>
    tagsFromSpecifications(specifications, ["snapshot"])["snapshot"] ?? {};
  const encryptionOf = (input: EncryptionRequest, call: Call, source: SnapshotRecord) =>
    chooseEncryption(
      input,
      encryptionDefaults(state.records, call.region, call.account_id),
      source,
    );
  return {
    CreateSnapshot: {
      resources: (input, call) => [
        snapshots.arnOf(call, "*"),
        volumes.arnOf(call, input.VolumeId),
      ],
      check: async (input, call) => {
        if (input.OutpostArn !== undefined) throw unsupported("There are no Outposts here.");
        tagsOf(input.TagSpecifications);
        await volumes.require(call.account_id, input.VolumeId);
      },
      run: async (input, call) => {
        const volume = await volumes.require(call.account_id, input.VolumeId);
        quotas.checkSnapshots(call.account_id, 1);
        return showSnapshot(
          await freezeVolume(bus, state, keeper, volume, {
            snapshot_id: newId("snap-"),
            tags: tagsOf(input.TagSpecifications),
            ...(input.Description === undefined ? {} : { description: input.Description }),
          }),
        );
      },
    },

    CreateSnapshots: {
      resources: (input, call) => [
        snapshots.arnOf(call, "*"),
        instances.arnOf(call, input.InstanceSpecification.InstanceId ?? "*"),
      ],
      check: async (input, call) => {
        tagsOf(input.TagSpecifications);
        await instances.require(call.account_id, input.InstanceSpecification.InstanceId ?? "");
      },
      run: async (input, call) => {
        const specification = input.InstanceSpecification;
        const instance = await instances.require(call.account_id, specification.InstanceId ?? "");
        const chosen = await volumesOf(volumes, instance, {
          excludeRoot: specification.ExcludeBootVolume === true,
          exclude: specification.ExcludeDataVolumeIds ?? [],
        });
        if (chosen.length === 0) throw invalidValue("The instance has no volume that is included.");
        quotas.checkSnapshots(call.account_id, chosen.length);
        // All at once: their moments are as close together as the volumes' engines take orders.
        const made = await Promise.all(
          chosen.map(({ volume }) =>
            freezeVolume(bus, state, keeper, volume, {
              snapshot_id: newId("snap-"),
              tags: {
                ...(input.CopyTagsFromSource === "volume" ? volume.tags : {}),
                ...tagsOf(input.TagSpecifications),
              },
              ...(input.Description === undefined ? {} : { description: input.Description }),
            })
          ),
        );
        return {
          Snapshots: made.map((snapshot) => {
            const { StartTime, VolumeId, VolumeSize, SnapshotId, OwnerId, State, Progress } =
              showSnapshot(snapshot);
            return {
              Description: snapshot.description ?? "",
              Encrypted: snapshot.encrypted === true,
              Tags: showTags(snapshot.tags),
              StartTime,
              VolumeId,
              VolumeSize,
              SnapshotId,
              OwnerId,
              State,
              Progress,
            };
          }),
        };
      },
    },

    DescribeSnapshots: {
      run: async (input, call) => {
        for (const owner of input.OwnerIds ?? []) {
          if (!/^(?:self|amazon|aws-marketplace|\d{12})$/.test(owner)) {
            throw new AwsError("InvalidUserID.Malformed", `Invalid user id: "${owner}"`);
          }
        }
        const owners = new Set(
          (input.OwnerIds ?? []).map((owner) => owner === "self" ? call.account_id : owner),
        );
        const restorable = input.RestorableByUserIds ?? [];
        const page = await snapshots.describe({
          action: "DescribeSnapshots",
          ids: input.SnapshotIds,
          filters: input.Filters,
          page: input,
          parameters: [[...owners], restorable],
          where: (snapshot) =>
            (owners.size === 0 || owners.has(snapshot.account_id)) &&
            (restorable.length === 0 || restorable.includes("self") ||
              restorable.includes(snapshot.account_id)),
        }, call);
        return { Snapshots: page.records.map(showSnapshot), NextToken: page.nextToken };
      },
    },

    CopySnapshot: {
      resources: (input, call) => [
        snapshots.arnOf(call, "*"),
        snapshots.arnOf(call, input.SourceSnapshotId),
      ],
      check: async (input, call) => {
        tagsOf(input.TagSpecifications);
        const source = await snapshots.require(call.account_id, input.SourceSnapshotId);
        encryptionOf(input, call, source);
        if (source.state !== "completed") {
          throw incorrectState(`The snapshot '${input.SourceSnapshotId}' is '${source.state}'.`);
        }
      },
      run: async (input, call) => {
        const source = await snapshots.require(call.account_id, input.SourceSnapshotId);
        quotas.checkSnapshots(call.account_id, 1);
        const snapshot_id = newId("snap-");
        const encryption = encryptionOf(input, call, source);
        await bus.ask(copySnapshot, {
          source_id: source.snapshot_id,
          snapshot_id,
          ...(encryption.encrypted === true ? { encrypted: true } : {}),
        });
        const now = new Date().toISOString();
        const copy = await snapshots.ensure({
          snapshot_id,
          account_id: call.account_id,
          ...(source.volume_id === undefined ? {} : { volume_id: source.volume_id }),
          ...encryption,
          size_gib: source.size_gib,
          state: "completed",
          start_time: now,
          completion_time: now,
          ...(input.Description === undefined ? {} : { description: input.Description }),
          tags: tagsOf(input.TagSpecifications),
        });
        return { SnapshotId: copy.snapshot_id, Tags: showTags(copy.tags) };
      },
    },

    DeleteSnapshot: {
      resources: (input, call) => [snapshots.arnOf(call, input.SnapshotId)],
      check: async (input, call) => {
        await snapshots.require(call.account_id, input.SnapshotId);
        if (keeper.isUsed(input.SnapshotId)) throw inUse(input.SnapshotId);
      },
      run: async (input, call) => {
        if (!await keeper.remove(call.account_id, input.SnapshotId)) throw inUse(input.SnapshotId);
        return {};
      },
    },
  } satisfies ActionTable;
}

const inUse = (id: string) =>
  new AwsError("InvalidSnapshot.InUse", `The snapshot ${id} is currently in use by an AMI.`);
