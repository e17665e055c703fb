/**
 * CreateVolume, DeleteVolume, DescribeVolumes, DescribeVolumeStatus, AttachVolume, DetachVolume.
 *
 * A volume's type decides which sizes and speeds it may have; the block store holds it to them.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import {
  invalidCombination,
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import { checkId, newId } from "../../resources/ids.ts";
import { mayBeRepeated } from "../../resources/client_tokens.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import { chooseEncryption, encryptionDefaults } from "./encryption_choice.ts";
import type { Quotas } from "../quotas/quotas.ts";
import type { SnapshotRecord } from "../contract.ts";
import { requireCompleted, usableSnapshot } from "../snapshots/snapshot_permissions.ts";
import type { ComputeState } from "../state.ts";
import { checkAttach, checkDevice } from "./volume_attachment.ts";
import type { VolumeKeeper } from "./volume_keeper.ts";
import { performanceOf, refuseMultiAttach, typeNamed } from "./volume_performance.ts";
import { checkCapacity, type NewVolume } from "./volume_lifecycle.ts";
import { describeVolumeStatus } from "./volume_status.ts";
import { showAttachment, showVolume } from "./volume_type.ts";
import { zoneId } from "../../resources/zone_names.ts";

type CreateInput = Input<"CreateVolume">;

function checkCreate(input: CreateInput, az: string): void {
  const zone = input.AvailabilityZone;
  if (zone !== undefined && input.AvailabilityZoneId !== undefined) {
    throw invalidCombination(
      "The parameters AvailabilityZone and AvailabilityZoneId cannot be used together.",
    );
  }
  if (zone === undefined && input.AvailabilityZoneId === undefined) {
    throw missingParameter("availabilityZone");
  }
  if (zone !== undefined && zone !== az) {
    throw new AwsError("InvalidZone.NotFound", `The zone '${zone}' does not exist.`);
  }
  if (input.AvailabilityZoneId !== undefined && input.AvailabilityZoneId !== zoneId(az)) {
    throw new AwsError(
      "InvalidZone.NotFound",
      `The zone '${input.AvailabilityZoneId}' does not exist.`,
    );
  }
  const type = typeNamed(input.VolumeType);
  if (input.Size === undefined && !hasSnapshot(input)) throw missingParameter("size/snapshot");
  refuseMultiAttach(input.MultiAttachEnabled, type);
  if (input.OutpostArn !== undefined) throw unsupported("There are no Outposts here.");
  checkInitialization(input);
  tagsFromSpecifications(input.TagSpecifications, ["volume"]);
  if (input.Size !== undefined) performanceOf(requested(input, input.Size));
}

const hasSnapshot = ({ SnapshotId: id }: CreateInput) => id !== undefined && id !== "";

/** A volume's blocks are read as they are needed, as quickly as any: the rate is kept, and decides nothing. */
function checkInitialization(input: CreateInput): void {
  const rate = input.VolumeInitializationRate;
  if (rate === undefined) return;
  if (!hasSnapshot(input)) {
    throw invalidCombination(
      "The parameter VolumeInitializationRate can only be used with the parameter SnapshotId.",
    );
  }
  if (rate < 100 || rate > 300) {
    throw invalidParameter("volumeInitializationRate", rate, "Expected: 100 to 300.");
  }
}

const requested = (input: CreateInput, size_gib: number) => ({
  volume_type: typeNamed(input.VolumeType),
  size_gib,
  iops: input.Iops,
  throughput: input.Throughput,
});

/** The snapshot that the volume is to begin with. @throws AwsError unless the account may use it, and all of it is there */
async function sourceOf(
  state: ComputeState,
  account: string,
  { SnapshotId }: CreateInput,
): Promise<SnapshotRecord | undefined> {
  if (SnapshotId === undefined || SnapshotId === "") return undefined;
  const snapshot = await usableSnapshot(state, account, SnapshotId);
  requireCompleted(snapshot);
  return snapshot;
}

async function planOf(
  state: ComputeState,
  { account_id: account, region }: Pick<Call, "account_id" | "region">,
  id: string,
  input: CreateInput,
): Promise<NewVolume> {
  const snapshot = await sourceOf(state, account, input);
  const size_gib = input.Size ?? snapshot?.size_gib ?? 0;
  if (snapshot !== undefined && size_gib < snapshot.size_gib) {
    throw invalidValue(
      `The size of a volume, ${size_gib} GiB, is smaller than its snapshot's, ${snapshot.size_gib} GiB.`,
    );
  }
  return {
    volume_id: id,
    account_id: account,
    size_gib,
    ...performanceOf(requested(input, size_gib)),
    ...(input.VolumeInitializationRate === undefined
      ? {}
      : { initialization_rate: input.VolumeInitializationRate }),
    ...(snapshot === undefined ? {} : { snapshot_id: snapshot.snapshot_id }),
    ...chooseEncryption(
      // Some clients always say it, `false` where nobody has asked for it: what the snapshot is decides then.
      { KmsKeyId: input.KmsKeyId, ...(input.Encrypted === true ? { Encrypted: true } : {}) },
      encryptionDefaults(state.records, region, account),
      snapshot,
    ),
    tags: tagsFromSpecifications(input.TagSpecifications, ["volume"])["volume"] ?? {},
  };
}

export function volumeActions(keeper: VolumeKeeper, state: ComputeState, quotas: Quotas) {
  const { bus, config, volumes, instances } = keeper.dependencies;
  const show = async (account: string, id: string) =>
    showVolume(await volumes.require(account, id));
  return {
    CreateVolume: {
      resources: (input, call) => [
        volumes.arnOf(call, "*"),
        ...(hasSnapshot(input) ? [state.snapshots.arnOf(call, input.SnapshotId ?? "")] : []),
      ],
      check: async (input, call) => {
        checkCreate(input, config.az);
        // What was made with a token is answered again although its snapshot may be gone.
        if (!mayBeRepeated(input)) await planOf(state, call, "", input);
      },
      run: (input, call) =>
        state.tokens.once(call, {
          action: "CreateVolume",
          input,
          choose: () => newId("vol-"),
          work: async (id) => {
            const plan = await planOf(state, call, id, input);
            quotas.checkStorage(call.account_id, plan.size_gib);
            await checkCapacity(bus, plan.size_gib);
            const source = await sourceOf(state, call.account_id, input);
            // All of a snapshot that is not encrypted is copied for a volume that is: that may take long.
            const copies = plan.encrypted === true && source !== undefined &&
              source.encrypted !== true;
            return showVolume(await (copies ? keeper.begin(plan) : keeper.provision(plan)));
          },
          again: (id) => show(call.account_id, id),
        }),
    },

    DeleteVolume: {
      resources: (input, call) => [volumes.arnOf(call, input.VolumeId)],
      check: async (input, call) => {
        await volumes.require(call.account_id, input.VolumeId);
      },
      run: async (input, call) => {
        await keeper.remove(call.account_id, input.VolumeId);
        return {};
      },
    },

    DescribeVolumes: {
      run: async (input, call) => {
        const page = await volumes.describe({
          action: "DescribeVolumes",
          ids: input.VolumeIds,
          filters: input.Filters,
          page: input,
        }, call);
        return { Volumes: page.records.map(showVolume), NextToken: page.nextToken };
      },
    },

    DescribeVolumeStatus: {
      run: (input, call) => describeVolumeStatus(bus, volumes, input, call),
    },

    AttachVolume: {
      resources: (input, call) => [
        volumes.arnOf(call, input.VolumeId),
        instances.arnOf(call, input.InstanceId),
      ],
      check: async (input, call) => {
        if ((input.EbsCardIndex ?? 0) !== 0) throw unsupported("There is one EBS card: 0.");
        if (deviceOf(input) !== undefined) checkDevice(input.Device, []);
        await checkAttach(keeper.dependencies, requestOf(input, call.account_id));
      },
      run: async (input, call) => {
        const instance = await instances.require(call.account_id, input.InstanceId);
        const request = requestOf(input, call.account_id);
        return showAttachment(await keeper.attach(request, instance.node_id, call));
      },
    },

    DetachVolume: {
      resources: (input, call) => {
        const has = volumes.get(call.account_id, input.VolumeId)?.attachment?.instance_id;
        const named = input.InstanceId === "" ? undefined : input.InstanceId;
        const instance = has ?? named;
        return [
          volumes.arnOf(call, input.VolumeId),
          ...(instance === undefined ? [] : [instances.arnOf(call, instance)]),
        ];
      },
      check: async (input, call) => {
        await volumes.require(call.account_id, input.VolumeId);
        if (input.InstanceId !== undefined && input.InstanceId !== "") {
          checkId(instances.type.idPrefix, input.InstanceId, instances.type.errors);
        }
      },
      run: async (input, call) => {
        const volume = await volumes.require(call.account_id, input.VolumeId);
        // An instance may have gone before its volume is free of it.
        if (
          input.InstanceId !== undefined && input.InstanceId !== "" &&
          input.InstanceId !== volume.attachment?.instance_id
        ) await instances.require(call.account_id, input.InstanceId);
        const node = volume.attachment?.node_id ?? config.node_id;
        const detached = await keeper.detach(
          {
            account_id: call.account_id,
            volume_id: input.VolumeId,
            ...(input.InstanceId === undefined || input.InstanceId === ""
              ? {}
              : { instance_id: input.InstanceId }),
            ...(input.Device === undefined || input.Device === "" ? {} : { device: input.Device }),
          },
          node,
          call,
        );
        return showAttachment(detached);
      },
    },
  } satisfies ActionTable;
}

function deviceOf(input: Input<"AttachVolume">): string | undefined {
  const device: string | undefined = input.Device;
  return device === undefined || device === "" ? undefined : device;
}

function requestOf(input: Input<"AttachVolume">, account: string) {
  const device = deviceOf(input);
  return {
    account_id: account,
    volume_id: input.VolumeId,
    instance_id: input.InstanceId,
    ...(device === undefined ? {} : { device }),
  };
}
