/**
 * CreateVolume, DeleteVolume, DescribeVolumes, DescribeVolumeStatus, AttachVolume, DetachVolume.
 *
 * gp3 is the one type. IOPS and throughput are checked against gp3's rules, and the block store holds the
 * volume to them.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import {
  invalidCombination,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import { checkId, newId } from "../../resources/ids.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import { chooseEncryption, encryptionDefaults } from "./encryption_choice.ts";
import type { Quotas } from "../quotas/quotas.ts";
import type { SnapshotRecord } from "../contract.ts";
import { requireCompleted, usableSnapshot } from "../snapshots/snapshot_permissions.ts";
import type { ComputeState } from "../state.ts";
import { checkAttach, checkDevice } from "./volume_attachment.ts";
import type { VolumeKeeper } from "./volume_keeper.ts";
import { checkPerformance, checkVolumeType } from "./volume_performance.ts";
import { checkCapacity, type NewVolume } from "./volume_lifecycle.ts";
import { describeVolumeStatus } from "./volume_status.ts";
import { showAttachment, showVolume } from "./volume_type.ts";
import { zoneId } from "../../resources/zone_names.ts";

type CreateInput = Input<"CreateVolume">;

function checkCreate(input: CreateInput, az: string): void {
  const zone = input.AvailabilityZone;
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
  checkVolumeType(input.VolumeType);
  if (input.Size === undefined && input.SnapshotId === undefined) {
    throw missingParameter("size/snapshot");
  }
  if (input.MultiAttachEnabled === true) {
    throw invalidCombination("gp3 volumes cannot be attached to several instances at once.");
  }
  if (input.OutpostArn !== undefined) throw unsupported("There are no Outposts here.");
  if (input.VolumeInitializationRate !== undefined) {
    throw unsupported("Volumes need no initialization: their blocks are read as they are needed.");
  }
  tagsFromSpecifications(input.TagSpecifications, ["volume"]);
  if (input.Size !== undefined) checkPerformance(input.Size, input.Iops, input.Throughput);
}

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
    ...checkPerformance(size_gib, input.Iops, input.Throughput),
    ...(snapshot === undefined ? {} : { snapshot_id: snapshot.snapshot_id }),
    ...chooseEncryption(input, encryptionDefaults(state.records, region, account), snapshot),
    tags: tagsFromSpecifications(input.TagSpecifications, ["volume"])["volume"] ?? {},
  };
}

export function volumeActions(keeper: VolumeKeeper, state: ComputeState, quotas: Quotas) {
  const { bus, config, volumes, instances } = keeper.dependencies;
  const show = async (account: string, id: string) =>
    showVolume(await volumes.require(account, id));
  return {
    CreateVolume: {
      resources: (_input, call) => [volumes.arnOf(call, "*")],
      check: async (input, call) => {
        checkCreate(input, config.az);
        await planOf(state, call, "", input);
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
      resources: (input, call) => [volumes.arnOf(call, input.VolumeId)],
      check: async (input, call) => {
        await volumes.require(call.account_id, input.VolumeId);
        if (input.InstanceId !== undefined && input.InstanceId !== "") {
          checkId(instances.type.idPrefix, input.InstanceId, instances.type.errors);
        }
      },
      run: async (input, call) => {
        const volume = await volumes.require(call.account_id, input.VolumeId);
        const node = volume.attachment?.node_id ?? config.node_id;
        const detached = await keeper.detach(
          {
            account_id: call.account_id,
            volume_id: input.VolumeId,
            ...(input.InstanceId === undefined || input.InstanceId === ""
              ? {}
              : { instance_id: input.InstanceId }),
            ...(input.Device === undefined || input.Device === "" ? {} : { device: input.Device }),
            ...(input.Force === true ? { force: true } : {}),
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
