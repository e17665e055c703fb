/**
 * RunInstances: checks, claims, records. Answers as soon as the instances are on record as pending;
 * the reconcile loop does the rest. Until its record is written an instance is nothing but claims,
 * which a failure gives back at once and a crash leaves to the sweep.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import type { Call, RegisterOptions } from "../../resources/actions.ts";
import { newId } from "../../resources/ids.ts";
import { errorFields } from "../../log/log.ts";
import type { Output } from "../../resources/wire.ts";
import type { InstanceRecord } from "../contract.ts";
import {
  chooseEncryption,
  encryptionDefaults,
  sameEncryption,
} from "../volumes/encryption_choice.ts";
import type { DevicePlan } from "./block_device_plan.ts";
import { type ShowContext, showInstance } from "./instance_resource.ts";
import type { InstanceDependencies } from "./launch.ts";
import {
  checkLaunch,
  type LaunchRequest,
  type OfferedType,
  type RunInput,
} from "./launch_request.ts";
import { profileFor } from "./instance_profiles.ts";
import { keyPairNamed } from "../keys/key_pairs.ts";
import { templateData } from "../record_families/launch_templates.ts";
import { groupNamed } from "../record_families/placement_groups.ts";
import { mayRestore } from "../snapshots/snapshot_permissions.ts";
import type { ComputeState } from "../state.ts";
import type { Quotas } from "../quotas/quotas.ts";
import { hostArchitecture } from "../machines/node_machine.ts";
import { checkCapacity } from "../volumes/volume_lifecycle.ts";

export interface RunDependencies extends InstanceDependencies {
  readonly authorize?: RegisterOptions["authorize"];
  readonly state: ComputeState;
  readonly offered: (name: string) => OfferedType | undefined;
  readonly show: (account: string) => Promise<ShowContext>;
  readonly quotas: Quotas;
  readonly isQuiescing: () => boolean;
}

/** What a client token makes the same again. */
interface Chosen {
  readonly reservation_id: string;
  /** As many as may be launched. */
  readonly instance_ids: readonly string[];
}

/** A template's data under what the request itself gives. */
async function withTemplate(
  { state }: RunDependencies,
  input: RunInput,
  call: Call,
): Promise<RunInput> {
  const { LaunchTemplate: named, ...own } = input;
  if (named === undefined) return input;
  const { TagSpecifications, ...data } = await templateData(state.records, named, call.account_id);
  const tags = input.TagSpecifications ?? TagSpecifications;
  return {
    ...data,
    ...own,
    ...(tags === undefined ? {} : { TagSpecifications: tags }),
  } as RunInput;
}

export async function readRequest(
  dependencies: RunDependencies,
  given: RunInput,
  call: Call,
): Promise<LaunchRequest> {
  const input = await withTemplate(dependencies, given, call);
  const { state, config, network, offered } = dependencies;
  const keyPair = input.KeyName === undefined
    ? undefined
    : await keyPairNamed(state.keyPairs, call.account_id, input.KeyName).catch((error) => {
      if (error instanceof AwsError && error.code === "InvalidKeyPair.NotFound") return undefined;
      throw error;
    });
  const group = input.Placement?.GroupName;
  if (group !== undefined && group !== "") await groupNamed(state.records, call.account_id, group);
  const request = checkLaunch(input, {
    az: config.az,
    architecture: hostArchitecture,
    image: (id) => state.images.visible(call.account_id, id),
    keyPair: () => keyPair,
    type: offered,
    snapshotSize: (id) => {
      const snapshot = state.snapshots.visible(call.account_id, id);
      const isUsable = snapshot !== undefined && mayRestore(state, call.account_id, snapshot);
      return isUsable ? snapshot.size_gib : undefined;
    },
    encryptionOf: (asked, image, id) => {
      const snapshot = state.snapshots.visible(call.account_id, id ?? "");
      const defaults = encryptionDefaults(state.records, call.region, call.account_id);
      return chooseEncryption(asked, defaults, image?.encrypted === true ? image : snapshot);
    },
  });
  await network.check(call.account_id, request.interfaces, request.maximum);
  if (input.IamInstanceProfile === undefined) return request;
  const iam_instance_profile = await profileFor(dependencies, input.IamInstanceProfile, call);
  return { ...request, iam_instance_profile };
}

export async function runInstances(
  dependencies: RunDependencies,
  input: RunInput,
  call: Call,
): Promise<Output<"RunInstances">> {
  if (dependencies.isQuiescing()) throw unavailable("The node, which is being stopped,");
  return await dependencies.state.tokens.once<Chosen, Output<"RunInstances">>(call, {
    action: "RunInstances",
    input,
    choose: () => choose(input),
    work: async (chosen) => {
      const whole = await withTemplate(dependencies, input, call);
      const request = await readRequest(dependencies, whole, call);
      const made = await record(dependencies, request, whole, call, chosen);
      return await answer(dependencies, call, chosen.reservation_id, made);
    },
    again: async (chosen) => {
      const { instances } = dependencies;
      const made = chosen.instance_ids.flatMap((id) => instances.get(call.account_id, id) ?? []);
      return await answer(dependencies, call, chosen.reservation_id, made);
    },
  });
}

function choose(input: RunInput): Chosen {
  const count = Math.min(Math.max(1, Math.trunc(input.MaxCount ?? 1)), 1000);
  return {
    reservation_id: newId("r-"),
    instance_ids: Array.from({ length: count }, () => newId("i-")),
  };
}

async function answer(
  { show }: RunDependencies,
  call: Call,
  reservationId: string,
  made: readonly InstanceRecord[],
): Promise<Output<"RunInstances">> {
  const context = await show(call.account_id);
  return {
    Groups: [],
    Instances: made.map((instance) => showInstance(instance, context)),
    OwnerId: call.account_id,
    ReservationId: reservationId,
  };
}

/** Claims and records as many as there is room for. @throws AwsError and leaves nothing */
async function record(
  dependencies: RunDependencies,
  request: LaunchRequest,
  input: RunInput,
  call: Call,
  chosen: Chosen,
): Promise<readonly InstanceRecord[]> {
  const { bus, capacity, config, instances, log, network } = dependencies;
  const ids = chosen.instance_ids.slice(0, request.maximum);
  const { quotas } = dependencies;
  quotas.checkVcpus(call.account_id, request.minimum * request.size.vcpus);
  quotas.checkStorage(
    call.account_id,
    request.minimum * request.devices.reduce((sum, device) => sum + device.size_gib, 0),
  );
  const granted = await capacity.claim(ids, request.size, request.minimum, request.instance_type);
  const made: InstanceRecord[] = [];
  const addresses: { instance_id: string; private_ip: string }[] = [];
  try {
    const each_gib = request.devices.reduce((sum, device) => sum + device.size_gib, 0);
    await checkCapacity(bus, each_gib * granted.length);
    for (const [index, instance_id] of granted.entries()) {
      const owner = { account_id: call.account_id, instance_id, az: config.az };
      const claimed = await network.claim(owner, request.interfaces);
      addresses.push({ instance_id, private_ip: claimed.private_ip });
      made.push(
        await instances.ensure(
          plan(dependencies, request, input, call, {
            instance_id,
            reservation_id: chosen.reservation_id,
            launch_index: index,
            network: claimed,
          }),
        ),
      );
    }
    return made;
  } catch (error) {
    // What is on record goes the ordinary way; what is not leaves only its claims.
    const recorded = new Set(made.map((instance) => instance.instance_id));
    for (const { instance_id, account_id } of made) {
      await instances.modify(account_id, instance_id, (now) => ({
        ...now,
        wanted: "terminated",
        state: "shutting-down",
        state_time: new Date().toISOString(),
      })).catch((failure) =>
        log.error("launch_undo_failed", { instance_id, ...errorFields(failure) })
      );
    }
    try {
      await capacity.release(granted.filter((id) => !recorded.has(id)));
      for (const { instance_id, private_ip } of addresses) {
        if (recorded.has(instance_id)) continue;
        await network.release({ account_id: call.account_id, instance_id, az: config.az }, {
          private_ip,
        });
      }
    } catch (failure) {
      log.warn("launch_claims_left_to_sweep", errorFields(failure));
    }
    throw error;
  }
}

interface Identity {
  readonly instance_id: string;
  readonly reservation_id: string;
  readonly launch_index: number;
  readonly network: InstanceRecord["network"];
}

function plan(
  { config }: RunDependencies,
  request: LaunchRequest,
  input: RunInput,
  call: Call,
  identity: Identity,
): InstanceRecord {
  const now = new Date().toISOString();
  const devices = request.devices.map((device): DevicePlan & { volume_id: string } => ({
    ...device,
    volume_id: newId("vol-"),
  }));
  const { image, key } = request;
  return {
    ...identity,
    account_id: call.account_id,
    ...(input.ClientToken === undefined ? {} : { client_token: input.ClientToken }),
    image_id: image.image_id,
    instance_type: request.instance_type,
    architecture: image.architecture,
    ...(key === undefined ? {} : { key_name: key.key_name, public_key: key.public_key }),
    ...(request.user_data === undefined ? {} : { user_data: request.user_data }),
    node_id: config.node_id,
    az: config.az,
    wanted: "running",
    state: "pending",
    launch_time: now,
    state_time: now,
    ...(request.iam_instance_profile === undefined
      ? {}
      : { iam_instance_profile: request.iam_instance_profile }),
    metadata_options: request.metadata_options,
    ...(image.tpm === undefined ? {} : { tpm: image.tpm }),
    root_device_name: image.root_device_name,
    shutdown_behavior: request.shutdown_behavior,
    ...(Object.keys(request.settings).length === 0 ? {} : { settings: request.settings }),
    attachments: devices.map((device) => ({
      volume_id: device.volume_id,
      device: device.device,
      status: "attaching",
      attach_time: now,
      delete_on_termination: device.delete_on_termination,
      slot: device.slot,
    })),
    planned_volumes: devices.map((device) => ({
      volume_id: device.volume_id,
      volume_type: device.volume_type,
      size_gib: device.size_gib,
      iops: device.iops,
      throughput: device.throughput,
      ...(device.snapshot_id === undefined ? {} : { snapshot_id: device.snapshot_id }),
      ...sameEncryption(device),
      tags: request.volume_tags,
    })),
    tags: request.tags,
  };
}
