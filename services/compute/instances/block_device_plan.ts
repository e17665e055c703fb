/**
 * Which volumes a launch makes: the image's own, changed and added to by the request.
 *
 * A mapping that names a device of the image changes that device's volume, or leaves it out with
 * `NoDevice`; any other device is a volume more. The root volume is always there and sits in slot 0.
 */
import { AwsError } from "../../aws/errors.ts";
import { missingParameter, unsupported } from "../../resources/errors.ts";
import type { Input } from "../../resources/wire.ts";
import type { ImageBlockDevice, ImageRecord, VolumeType } from "../contract.ts";
import {
  type Encryption,
  type EncryptionRequest,
  sameEncryption,
} from "../volumes/encryption_choice.ts";
import { diskSlots } from "../machines/hypervisor.ts";
import { checkDevice } from "../volumes/volume_attachment.ts";
import { performanceOf, refuseHardDiskRoot, typeNamed } from "../volumes/volume_performance.ts";

type Mapping = NonNullable<Input<"RunInstances">["BlockDeviceMappings"]>[number];

export interface DevicePlan {
  readonly device: string;
  readonly slot: number;
  readonly volume_type: VolumeType;
  readonly size_gib: number;
  readonly iops: number;
  readonly throughput: number;
  readonly snapshot_id?: string;
  readonly encrypted?: true;
  readonly kms_key_id?: string;
  readonly delete_on_termination: boolean;
}

/** Size of a snapshot in GiB, or undefined when the caller has no such snapshot. */
export type SnapshotSize = (snapshotId: string) => number | undefined;

/** How a device is encrypted, by the mapping, the image's device and its snapshot. @throws AwsError */
export type EncryptionOf = (
  asked: EncryptionRequest,
  image: ImageBlockDevice | undefined,
  snapshotId: string | undefined,
) => Encryption;

type Planned = ImageBlockDevice & Encryption;

/** @throws AwsError for what cannot be made */
export function planDevices(
  image: Pick<ImageRecord, "block_devices" | "root_device_name">,
  mappings: readonly Mapping[] | undefined,
  sizeOf: SnapshotSize,
  encryptionOf: EncryptionOf = (_asked, image) => sameEncryption(image ?? {}),
): readonly DevicePlan[] {
  const devices = new Map<string, Planned>();
  for (const device of image.block_devices) {
    devices.set(device.device, { ...device, ...encryptionOf({}, device, device.snapshot_id) });
  }
  const named = new Set<string>();
  for (const mapping of mappings ?? []) {
    const name = mapping.DeviceName;
    if (name === undefined || name === "") {
      throw missingParameter("BlockDeviceMapping.DeviceName");
    }
    if (named.has(name)) {
      throw invalidMapping(`The device '${name}' is used in more than one block-device mapping`);
    }
    named.add(name);
    const ofImage = devices.get(name);
    if (mapping.NoDevice !== undefined) {
      if (name === image.root_device_name) {
        throw invalidMapping("The root device cannot be left out");
      }
      devices.delete(name);
      continue;
    }
    if (mapping.VirtualName !== undefined) {
      throw unsupported("Instance store volumes are not offered.");
    }
    if (ofImage === undefined) {
      checkDevice(name, [...devices.values()].map(({ device }) => asAttachment(device)));
    }
    const own = image.block_devices.find(({ device }) => device === name);
    devices.set(
      name,
      merge(
        name,
        ofImage,
        mapping,
        sizeOf,
        (asked, snapshot_id) => encryptionOf(asked, own, snapshot_id),
      ),
    );
  }
  if (devices.size > diskSlots) {
    throw new AwsError("AttachmentLimitExceeded", `An instance may have ${diskSlots} volumes.`);
  }
  const root = devices.get(image.root_device_name);
  if (root === undefined) throw invalidMapping("The image has no root device");
  refuseHardDiskRoot(root.volume_type, "InvalidBlockDeviceMapping");
  const rest = [...devices.values()].filter((device) => device !== root);
  return [root, ...rest].map((device, slot) => {
    return {
      device: device.device,
      slot,
      size_gib: device.size_gib,
      ...performanceOf({ ...device, volume_type: device.volume_type ?? "gp3" }),
      ...(device.snapshot_id === undefined ? {} : { snapshot_id: device.snapshot_id }),
      ...sameEncryption(device),
      delete_on_termination: device.delete_on_termination,
    };
  });
}

function merge(
  name: string,
  ofImage: ImageBlockDevice | undefined,
  mapping: Mapping,
  sizeOf: SnapshotSize,
  encryptionOf: (asked: EncryptionRequest, snapshotId: string | undefined) => Encryption,
): Planned {
  const ebs = mapping.Ebs ?? {};
  // What an image's device leaves out is as it was before there were other types.
  const own = ofImage && (ofImage.volume_type ?? "gp3");
  const volume_type = ebs.VolumeType === undefined && own !== undefined
    ? own
    : typeNamed(ebs.VolumeType);
  if (ebs.Throughput !== undefined && volume_type !== "gp3") {
    throw invalidMapping(
      `throughput cannot be specified with the volumeType of device '${name}'`,
    );
  }
  const { iops, throughput } = own === volume_type ? ofImage ?? {} : {} as Partial<Planned>;
  if (
    ofImage !== undefined && ebs.SnapshotId !== undefined && ebs.SnapshotId !== ofImage.snapshot_id
  ) {
    throw invalidMapping(`snapshotId cannot be modified on ${name}, which is the image's own`);
  }
  const snapshot_id = ofImage?.snapshot_id ?? ebs.SnapshotId;
  const snapshotSize = snapshot_id === undefined ? undefined : sizeOf(snapshot_id);
  if (snapshot_id !== undefined && snapshotSize === undefined && ofImage === undefined) {
    throw new AwsError("InvalidSnapshot.NotFound", `The snapshot '${snapshot_id}' does not exist.`);
  }
  const smallest = ofImage?.size_gib ?? snapshotSize;
  const size_gib = ebs.VolumeSize ?? smallest;
  if (size_gib === undefined) throw missingParameter("BlockDeviceMapping.Ebs.VolumeSize");
  const least = snapshotSize ?? smallest ?? 1;
  if (snapshot_id !== undefined && size_gib < least) {
    throw invalidMapping(
      `Volume of size ${size_gib}GB is smaller than snapshot '${snapshot_id}', expect size >= ${least}GB`,
    );
  }
  return {
    device: name,
    size_gib,
    delete_on_termination: ebs.DeleteOnTermination ?? ofImage?.delete_on_termination ?? true,
    ...(snapshot_id === undefined ? {} : { snapshot_id }),
    ...encryptionOf(ebs, snapshot_id),
    volume_type,
    ...speeds(ebs.Iops ?? iops, ebs.Throughput ?? throughput),
  };
}

const speeds = (iops: number | undefined, throughput: number | undefined) => ({
  ...(iops === undefined ? {} : { iops }),
  ...(throughput === undefined ? {} : { throughput }),
});

const invalidMapping = (message: string) => new AwsError("InvalidBlockDeviceMapping", message);

/** What a check of names needs to know of a device. */
function asAttachment(device: string) {
  return {
    device,
    volume_id: "",
    status: "attached",
    attach_time: "",
    delete_on_termination: true,
    slot: 0,
  } as const;
}
