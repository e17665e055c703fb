/** Images as a resource type, and how a record looks in EC2's answers. */
import type { ResourceType } from "../../resources/resource.ts";
import { showTags } from "../../resources/tags.ts";
import type { Output } from "../../resources/wire.ts";
import { buckets, type DeregistrationProtection, type ImageRecord } from "../contract.ts";
import { deprecationOf } from "./image_deprecation.ts";

const devices = (image: ImageRecord) => image.block_devices;
const none = () => undefined;

export const imageType: ResourceType<ImageRecord> = {
  name: "image",
  idPrefix: "ami-",
  errors: {
    notFound: "InvalidAMIID.NotFound",
    malformed: "InvalidAMIID.Malformed",
    noun: "image",
    missing: (id) => `The image id '[${id}]' does not exist`,
  },
  bucket: buckets.images,
  id: (image) => image.image_id,
  states: ["pending", "available", "failed", "disabled", "deregistered"],
  attributes: {
    "architecture": (image) => image.architecture,
    "block-device-mapping.delete-on-termination": (image) =>
      devices(image).map((device) => device.delete_on_termination),
    "block-device-mapping.device-name": (image) => devices(image).map((device) => device.device),
    "block-device-mapping.encrypted": (image) =>
      devices(image).map(({ encrypted }) => encrypted === true),
    "block-device-mapping.snapshot-id": (image) =>
      devices(image).map((device) => device.snapshot_id),
    "block-device-mapping.volume-size": (image) => devices(image).map((device) => device.size_gib),
    "block-device-mapping.volume-type": (image) =>
      devices(image).map(({ volume_type }) => volume_type ?? "gp3"),
    "boot-mode": (image) => image.boot_mode,
    "creation-date": (image) => image.creation_date,
    "description": (image) => image.description,
    "ena-support": (image) => image.ena === true,
    "free-tier-eligible": () => false,
    "hypervisor": () => "xen",
    // Nobody says which images are allowed: all are.
    "image-allowed": () => true,
    "image-id": (image) => image.image_id,
    "image-type": () => "machine",
    "image-watermark.source-image-creation-time": none,
    "image-watermark.source-image-id": none,
    "image-watermark.source-image-region": none,
    "image-watermark.watermark-creation-time": none,
    "image-watermark.watermark-key": none,
    "instance-type-specification.supported-instance-type": none,
    "instance-type-specification.unsupported-instance-type": none,
    "is-public": (image) => image.public,
    "kernel-id": none,
    "manifest-location": (image) => `${image.account_id}/${image.name}`,
    "name": (image) => image.name,
    "owner-alias": none,
    "owner-id": (image) => image.account_id,
    "platform": none,
    "product-code": none,
    "product-code.type": none,
    "public-ssm-parameter-name": none,
    "ramdisk-id": none,
    "root-device-name": (image) => image.root_device_name,
    "root-device-type": () => "ebs",
    "scan-result.critical-fix-available-since": none,
    "scan-result.finding-scan-date": none,
    "scan-result.high-fix-available-since": none,
    "scan-result.highest-finding-severity-label": none,
    "scan-result.informational-fix-available-since": none,
    "scan-result.low-fix-available-since": none,
    "scan-result.medium-fix-available-since": none,
    "source-image-id": (image) => image.source?.image_id,
    "source-image-region": (image) => image.source?.region,
    "source-instance-id": (image) => image.source_instance_id,
    "sriov-net-support": (image) => image.sriov,
    "state": (image) => image.state,
    "state-reason-code": none,
    "state-reason-message": none,
    "virtualization-type": () => "hvm",
  },
  page: { minimum: 1, maximum: 1000, above: "refuse" },
  ownerless: true,
  // An image that is still being brought in, or is disabled, is nobody else's business.
  // No account in particular: whether there is anybody.
  shared: (image, account) =>
    image.state === "available" &&
    (image.public ||
      (account === ""
        ? image.shared_with !== undefined
        : image.shared_with?.includes(account) === true)),
  gone: (image) => image.state === "deregistered",
};

/** Whether the image may not be deregistered now. */
export const isProtected = ({ deregistration_protection: held }: ImageRecord): boolean =>
  held !== undefined && (held.until === undefined || Date.parse(held.until) > Date.now());

export function showProtection(held: DeregistrationProtection | undefined): string {
  if (held === undefined) return "disabled";
  if (held.until === undefined) {
    return held.cooldown ? "enabled-with-cooldown" : "enabled-without-cooldown";
  }
  return Date.parse(held.until) > Date.now() ? `disabled-after-${held.until}` : "disabled";
}

type Shown = NonNullable<Output<"DescribeImages">["Images"]>[number];

export function showDevices(image: ImageRecord): Shown["BlockDeviceMappings"] {
  return image.block_devices.map((device) => ({
    DeviceName: device.device,
    Ebs: {
      DeleteOnTermination: device.delete_on_termination,
      Encrypted: device.encrypted === true,
      ...(device.iops === undefined ? {} : { Iops: device.iops }),
      ...(device.snapshot_id === undefined ? {} : { SnapshotId: device.snapshot_id }),
      ...(device.throughput === undefined ? {} : { Throughput: device.throughput }),
      VolumeSize: device.size_gib,
      VolumeType: device.volume_type ?? "gp3",
    },
  }));
}

export function showImage(image: ImageRecord): Shown {
  const deprecation = deprecationOf(image);
  return {
    Architecture: image.architecture,
    BlockDeviceMappings: showDevices(image),
    ...(image.boot_mode === undefined ? {} : { BootMode: image.boot_mode }),
    CreationDate: image.creation_date,
    ...(deprecation === undefined ? {} : { DeprecationTime: deprecation }),
    DeregistrationProtection: showProtection(image.deregistration_protection),
    ...(image.description === undefined ? {} : { Description: image.description }),
    ...(image.ena === true ? { EnaSupport: true } : {}),
    Hypervisor: "xen",
    ...(image.imds === undefined ? {} : { ImdsSupport: image.imds }),
    ImageId: image.image_id,
    ImageLocation: `${image.account_id}/${image.name}`,
    ImageType: "machine",
    Name: image.name,
    OwnerId: image.account_id,
    PlatformDetails: "Linux/UNIX",
    Public: image.public,
    RootDeviceName: image.root_device_name,
    RootDeviceType: "ebs",
    ...(image.sriov === undefined ? {} : { SriovNetSupport: image.sriov }),
    ...(image.source_instance_id === undefined
      ? {}
      : { SourceInstanceId: image.source_instance_id }),
    ...(image.source === undefined ? {} : {
      SourceImageId: image.source.image_id,
      SourceImageRegion: image.source.region,
    }),
    State: image.state,
    Tags: showTags(image.tags),
    ...(image.tpm === undefined ? {} : { TpmSupport: image.tpm }),
    UsageOperation: "RunInstances",
    VirtualizationType: "hvm",
  };
}
