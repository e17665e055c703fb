/**
 * Instance types: EC2's names for sizes, as far as this machine can hold them, and
 * DescribeInstanceTypes. A type is offered when its architecture is the machine's and the whole
 * machine has the vCPUs and the memory for one of it.
 *
 * Only facts of ours are told: sizes, architecture, what the hypervisor does. Bandwidths, which AWS
 * sells and we do not limit, are left out.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidValue } from "../../resources/errors.ts";
import { type Attributes, compileFilters } from "../../resources/filters.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Output } from "../../resources/wire.ts";
import { diskSlots } from "../machines/hypervisor.ts";

export interface InstanceSize {
  readonly name: string;
  readonly architecture: "x86_64" | "arm64";
  readonly vcpus: number;
  readonly memory_mib: number;
}

type Sizes = Readonly<Record<string, readonly [vcpus: number, memory_gib: number]>>;

const burstable: Sizes = {
  nano: [2, 0.5],
  micro: [2, 1],
  small: [2, 2],
  medium: [2, 4],
  large: [2, 8],
  xlarge: [4, 16],
  "2xlarge": [8, 32],
};

function sizes(architecture: InstanceSize["architecture"], family: string, of: Sizes) {
  return Object.entries(of).map(([size, [vcpus, memory_gib]]): InstanceSize => ({
    name: `${family}.${size}`,
    architecture,
    vcpus,
    memory_mib: memory_gib * 1024,
  }));
}

const allSizes: readonly InstanceSize[] = [
  // The small ones have one processor, which is all that a small machine may have to give.
  ...sizes("x86_64", "t2", { ...burstable, nano: [1, 0.5], micro: [1, 1], small: [1, 2] }),
  ...sizes("x86_64", "t3", burstable),
  ...sizes("x86_64", "m5", { large: [2, 8], xlarge: [4, 16], "2xlarge": [8, 32] }),
  ...sizes("x86_64", "c5", { large: [2, 4], xlarge: [4, 8], "2xlarge": [8, 16] }),
  ...sizes("x86_64", "r5", { large: [2, 16], xlarge: [4, 32], "2xlarge": [8, 64] }),
  ...sizes("arm64", "t4g", burstable),
  ...sizes("arm64", "m6g", { medium: [1, 4], large: [2, 8], xlarge: [4, 16], "2xlarge": [8, 32] }),
  ...sizes("arm64", "c6g", { medium: [1, 2], large: [2, 4], xlarge: [4, 8], "2xlarge": [8, 16] }),
  ...sizes("arm64", "r6g", { medium: [1, 8], large: [2, 16], xlarge: [4, 32], "2xlarge": [8, 64] }),
];

const byName = new Map(allSizes.map((size) => [size.name, size]));

/** The size of that name, offered here or not. */
export function sizeOf(name: string): InstanceSize | undefined {
  return byName.get(name);
}

export interface HostSize {
  readonly architecture: InstanceSize["architecture"];
  /** What the machine may sell in all. */
  readonly vcpus: number;
  readonly memory_mib: number;
}

/** The sizes that this machine can hold, in the order of their names. */
export function offeredSizes(host: HostSize): readonly InstanceSize[] {
  return allSizes
    .filter((size) =>
      size.architecture === host.architecture && size.vcpus <= host.vcpus &&
      size.memory_mib <= host.memory_mib
    )
    .sort((a, b) => a.name < b.name ? -1 : 1);
}

const isBurstable = (size: InstanceSize) => size.name.startsWith("t");
const none = () => undefined;

const attributes: Attributes<InstanceSize> = {
  "auto-recovery-supported": () => false,
  "bare-metal": () => false,
  "burstable-performance-supported": isBurstable,
  "current-generation": () => true,
  "dedicated-hosts-supported": () => false,
  "ebs-info.ebs-optimized-support": () => "unsupported",
  "ebs-info.encryption-support": () => "supported",
  "ebs-info.nvme-support": () => "unsupported",
  "free-tier-eligible": () => false,
  "hibernation-supported": () => false,
  "hypervisor": () => "nitro",
  "instance-storage-supported": () => false,
  "instance-type": (size) => size.name,
  "memory-info.size-in-mib": (size) => size.memory_mib,
  "network-info.efa-supported": () => false,
  "network-info.ena-support": () => "unsupported",
  "network-info.ipv6-supported": () => false,
  "network-info.maximum-network-interfaces": () => 1,
  "nitro-enclaves-support": () => "unsupported",
  "nitro-tpm-support": () => "unsupported",
  "processor-info.supported-architecture": (size) => size.architecture,
  "processor-info.supported-features": none,
  "processor-info.sustained-clock-speed-in-ghz": none,
  "supported-boot-mode": () => "uefi",
  "supported-root-device-type": () => "ebs",
  "supported-usage-class": () => "on-demand",
  "supported-virtualization-type": () => "hvm",
  "vcpu-info.default-cores": (size) => size.vcpus,
  "vcpu-info.default-threads-per-core": () => 1,
  "vcpu-info.default-vcpus": (size) => size.vcpus,
  "vcpu-info.valid-cores": (size) => size.vcpus,
  "vcpu-info.valid-threads-per-core": () => 1,
};

type Shown = NonNullable<Output<"DescribeInstanceTypes">["InstanceTypes"]>[number];

function show(size: InstanceSize): Shown {
  return {
    InstanceType: size.name as NonNullable<Shown["InstanceType"]>,
    AutoRecoverySupported: false,
    BareMetal: false,
    BurstablePerformanceSupported: isBurstable(size),
    CurrentGeneration: true,
    DedicatedHostsSupported: false,
    EbsInfo: {
      EbsOptimizedSupport: "unsupported",
      EncryptionSupport: "supported",
      NvmeSupport: "unsupported",
      MaximumEbsAttachments: diskSlots,
      AttachmentLimitType: "dedicated",
    },
    FreeTierEligible: false,
    HibernationSupported: false,
    Hypervisor: "nitro",
    InstanceStorageSupported: false,
    MemoryInfo: { SizeInMiB: size.memory_mib },
    NetworkInfo: {
      EfaSupported: false,
      EnaSupport: "unsupported",
      EnaSrdSupported: false,
      EncryptionInTransitSupported: false,
      Ipv4AddressesPerInterface: 1,
      Ipv6AddressesPerInterface: 0,
      Ipv6Supported: false,
      MaximumNetworkCards: 1,
      MaximumNetworkInterfaces: 1,
    },
    NitroEnclavesSupport: "unsupported",
    NitroTpmSupport: "unsupported",
    PlacementGroupInfo: { SupportedStrategies: [] },
    ProcessorInfo: { SupportedArchitectures: [size.architecture] },
    SupportedBootModes: ["uefi"],
    SupportedRootDeviceTypes: ["ebs"],
    SupportedUsageClasses: ["on-demand"],
    SupportedVirtualizationTypes: ["hvm"],
    VCpuInfo: {
      DefaultCores: size.vcpus,
      DefaultThreadsPerCore: 1,
      DefaultVCpus: size.vcpus,
      ValidCores: [size.vcpus],
      ValidThreadsPerCore: [1],
    },
  };
}

const limits = {
  minimum: 5,
  maximum: 100,
  above: "refuse",
  idsParameter: "instanceTypes",
} as const;

export function instanceTypeActions(host: HostSize) {
  const offered = offeredSizes(host);
  return {
    DescribeInstanceTypes: {
      run: (input, call) => {
        const names: readonly string[] = input.InstanceTypes ?? [];
        if (names.length > 100) throw invalidValue("A request may name 100 instance types.");
        const missing = names.filter((name) => !offered.some((one) => one.name === name));
        if (missing.length > 0) {
          throw new AwsError(
            "InvalidInstanceType",
            `The following supplied instance types do not exist: [${missing.join(", ")}]`,
          );
        }
        const matches = compileFilters(input.Filters, attributes);
        const page = pageOf(
          offered.filter((one) => (names.length === 0 || names.includes(one.name)) && matches(one)),
          (one) => one.name,
          {
            action: "DescribeInstanceTypes",
            input,
            call,
            limits,
            hasIds: names.length > 0,
          },
        );
        return {
          InstanceTypes: page.items.map(show),
          NextToken: page.nextToken,
        };
      },
    },
  } satisfies ActionTable;
}
