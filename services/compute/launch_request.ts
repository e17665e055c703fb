/**
 * What RunInstances was asked for, checked: everything that can be refused is refused here, in AWS's
 * words, before anything is claimed or made. A parameter that this cloud cannot honour is refused
 * and never ignored, unless ignoring it changes nothing that the caller could see.
 */
import { AwsError } from "../aws/errors.ts";
import {
  invalidCombination,
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../resources/errors.ts";
import { checkId } from "../resources/ids.ts";
import { tagsFromSpecifications } from "../resources/tags.ts";
import type { Tags } from "../resources/tags.ts";
import type { Input } from "../resources/wire.ts";
import type { ImageRecord, InstanceRecord, KeyPairRecord } from "./contract.ts";
import { type DevicePlan, planDevices, type SnapshotSize } from "./block_device_plan.ts";
import type { Need } from "./capacity.ts";
import type { DefaultNetwork } from "./network.ts";

export type RunInput = Input<"RunInstances">;

export interface OfferedType extends Need {
  readonly architecture: "x86_64" | "arm64";
}

/** What the checks look things up in, for one account. */
export interface LaunchCatalog {
  readonly az: string;
  /** What guests of this node run on. */
  readonly architecture: "x86_64" | "arm64";
  readonly network: DefaultNetwork;
  image(id: string): ImageRecord | undefined;
  keyPair(name: string): KeyPairRecord | undefined;
  type(name: string): OfferedType | undefined;
  readonly snapshotSize: SnapshotSize;
}

export interface LaunchRequest {
  readonly image: ImageRecord;
  readonly instance_type: string;
  readonly size: OfferedType;
  readonly minimum: number;
  readonly maximum: number;
  readonly key?: KeyPairRecord;
  readonly user_data?: string;
  readonly devices: readonly DevicePlan[];
  readonly iam_instance_profile?: NonNullable<InstanceRecord["iam_instance_profile"]>;
  readonly metadata_options: InstanceRecord["metadata_options"];
  readonly shutdown_behavior: "stop" | "terminate";
  readonly tags: Tags;
  readonly volume_tags: Tags;
}

/** When no type is named. AWS takes m1.small, which belongs to a generation of its own. */
const defaultType = "t3.micro";
const maxInstances = 1000;
const userDataLimit_bytes = 16_384;

/** Parameters of features that do not exist here; each would change what the caller gets. */
const refused: readonly (keyof RunInput)[] = [
  "ElasticGpuSpecification",
  "ElasticInferenceAccelerators",
  "InstanceMarketOptions",
  "Ipv6Addresses",
  "KernelId",
  "LaunchTemplate",
  "LicenseSpecifications",
  "PrivateIpAddress",
  "RamdiskId",
];

/** @throws AwsError */
export function checkLaunch(input: RunInput, catalog: LaunchCatalog): LaunchRequest {
  for (const name of refused) {
    const value = input[name];
    if (value !== undefined && !(Array.isArray(value) && value.length === 0)) {
      throw unsupported(`The parameter ${name} is not supported by this cloud yet.`);
    }
  }
  checkOptions(input);
  const { minimum, maximum } = checkCounts(input);
  const imageId = input.ImageId;
  if (imageId === undefined || imageId === "") throw missingParameter("ImageId");
  checkId("ami-", imageId, {
    notFound: "InvalidAMIID.NotFound",
    malformed: "InvalidAMIID.Malformed",
    noun: "image",
  });
  const image = catalog.image(imageId);
  if (image === undefined) {
    throw new AwsError("InvalidAMIID.NotFound", `The image id '[${imageId}]' does not exist`);
  }
  if (image.state !== "available") {
    throw new AwsError("InvalidAMIID.Unavailable", `The image ID '${imageId}' is ${image.state}`);
  }
  const instance_type: string = input.InstanceType ?? defaultType;
  const size = catalog.type(instance_type);
  if (size === undefined) {
    throw invalidValue(`Invalid value '${instance_type}' for InstanceType.`);
  }
  if (size.architecture !== image.architecture) {
    throw invalidValue(
      `The architecture '${size.architecture}' of the specified instance type does not ` +
        `match the architecture '${image.architecture}' of the specified AMI. Specify an instance ` +
        "type and an AMI that have matching architectures, and try again.",
    );
  }
  if (size.architecture !== catalog.architecture) {
    throw new AwsError(
      "Unsupported",
      `Your requested instance type (${instance_type}) is not supported in your requested ` +
        `Availability Zone (${catalog.az}), whose processors are ${catalog.architecture}.`,
    );
  }
  const key = input.KeyName === undefined || input.KeyName === ""
    ? undefined
    : catalog.keyPair(input.KeyName);
  if (input.KeyName !== undefined && input.KeyName !== "" && key === undefined) {
    throw new AwsError(
      "InvalidKeyPair.NotFound",
      `The key pair '${input.KeyName}' does not exist`,
    );
  }
  checkPlace(input, catalog);
  const tags = tagsFromSpecifications(input.TagSpecifications, ["instance", "volume"]);
  const user_data = checkUserData(input.UserData);
  return {
    image,
    instance_type,
    size,
    minimum,
    maximum,
    ...(key === undefined ? {} : { key }),
    ...(user_data === undefined ? {} : { user_data }),
    devices: planDevices(image, input.BlockDeviceMappings, catalog.snapshotSize),
    metadata_options: {
      http_tokens: input.MetadataOptions?.HttpTokens ?? "optional",
      http_endpoint: input.MetadataOptions?.HttpEndpoint ?? "enabled",
      instance_metadata_tags: input.MetadataOptions?.InstanceMetadataTags ?? "disabled",
    },
    shutdown_behavior: input.InstanceInitiatedShutdownBehavior ?? "stop",
    tags: tags["instance"] ?? {},
    volume_tags: tags["volume"] ?? {},
  };
}

function checkCounts(input: RunInput): { readonly minimum: number; readonly maximum: number } {
  const { MinCount: minimum, MaxCount: maximum } = input;
  if (minimum === undefined) throw missingParameter("MinCount");
  if (maximum === undefined) throw missingParameter("MaxCount");
  if (!Number.isInteger(minimum) || minimum < 1) {
    throw invalidValue(`Value (${minimum}) for parameter minCount is invalid. Minimum is 1.`);
  }
  if (!Number.isInteger(maximum) || maximum < minimum || maximum > maxInstances) {
    throw invalidValue(
      `Value (${maximum}) for parameter maxCount is invalid. It must be at least minCount (${minimum}) and at most ${maxInstances}.`,
    );
  }
  return { minimum, maximum };
}

/** Switches of things that are not here may be off, not on. */
function checkOptions(input: RunInput): void {
  const on: readonly [string, boolean | undefined][] = [
    ["Monitoring", input.Monitoring?.Enabled],
    ["HibernationOptions", input.HibernationOptions?.Configured],
    ["EnclaveOptions", input.EnclaveOptions?.Enabled],
    ["DisableApiTermination", input.DisableApiTermination],
    ["DisableApiStop", input.DisableApiStop],
    ["Ipv6AddressCount", (input.Ipv6AddressCount ?? 0) > 0],
    ["CpuOptions", input.CpuOptions !== undefined],
  ];
  for (const [name, isOn] of on) {
    if (isOn === true) throw unsupported(`${name} is not supported by this cloud yet.`);
  }
  const reservation = input.CapacityReservationSpecification;
  if (reservation?.CapacityReservationTarget !== undefined) {
    throw unsupported("Capacity reservations are not supported by this cloud yet.");
  }
}

function checkUserData(text: string | undefined): string | undefined {
  if (text === undefined || text === "") return undefined;
  const compact = text.replace(/\s/g, "");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(compact) || compact.replace(/=+$/, "").length % 4 === 1) {
    throw invalidValue("Invalid BASE64 encoding of user data.");
  }
  const bytes = Math.floor(compact.replace(/=+$/, "").length * 3 / 4);
  if (bytes > userDataLimit_bytes) {
    throw invalidValue(`User data is limited to ${userDataLimit_bytes} bytes`);
  }
  return compact;
}

function checkPlace(input: RunInput, { az, network }: LaunchCatalog): void {
  const placement = input.Placement ?? {};
  if (placement.AvailabilityZone !== undefined && placement.AvailabilityZone !== az) {
    throw invalidParameter(
      "AvailabilityZone",
      placement.AvailabilityZone,
      `Subnets can currently only be created in the following availability zones: ${az}.`,
    );
  }
  if (placement.Tenancy !== undefined && placement.Tenancy !== "default") {
    throw unsupported("Only the default tenancy is offered.");
  }
  for (const name of ["GroupName", "GroupId", "HostId", "HostResourceGroupArn"] as const) {
    if (placement[name] !== undefined && placement[name] !== "") {
      throw unsupported(`Placement.${name} is not supported by this cloud yet.`);
    }
  }
  const interfaces = input.NetworkInterfaces ?? [];
  if (interfaces.length > 0 && (input.SubnetId !== undefined || input.SecurityGroupIds?.length)) {
    throw invalidCombination(
      "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request",
    );
  }
  if (interfaces.length > 1) {
    throw new AwsError("AttachmentLimitExceeded", "An instance has one network interface here.");
  }
  for (const one of interfaces) {
    if ((one.DeviceIndex ?? 0) !== 0) {
      throw invalidValue("The first network interface must have device index 0.");
    }
    if (one.NetworkInterfaceId !== undefined) {
      throw new AwsError(
        "InvalidNetworkInterfaceID.NotFound",
        `The networkInterface ID '${one.NetworkInterfaceId}' does not exist`,
      );
    }
    if (
      one.PrivateIpAddress !== undefined || one.AssociatePublicIpAddress === true ||
      (one.Ipv6AddressCount ?? 0) > 0 || (one.SecondaryPrivateIpAddressCount ?? 0) > 0
    ) {
      throw unsupported(
        "Chosen, public and further addresses are not supported by this cloud yet.",
      );
    }
  }
  const subnet = input.SubnetId ?? interfaces[0]?.SubnetId;
  if (subnet !== undefined && subnet !== "" && subnet !== network.subnet_id) {
    throw new AwsError("InvalidSubnetID.NotFound", `The subnet ID '${subnet}' does not exist`);
  }
  for (const group of [...(input.SecurityGroupIds ?? []), ...(interfaces[0]?.Groups ?? [])]) {
    if (group !== network.security_group_id) {
      throw new AwsError("InvalidGroup.NotFound", `The security group '${group}' does not exist`);
    }
  }
  for (const group of input.SecurityGroups ?? []) {
    if (group !== "default") {
      throw new AwsError("InvalidGroup.NotFound", `The security group '${group}' does not exist`);
    }
  }
}
