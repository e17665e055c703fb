/**
 * CreateSnapshot, CreateSnapshots, DescribeSnapshots, CopySnapshot, DeleteSnapshot.
 *
 * A snapshot's moment is the answer of the block store; what it still has to store goes on while the
 * snapshot is `pending`. Its record is written before the block store is asked, so that one that was
 * begun is never forgotten.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import {
  incorrectState,
  invalidParameter,
  invalidValue,
  unsupported,
} from "../../resources/errors.ts";
import { checkId, newId, notFound } from "../../resources/ids.ts";
import { showTags, tagsFromSpecifications } from "../../resources/tags.ts";
import type { Resources } from "../../resources/resource.ts";
import type { Input, Output } from "../../resources/wire.ts";
import { createSnapshot } from "../../viperblock/contract.ts";
import type { InstanceRecord, SnapshotRecord, VolumeRecord } from "../contract.ts";
import {
  chooseEncryption,
  encryptionDefaults,
  type EncryptionRequest,
  sameEncryption,
  showEncryption,
} from "../volumes/encryption_choice.ts";
import type { Quotas } from "../quotas/quotas.ts";
import {
  isGrantedTo,
  isPublic,
  mayRestore,
  requireCompleted,
  usableSnapshot,
} from "./snapshot_permissions.ts";
import type { SnapshotKeeper } from "./snapshots.ts";
import { makingContext } from "./snapshot_making.ts";
import { whileStill } from "./still_guest.ts";
import { checkDescription } from "../description.ts";
import { snapshotType } from "../volumes/volume_type.ts";
import type { ComputeState } from "../state.ts";

type Shown = NonNullable<Output<"DescribeSnapshots">["Snapshots"]>[number];

/** @param viewer an account that sees it without owning it: tags are their owner's */
function showSnapshot(
  snapshot: SnapshotRecord,
  viewer: string = snapshot.account_id,
): Shown {
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
    Tags: viewer === snapshot.account_id ? showTags(snapshot.tags) : [],
    ...(snapshot.completion_minutes === undefined ? {} : {
      CompletionDurationMinutes: snapshot.completion_minutes,
      TransferType: "time-based" as const,
    }),
    ...(snapshot.completion_time === undefined ? {} : { CompletionTime: snapshot.completion_time }),
  };
}

/** A snapshot that is to be made; with `awaits_reboot_of` it is only put on record, and the keeper takes it later. */
export interface NewSnapshot {
  readonly volume: VolumeRecord;
  readonly rest: Pick<SnapshotRecord, "snapshot_id" | "tags"> & Partial<SnapshotRecord>;
}

/**
 * Freezes volumes of one instance, all at once and while its guest stands still, where that has an agent; the records
 * say `pending` until the keeper hears that they are stored.
 * @throws AwsError and leaves no snapshot
 */
export async function freezeVolumes(
  keeper: SnapshotKeeper,
  wanted: readonly NewSnapshot[],
): Promise<readonly SnapshotRecord[]> {
  const { snapshots } = keeper.state;
  for (const { volume } of wanted) {
    if (volume.state !== "available" && volume.state !== "in-use") {
      throw incorrectState(`The volume '${volume.volume_id}' is '${volume.state}'.`);
    }
  }
  const freeze = async ({ volume, rest }: NewSnapshot): Promise<SnapshotRecord> => {
    const wish = {
      ...rest,
      account_id: volume.account_id,
      volume_id: volume.volume_id,
      ...sameEncryption(volume),
      size_gib: volume.size_gib,
    };
    if (rest.awaits_reboot_of !== undefined) {
      const start_time = new Date().toISOString();
      return await snapshots.ensure({ ...wish, state: "pending", start_time });
    }
    const record = await keeper.begin(wish);
    const { snapshot_id } = record;
    await keeper.bus.ask(
      createSnapshot,
      { volume_id: volume.volume_id, snapshot_id },
      makingContext(record, keeper.clock()),
    );
    return record;
  };
  const guest = wanted.find(({ volume, rest }) =>
    volume.attachment !== undefined && rest.awaits_reboot_of === undefined
  )?.volume.attachment;
  const made = await whileStill(
    keeper,
    guest,
    async () => await Promise.allSettled(wanted.map(freeze)),
  );
  const failure = made.find((one) => one.status === "rejected");
  if (failure !== undefined) {
    await Promise.all(
      wanted.map(({ volume, rest }) => keeper.remove(volume.account_id, rest.snapshot_id)),
    );
    throw failure.reason;
  }
  const records = made.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
  return await Promise.all(
    records.map((one) => one.awaits_reboot_of === undefined ? keeper.made(one) : one),
  );
}

/** Data volumes that one request may leave out of a set. */
const mostExcluded = 40;

/** Which of an instance's volumes a set of snapshots is to hold. */
interface Choice {
  readonly excludeRoot?: boolean;
  readonly exclude?: readonly string[];
}

const choiceOf = ({ InstanceSpecification: of }: Input<"CreateSnapshots">): Choice => ({
  excludeRoot: of.ExcludeBootVolume === true,
  exclude: of.ExcludeDataVolumeIds ?? [],
});

/** @throws AwsError for what cannot be left out: the root volume goes by another name */
function checkExcluded(
  { type }: Resources<VolumeRecord>,
  instance: InstanceRecord,
  ids: readonly string[] = [],
): void {
  if (ids.length > mostExcluded) {
    throw invalidValue(`A request may exclude ${mostExcluded} data volumes at most.`);
  }
  for (const id of ids) checkId(type.idPrefix, id, type.errors);
  const root = instance.attachments.find(({ device }) => device === instance.root_device_name);
  if (root !== undefined && ids.includes(root.volume_id)) {
    throw invalidValue(
      `The volume '${root.volume_id}' is the instance's root volume. Use ExcludeBootVolume to exclude it.`,
    );
  }
}

const chosenOf = (instance: InstanceRecord | undefined, { excludeRoot, exclude = [] }: Choice) =>
  (instance?.attachments ?? []).filter(({ device, volume_id }) =>
    !(excludeRoot === true && device === instance?.root_device_name) &&
    !exclude.includes(volume_id)
  );

/** The volumes of an instance that a set of snapshots is to hold. */
export async function volumesOf(
  volumes: Resources<VolumeRecord>,
  instance: InstanceRecord,
  choice: Choice,
): Promise<readonly { readonly device: string; readonly volume: VolumeRecord }[]> {
  return await Promise.all(
    chosenOf(instance, choice).map(async ({ device, volume_id }) => ({
      device,
      volume: await volumes.require(instance.account_id, volume_id),
    })),
  );
}

export function snapshotActions(
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
        checkPlace(input);
        checkDescription(input.Description);
        tagsOf(input.TagSpecifications);
        await volumes.require(call.account_id, input.VolumeId);
      },
      run: async (input, call) => {
        const volume = await volumes.require(call.account_id, input.VolumeId);
        quotas.checkSnapshots(call.account_id, 1);
        const rest = {
          snapshot_id: newId("snap-"),
          tags: tagsOf(input.TagSpecifications),
          ...(input.Description === undefined ? {} : { description: input.Description }),
        };
        const [made] = await freezeVolumes(keeper, [{ volume, rest }]);
        return showSnapshot(made as SnapshotRecord);
      },
    },

    CreateSnapshots: {
      resources: (input, call) => [
        snapshots.arnOf(call, "*"),
        instances.arnOf(call, input.InstanceSpecification.InstanceId ?? "*"),
        ...chosenOf(
          instances.get(call.account_id, input.InstanceSpecification.InstanceId ?? ""),
          choiceOf(input),
        ).map(({ volume_id }) => volumes.arnOf(call, volume_id)),
      ],
      check: async (input, call) => {
        checkPlace(input);
        checkDescription(input.Description);
        tagsOf(input.TagSpecifications);
        const { InstanceId = "", ExcludeDataVolumeIds } = input.InstanceSpecification;
        const instance = await instances.require(call.account_id, InstanceId);
        checkExcluded(volumes, instance, ExcludeDataVolumeIds);
      },
      run: async (input, call) => {
        const specification = input.InstanceSpecification;
        const instance = await instances.require(call.account_id, specification.InstanceId ?? "");
        const chosen = await volumesOf(volumes, instance, choiceOf(input));
        if (chosen.length === 0) throw invalidValue("The instance has no volume that is included.");
        quotas.checkSnapshots(call.account_id, chosen.length);
        // All at once: their moments are as close together as the volumes' engines take orders.
        const made = await freezeVolumes(
          keeper,
          chosen.map(({ volume }) => ({
            volume,
            rest: {
              snapshot_id: newId("snap-"),
              tags: {
                ...(input.CopyTagsFromSource === "volume" ? volume.tags : {}),
                ...tagsOf(input.TagSpecifications),
              },
              ...(input.Description === undefined ? {} : { description: input.Description }),
            },
          })),
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
        for (const user of restorable) {
          if (!/^(?:self|all|\d{12})$/.test(user)) {
            throw new AwsError("InvalidUserID.Malformed", `Invalid user id: "${user}"`);
          }
        }
        const isRestorable = (snapshot: SnapshotRecord) =>
          restorable.length === 0 || restorable.some((user) => {
            if (user === "all") return isPublic(state, snapshot);
            const account = user === "self" ? call.account_id : user;
            return snapshot.account_id === account || isGrantedTo(snapshot, account);
          });
        // A public one that its owner's account blocks is as private as any other.
        const hidden = (input.SnapshotIds ?? []).filter((id) => {
          const seen = snapshots.visible(call.account_id, id);
          return seen !== undefined && !mayRestore(state, call.account_id, seen);
        });
        if (hidden.length > 0) throw notFound(hidden, snapshotType.errors);
        const byTags = input.Filters?.some(({ Name }) => Name?.startsWith("tag")) === true;
        const page = await snapshots.describe({
          action: "DescribeSnapshots",
          ids: input.SnapshotIds,
          filters: input.Filters,
          page: input,
          parameters: [[...owners], restorable],
          where: (snapshot) =>
            (owners.size === 0 || owners.has(snapshot.account_id)) && isRestorable(snapshot) &&
            (snapshot.account_id === call.account_id ||
              (!byTags && mayRestore(state, call.account_id, snapshot))),
        }, call);
        return {
          Snapshots: page.records.map((snapshot) => showSnapshot(snapshot, call.account_id)),
          NextToken: page.nextToken,
        };
      },
    },

    CopySnapshot: {
      resources: (input, call) => [
        snapshots.arnOf(call, "*"),
        snapshots.arnOf(call, input.SourceSnapshotId),
      ],
      check: async (input, call) => {
        if (input.SourceRegion !== call.region) {
          throw invalidParameter(
            "SourceRegion",
            input.SourceRegion,
            `This cloud is ${call.region}.`,
          );
        }
        for (
          const name of ["DestinationOutpostArn", "DestinationAvailabilityZone"] as const
        ) {
          if (input[name] !== undefined) throw unsupported(`${name} is not offered. Leave it out.`);
        }
        checkDescription(input.Description);
        checkDuration(input.CompletionDurationMinutes);
        if (input.Encrypted === false) {
          throw invalidValue("The parameter encrypted=false is invalid");
        }
        tagsOf(input.TagSpecifications);
        const source = await usableSnapshot(state, call.account_id, input.SourceSnapshotId);
        encryptionOf(input, call, source);
        requireCompleted(source);
      },
      run: async (input, call) => {
        const source = await usableSnapshot(state, call.account_id, input.SourceSnapshotId);
        quotas.checkSnapshots(call.account_id, 1);
        const copy = await keeper.beginCopy(source.snapshot_id, source, {
          snapshot_id: newId("snap-"),
          account_id: call.account_id,
          ...encryptionOf(input, call, source),
          size_gib: source.size_gib,
          ...(input.CompletionDurationMinutes === undefined
            ? {}
            : { completion_minutes: input.CompletionDurationMinutes }),
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
        const image = keeper.userOf(input.SnapshotId);
        if (image !== undefined) throw inUse(input.SnapshotId, image);
      },
      run: async (input, call) => {
        if (!await keeper.remove(call.account_id, input.SnapshotId)) {
          const image = keeper.userOf(input.SnapshotId);
          throw image === undefined
            ? notFound([input.SnapshotId], snapshots.type.errors)
            : inUse(input.SnapshotId, image);
        }
        return {};
      },
    },
  } satisfies ActionTable;
}

const inUse = (id: string, image: string) =>
  new AwsError("InvalidSnapshot.InUse", `The snapshot ${id} is currently in use by ${image}`);

/** @throws AwsError for what is to be kept elsewhere than in the region */
function checkPlace(
  { OutpostArn, Location }: { OutpostArn?: string | undefined; Location?: string | undefined },
): void {
  if (OutpostArn !== undefined) throw unsupported("There are no Outposts here.");
  if (Location === "local") throw unsupported("There are no Local Zones here.");
}

/** A copy is there at once, or as soon as it is encrypted; how long it may take is kept and shown. */
function checkDuration(minutes: number | undefined): void {
  if (minutes === undefined) return;
  if (minutes >= 15 && minutes <= 2880 && minutes % 15 === 0) return;
  throw invalidParameter(
    "completionDurationMinutes",
    minutes,
    "Expected: 15 to 2880, in steps of 15.",
  );
}
