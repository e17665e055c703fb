/**
 * Attaching and detaching, as steps driven from what is in KV.
 *
 * The volume's record is claimed first and freed last: whatever else is half done, the volume names
 * the one instance that it belongs to, and `attaching` or `detaching` says which way it goes. Every
 * step may be repeated. Attaching: claim the volume, enter it in the instance's record (where device
 * and slot are chosen), serve it, plug it, say `attached` in both. Detaching: say `detaching` in
 * both, unplug it, stop serving it (which flushes its log), remove the entry, free the volume.
 *
 * A stopped instance has nothing to plug: its start serves and plugs every entry that is not
 * `detaching`. Which of the two it was is decided by the same compare-and-set that enters the volume.
 */
import { AwsError, unavailable } from "../../aws/errors.ts";
import { incorrectState, invalidValue } from "../../resources/errors.ts";
import { notFound } from "../../resources/ids.ts";
import { mountVolume, unmountVolume } from "../../viperblock/contract.ts";
import type { Attachment, InstanceRecord, VolumeRecord } from "../contract.ts";
import { diskSlots } from "../machines/hypervisor.ts";
import { unlessMissing, type VolumeDependencies } from "./volume_lifecycle.ts";
import { refuseHardDiskRoot } from "./volume_performance.ts";

export interface AttachRequest {
  readonly account_id: string;
  readonly volume_id: string;
  readonly instance_id: string;
  readonly device?: string;
}

const letters = "fghijklmnopqrstuvwxyzbcde";

/** `/dev/sdf`, `sdf` and `/dev/xvdf` are one place. */
function place(device: string): string {
  return device.replace(/^\/dev\//, "").replace(/^(?:xvd|sd|vd)/, "");
}

/** @throws AwsError `InvalidParameterValue` for what is no device name, or one that is taken */
export function checkDevice(device: string, attachments: readonly Attachment[]): void {
  if (!/^(?:\/dev\/)?(?:sd[a-z](?:[1-9]|1[0-5])?|xvd[a-z]{1,2})$/.test(device)) {
    throw invalidValue(
      `Value (${device}) for parameter device is invalid. ${device} is not a valid EBS device name.`,
    );
  }
  if (attachments.some((other) => place(other.device) === place(device))) {
    throw invalidValue(
      `Invalid value '${device}' for unixDevice. Attachment point ${device} is already in use`,
    );
  }
}

/** The next name that the instance does not have yet: `/dev/sdf` first, as AWS advises. */
export function freeDevice(attachments: readonly Attachment[]): string {
  const taken = new Set(attachments.map((attachment) => place(attachment.device)[0]));
  for (const letter of letters) if (!taken.has(letter)) return `/dev/sd${letter}`;
  throw tooMany();
}

function tooMany(): AwsError {
  return new AwsError(
    "AttachmentLimitExceeded",
    `An instance may have ${diskSlots} volumes at most`,
  );
}

/** The lowest free slot; 0 is the root volume's, and free again once that is detached. */
export function freeSlot(attachments: readonly Attachment[], isRoot: boolean): number {
  const taken = new Set(attachments.map((attachment) => attachment.slot));
  if (isRoot && !taken.has(0)) return 0;
  for (let slot = 1; slot < diskSlots; slot++) if (!taken.has(slot)) return slot;
  throw tooMany();
}

/** @throws AwsError unless the instance is in a state in which volumes come and go */
export function checkAttachable(instance: InstanceRecord): void {
  if (instance.state !== "running" && instance.state !== "stopped") {
    throw incorrectState(`Instance '${instance.instance_id}' is not 'running'.`);
  }
}

/** @throws AwsError for a volume that nothing boots from at the place of the root's */
function checkRoot(volume: VolumeRecord, device: string, instance: InstanceRecord): void {
  if (place(device) !== place(instance.root_device_name)) return;
  refuseHardDiskRoot(volume.volume_type, "InvalidParameterValue");
}

/** First step of attaching: from here on the volume is this instance's. */
export async function claimVolume(
  { volumes, config }: VolumeDependencies,
  request: AttachRequest,
): Promise<VolumeRecord> {
  const { account_id, volume_id, instance_id, device = "" } = request;
  return await volumes.modify(account_id, volume_id, (volume) => {
    if (volume.state === "in-use") {
      throw new AwsError("VolumeInUse", `${volume_id} is already attached to an instance`);
    }
    if (volume.state !== "available") throw incorrectState(`${volume_id} is not 'available'.`);
    return {
      ...volume,
      state: "in-use",
      attachment: {
        instance_id,
        node_id: config.node_id,
        device,
        status: "attaching",
        attach_time: new Date().toISOString(),
        delete_on_termination: false,
        slot: -1,
      },
    };
  });
}

/** Second step: the instance's record has the volume, with its device and slot. */
async function enterInstance(
  { instances }: VolumeDependencies,
  volume: VolumeRecord,
): Promise<{ readonly instance: InstanceRecord; readonly entry: Attachment }> {
  const claim = volume.attachment;
  if (claim === undefined) throw incorrectState(`${volume.volume_id} is not being attached.`);
  const instance = await instances.modify(volume.account_id, claim.instance_id, (now) => {
    if (now.attachments.some((other) => other.volume_id === volume.volume_id)) return now;
    checkAttachable(now);
    if (now.az !== volume.az) {
      throw new AwsError(
        "InvalidVolume.ZoneMismatch",
        `The volume '${volume.volume_id}' is not in the same availability zone as instance '${now.instance_id}'`,
      );
    }
    if (claim.device !== "") checkDevice(claim.device, now.attachments);
    const device = claim.device === "" ? freeDevice(now.attachments) : claim.device;
    checkRoot(volume, device, now);
    return {
      ...now,
      attachments: [...now.attachments, {
        volume_id: volume.volume_id,
        device,
        status: "attaching",
        attach_time: claim.attach_time,
        delete_on_termination: false,
        slot: freeSlot(now.attachments, place(device) === place(now.root_device_name)),
      }],
    };
  });
  const entry = instance.attachments.find((other) => other.volume_id === volume.volume_id);
  if (entry === undefined) throw incorrectState(`${volume.volume_id} is being detached.`);
  return { instance, entry };
}

/** Changes the instance's entry of the volume; no entry, or no instance, is answered as undefined. */
async function changeEntry(
  { instances }: VolumeDependencies,
  volume: VolumeRecord,
  change: (entry: Attachment, instance: InstanceRecord) => Attachment | undefined,
): Promise<InstanceRecord | undefined> {
  const { account_id, volume_id, attachment } = volume;
  if (attachment === undefined) return undefined;
  try {
    return await instances.modify(account_id, attachment.instance_id, (instance) => {
      const entry = instance.attachments.find((other) => other.volume_id === volume_id);
      if (entry === undefined) return instance;
      const changed = change(entry, instance);
      if (changed === entry) return instance;
      return {
        ...instance,
        attachments: instance.attachments.flatMap((other) =>
          other !== entry ? [other] : changed === undefined ? [] : [changed]
        ),
      };
    });
  } catch (error) {
    if (error instanceof AwsError && error.code === instances.type.errors.notFound) {
      return undefined;
    }
    throw error;
  }
}

/** From a claimed volume to an attached one. Goes on from wherever an earlier run came to. */
export async function finishAttaching(
  dependencies: VolumeDependencies,
  claimed: VolumeRecord,
): Promise<VolumeRecord> {
  const { bus, plugger, volumes } = dependencies;
  const { account_id, volume_id } = claimed;
  const { instance, entry } = await enterInstance(dependencies, claimed);
  if (instance.state === "running") {
    const { socket, vhost_socket } = await bus.ask(mountVolume, { volume_id });
    await plugger.plug(instance, entry, socket, vhost_socket);
  }
  const after = await changeEntry(
    dependencies,
    claimed,
    (now) => now.status === "attaching" ? { ...now, status: "attached" } : now,
  );
  const attached = after?.attachments.find((other) => other.volume_id === volume_id);
  if (attached === undefined || attached.status === "detaching") {
    throw incorrectState(`Instance '${instance.instance_id}' let go of ${volume_id} meanwhile.`);
  }
  return await volumes.modify(
    account_id,
    volume_id,
    (volume) =>
      volume.attachment?.status !== "attaching" ? volume : {
        ...volume,
        attachment: {
          ...volume.attachment,
          status: "attached",
          device: attached.device,
          slot: attached.slot,
        },
      },
  );
}

/** First step of detaching. */
export async function markDetaching(
  { volumes }: VolumeDependencies,
  account: string,
  volumeId: string,
  check: (volume: VolumeRecord) => void = () => {},
): Promise<VolumeRecord> {
  return await volumes.modify(account, volumeId, (volume) => {
    check(volume);
    return volume.attachment === undefined || volume.attachment.status === "detaching"
      ? volume
      : { ...volume, attachment: { ...volume.attachment, status: "detaching" } };
  });
}

/** Second step of detaching; `check` may refuse by the instance's state. */
export async function markEntryDetaching(
  dependencies: VolumeDependencies,
  volume: VolumeRecord,
  check: (entry: Attachment, instance: InstanceRecord) => void = () => {},
): Promise<InstanceRecord | undefined> {
  return await changeEntry(dependencies, volume, (entry, instance) => {
    check(entry, instance);
    return entry.status === "detaching" ? entry : { ...entry, status: "detaching" };
  });
}

/** Takes back the first step of detaching, when the second was refused. */
export async function unmarkDetaching(
  { volumes }: VolumeDependencies,
  account: string,
  volumeId: string,
): Promise<void> {
  await volumes.modify(
    account,
    volumeId,
    (volume) =>
      volume.attachment?.status === "detaching"
        ? { ...volume, attachment: { ...volume.attachment, status: "attached" } }
        : volume,
  );
}

/** From a volume marked `detaching` to a free one. Goes on from wherever an earlier run came to. */
export async function finishDetaching(
  dependencies: VolumeDependencies,
  detaching: VolumeRecord,
): Promise<VolumeRecord> {
  const { bus, plugger, volumes } = dependencies;
  const { account_id, volume_id } = detaching;
  const instance = await markEntryDetaching(dependencies, detaching);
  const entry = instance?.attachments.find((other) => other.volume_id === volume_id);
  if (instance !== undefined && entry !== undefined) {
    if (instance.state === "running") await plugger.unplug(instance, entry);
    else if (instance.state !== "stopped" && instance.state !== "terminated") {
      throw unavailable(`Instance ${instance.instance_id}, which is ${instance.state},`);
    }
  }
  await unlessMissing(bus.ask(unmountVolume, { volume_id }));
  await changeEntry(dependencies, detaching, () => undefined);
  return await volumes.modify(account_id, volume_id, (volume) => {
    if (volume.attachment?.status !== "detaching") return volume;
    const { attachment: _freed, ...rest } = volume;
    return { ...rest, state: volume.state === "in-use" ? "available" : volume.state };
  });
}

/** @throws AwsError `InvalidInstanceID.NotFound` and the like, before anything is claimed */
export async function checkAttach(
  { instances, volumes }: VolumeDependencies,
  request: AttachRequest,
): Promise<InstanceRecord> {
  const instance = await instances.require(request.account_id, request.instance_id);
  const volume = await volumes.require(request.account_id, request.volume_id);
  if (instance.state === "terminated") {
    throw notFound([instance.instance_id], instances.type.errors);
  }
  checkAttachable(instance);
  if (volume.az !== instance.az) {
    throw new AwsError(
      "InvalidVolume.ZoneMismatch",
      `The volume '${volume.volume_id}' is not in the same availability zone as instance '${instance.instance_id}'`,
    );
  }
  if (volume.state === "in-use") {
    throw new AwsError("VolumeInUse", `${volume.volume_id} is already attached to an instance`);
  }
  if (request.device !== undefined) {
    checkDevice(request.device, instance.attachments);
    checkRoot(volume, request.device, instance);
  }
  return instance;
}
