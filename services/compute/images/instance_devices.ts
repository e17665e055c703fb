/**
 * The devices of an image that is made of an instance: the instance's volumes, as a request leaves out, changes and adds to
 * them. What is not said of a device is as its volume is.
 */
import { AwsError } from "../../aws/errors.ts";
import { invalidValue, missingParameter, unsupported } from "../../resources/errors.ts";
import type { ImageBlockDevice, InstanceRecord, VolumeRecord } from "../contract.ts";
import { volumesOf } from "../snapshots/snapshot_actions.ts";
import type { ComputeState } from "../state.ts";
import {
  performanceOf,
  refuseHardDiskRoot,
  shownPerformance,
  typeNamed,
} from "../volumes/volume_performance.ts";
import { blockDevice, type Mapping } from "./image_registration.ts";

export interface InstanceDevices {
  /** Devices that get a snapshot of their volume. */
  readonly frozen: readonly {
    readonly volume: VolumeRecord;
    readonly shape: ImageBlockDevice;
  }[];
  /** Devices that the instance does not have. */
  readonly added: readonly ImageBlockDevice[];
}

const invalidMapping = (message: string) => new AwsError("InvalidBlockDeviceMapping", message);

/** The volume's type, and what was asked for with it. */
function speedOf(volume: VolumeRecord) {
  const { Iops, Throughput } = shownPerformance(volume);
  return {
    volume_type: volume.volume_type,
    ...(Iops === undefined || volume.volume_type === "gp2" ? {} : { iops: Iops }),
    ...(Throughput === undefined ? {} : { throughput: Throughput }),
  };
}

function shapeOf(
  device: string,
  volume: VolumeRecord,
  delete_on_termination: boolean,
  ebs: NonNullable<Mapping["Ebs"]>,
): ImageBlockDevice {
  if (ebs.SnapshotId !== undefined) {
    throw invalidMapping(`snapshotId cannot be modified on ${device}, which is the instance's own`);
  }
  if (ebs.Encrypted !== undefined || ebs.KmsKeyId !== undefined) {
    throw invalidMapping(
      `the encrypted flag cannot be specified since device ${device} has a snapshot specified.`,
    );
  }
  const size_gib = ebs.VolumeSize ?? volume.size_gib;
  if (size_gib < volume.size_gib) {
    throw invalidMapping(
      `Volume of size ${size_gib}GB is smaller than snapshot of '${device}', expect size>= ${volume.size_gib}GB`,
    );
  }
  const volume_type = ebs.VolumeType === undefined ? volume.volume_type : typeNamed(ebs.VolumeType);
  const own = volume_type === volume.volume_type ? speedOf(volume) : {};
  const speed = {
    ...own,
    ...(ebs.Iops === undefined ? {} : { iops: ebs.Iops }),
    ...(ebs.Throughput === undefined ? {} : { throughput: ebs.Throughput }),
    volume_type,
  };
  performanceOf({ ...speed, size_gib });
  return {
    device,
    size_gib,
    ...speed,
    ...(volume.encrypted === true ? { encrypted: true } : {}),
    delete_on_termination: ebs.DeleteOnTermination ?? delete_on_termination,
  };
}

/** @throws AwsError for what cannot be made */
export async function instanceDevices(
  state: ComputeState,
  instance: InstanceRecord,
  mappings: readonly Mapping[] = [],
): Promise<InstanceDevices> {
  const asked = new Map<string, Mapping>();
  for (const mapping of mappings) {
    const { DeviceName: name, VirtualName } = mapping;
    if (name === undefined || name === "") {
      throw missingParameter("BlockDeviceMapping.DeviceName");
    }
    if (asked.has(name)) throw invalidMapping("A device name is mapped more than once.");
    if (VirtualName !== undefined) throw unsupported("Instance store volumes are not offered.");
    asked.set(name, mapping);
  }
  const own = await volumesOf(state.volumes, instance, {});
  const frozen = own.filter(({ device }) => asked.get(device)?.NoDevice === undefined)
    .map(({ device, volume }) => {
      const entry = instance.attachments.find((each) => each.device === device);
      const goes = entry?.delete_on_termination ?? true;
      return { volume, shape: shapeOf(device, volume, goes, asked.get(device)?.Ebs ?? {}) };
    });
  const root = frozen.find(({ shape }) => shape.device === instance.root_device_name);
  if (root === undefined) throw invalidValue("The image needs the instance's root volume.");
  refuseHardDiskRoot(root.shape.volume_type, "InvalidBlockDeviceMapping");
  const added: ImageBlockDevice[] = [];
  for (const [name, mapping] of asked) {
    if (mapping.NoDevice !== undefined || own.some(({ device }) => device === name)) continue;
    added.push(await blockDevice(state, instance.account_id, mapping));
  }
  return { frozen, added };
}
