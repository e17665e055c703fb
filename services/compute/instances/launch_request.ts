/**
 * What RunInstances was asked for, checked: everything that can be refused is refused here, in AWS's
 * words, before anything is claimed or made. A parameter that this cloud cannot honour is refused
 * and never ignored, unless ignoring it changes nothing that the caller could see.
 */
import { AwsError } from "../../aws/errors.ts";
import {
  invalidCombination,
  invalidParameter,
  invalidValue,
  missingParameter,
  unsupported,
} from "../../resources/errors.ts";
import { checkId } from "../../resources/ids.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Tags } from "../../resources/tags.ts";
import type { Input } from "../../resources/wire.ts";
import type { InterfaceWish } from "../../vpcd/contract.ts";
import type { ImageRecord, InstanceRecord, InstanceSettings, KeyPairRecord } from "../contract.ts";
import {
  type DevicePlan,
  type EncryptionOf,
  planDevices,
  type SnapshotSize,
} from "./block_device_plan.ts";
import type { Need } from "./capacity.ts";

export type RunInput = Input<"RunInstances">;

export interface OfferedType extends Need {
  readonly architecture: "x86_64" | "arm64";
}

/** What the checks look things up in, for one account. */
export interface LaunchCatalog {
  readonly az: string;
  /** What guests of this node run on. */
  readonly architecture: "x86_64" | "arm64";
  image(id: string): ImageRecord | undefined;
  keyPair(name: string): KeyPairRecord | undefined;
  type(name: string): OfferedType | undefined;
  readonly snapshotSize: SnapshotSize;
  /** Without it everything is encrypted that the image has encrypted. */
  readonly encryptionOf?: EncryptionOf;
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
  readonly interfaces: readonly InterfaceWish[];
  readonly settings: InstanceSettings;
}

/** When no type is named. AWS takes m1.small, which belongs to a generation of its own. */
const defaultType = "t3.micro";
const maxInstances = 1000;
export const userDataLimit_bytes = 16_384;

/** Parameters of features that do not exist here; each would change what the caller gets. */
const refused: readonly (keyof RunInput)[] = [
  "ElasticGpuSpecification",
  "ElasticInferenceAccelerators",
  "InstanceMarketOptions",
  "Ipv6Addresses",
  "KernelId",
  "LicenseSpecifications",
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
    devices: planDevices(
      image,
      input.BlockDeviceMappings,
      catalog.snapshotSize,
      catalog.encryptionOf,
    ),
    metadata_options: {
      http_tokens: input.MetadataOptions?.HttpTokens ??
        (image.imds === undefined ? "optional" : "required"),
      http_endpoint: input.MetadataOptions?.HttpEndpoint ?? "enabled",
      instance_metadata_tags: input.MetadataOptions?.InstanceMetadataTags ?? "disabled",
    },
    shutdown_behavior: input.InstanceInitiatedShutdownBehavior ?? "stop",
    tags: tags["instance"] ?? {},
    volume_tags: tags["volume"] ?? {},
    interfaces: readInterfaces(input),
    settings: { ...(image.imds === undefined ? {} : { hop_limit: 2 }), ...readSettings(input) },
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
    ["HibernationOptions", input.HibernationOptions?.Configured],
    ["EnclaveOptions", input.EnclaveOptions?.Enabled],
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

function checkPlace(input: RunInput, { az }: LaunchCatalog): void {
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
  for (const name of ["GroupId", "HostId", "HostResourceGroupArn"] as const) {
    if (placement[name] !== undefined && placement[name] !== "") {
      throw unsupported(`Placement.${name} is not supported by this cloud yet.`);
    }
  }
}

/** What the launch wants of its network; whether it can be had is vpcd's to say. */
function readInterfaces(input: RunInput): InterfaceWish[] {
  const interfaces = input.NetworkInterfaces ?? [];
  const groups = [...input.SecurityGroupIds ?? [], ...input.SecurityGroups ?? []];
  if (interfaces.length > 0) {
    if (input.SubnetId !== undefined || groups.length > 0 || input.PrivateIpAddress !== undefined) {
      throw invalidCombination(
        "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request",
      );
    }
    const wishes = interfaces.map((one, at): InterfaceWish => {
      if (
        one.AssociatePublicIpAddress === true || (one.Ipv6AddressCount ?? 0) > 0 ||
        (one.Ipv6Addresses ?? []).length > 0
      ) {
        throw unsupported(
          "Public and IPv6 addresses at launch are not supported by this cloud yet.",
        );
      }
      const listed = one.PrivateIpAddresses ?? [];
      return {
        device_index: one.DeviceIndex ?? at,
        delete_on_termination: one.DeleteOnTermination ?? one.NetworkInterfaceId === undefined,
        interface_id: one.NetworkInterfaceId,
        subnet_id: one.SubnetId,
        group_ids: one.Groups,
        private_ip: one.PrivateIpAddress ??
          listed.find((address) => address.Primary === true)?.PrivateIpAddress,
        secondary_ips: listed.flatMap((address) =>
          address.Primary === true || address.PrivateIpAddress === undefined
            ? []
            : [address.PrivateIpAddress]
        ),
        secondary_count: one.SecondaryPrivateIpAddressCount,
        description: one.Description,
      };
    });
    if (!wishes.some((one) => one.device_index === 0)) {
      throw invalidValue("The first network interface must have device index 0.");
    }
    const isFixed = wishes.some((one) =>
      one.interface_id !== undefined || one.private_ip !== undefined
    );
    if (isFixed && input.MaxCount !== 1) {
      throw invalidCombination("Chosen interfaces and addresses are for one instance each.");
    }
    return wishes;
  }
  if (input.PrivateIpAddress !== undefined && input.MaxCount !== 1) {
    throw invalidCombination("A chosen private address is for one instance.");
  }
  return [{
    device_index: 0,
    delete_on_termination: true,
    subnet_id: input.SubnetId,
    group_ids: input.SecurityGroupIds,
    group_names: input.SecurityGroups,
    private_ip: input.PrivateIpAddress,
  }];
}

function readSettings(input: RunInput): InstanceSettings {
  const group = input.Placement?.GroupName;
  return {
    ...(input.Monitoring?.Enabled === true ? { monitoring: true } : {}),
    ...(input.DisableApiTermination === true ? { disable_api_termination: true } : {}),
    ...(input.DisableApiStop === true ? { disable_api_stop: true } : {}),
    ...(input.EbsOptimized === true ? { ebs_optimized: true } : {}),
    ...(group === undefined || group === "" ? {} : { placement_group: group }),
    ...(input.MetadataOptions?.HttpPutResponseHopLimit === undefined
      ? {}
      : { hop_limit: input.MetadataOptions.HttpPutResponseHopLimit }),
  };
}
