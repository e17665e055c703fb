/** What could be launched: types by requirements and by place, spot scores and prices. */
import type { ActionTable } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../../resources/errors.ts";
import { compileFilters, compilePattern } from "../../resources/filters.ts";
import { pageOf } from "../../resources/paging.ts";
import { zoneId } from "../../resources/zone_names.ts";
import { type InstanceSize, offeredSizes } from "../instances/instance_types.ts";
import type { RecordFamilies } from "./record_family.ts";

const limits = { minimum: 1, maximum: 1000, above: "refuse" } as const;

interface Range {
  readonly Min?: number | undefined;
  readonly Max?: number | undefined;
}
interface Requirements {
  readonly VCpuCount: Range;
  readonly MemoryMiB: Range;
  readonly MemoryGiBPerVCpu?: Range | undefined;
  readonly AllowedInstanceTypes?: readonly string[] | undefined;
  readonly ExcludedInstanceTypes?: readonly string[] | undefined;
  readonly BurstablePerformance?: string | undefined;
  readonly BareMetal?: string | undefined;
  readonly AcceleratorCount?: Range | undefined;
  readonly LocalStorage?: string | undefined;
}

const within = (value: number, range: Range | undefined) =>
  range === undefined || (value >= (range.Min ?? 0) && value <= (range.Max ?? Infinity));

/** Which sizes meet requirements; nothing here is bare metal, accelerated or has disks of its own. */
function matching(
  sizes: readonly InstanceSize[],
  wanted: Requirements,
  architectures: readonly string[],
) {
  const allowed = wanted.AllowedInstanceTypes?.map(compilePattern);
  const excluded = wanted.ExcludedInstanceTypes?.map(compilePattern);
  if (allowed !== undefined && excluded !== undefined) {
    throw invalidCombination("Give either allowedInstanceTypes or excludedInstanceTypes.");
  }
  const none = wanted.BareMetal === "required" || wanted.LocalStorage === "required" ||
    (wanted.AcceleratorCount?.Min ?? 0) > 0;
  const burstable = wanted.BurstablePerformance ?? "excluded";
  return none ? [] : sizes.filter((size) =>
    architectures.includes(size.architecture) &&
    within(size.vcpus, wanted.VCpuCount) &&
    within(size.memory_mib, wanted.MemoryMiB) &&
    within(size.memory_mib / 1024 / size.vcpus, wanted.MemoryGiBPerVCpu) &&
    (allowed?.some((matches) => matches(size.name)) ?? true) &&
    !(excluded?.some((matches) => matches(size.name)) ?? false) &&
    (burstable === "included" || size.name.startsWith("t") === (burstable === "required"))
  );
}

export function offerActions({ operations: n, host, config }: RecordFamilies) {
  const sizes = offeredSizes(host);
  return {
    GetInstanceTypesFromInstanceRequirements: n.custom({
      reads: true,
      check: (input) => {
        if (input.VirtualizationTypes.some((one) => one !== "hvm" && one !== "paravirtual")) {
          throw invalidParameter(
            "virtualizationTypes",
            input.VirtualizationTypes.join(","),
            "Expected: hvm or paravirtual.",
          );
        }
      },
      run: (input, call) => {
        const found = input.VirtualizationTypes.includes("hvm")
          ? matching(sizes, input.InstanceRequirements, input.ArchitectureTypes)
          : [];
        const page = pageOf(found, (one) => one.name, {
          action: "GetInstanceTypesFromInstanceRequirements",
          input,
          call,
          limits,
        });
        return {
          InstanceTypes: page.items.map((one) => ({ InstanceType: one.name })),
          NextToken: page.nextToken,
        };
      },
    }),
    DescribeInstanceTypeOfferings: n.custom({
      reads: true,
      run: (input, call) => {
        const type = input.LocationType ?? "region";
        const locations: Readonly<Record<string, string>> = {
          "region": config.region,
          "availability-zone": config.az,
          "availability-zone-id": zoneId(config.az),
        };
        const location = locations[type];
        if (location === undefined) {
          throw invalidParameter(
            "locationType",
            type,
            `Expected: ${Object.keys(locations).join(", ")}.`,
          );
        }
        const matches = compileFilters<InstanceSize>(input.Filters, {
          "instance-type": (one) => one.name,
          "location": () => location,
        });
        const page = pageOf(sizes.filter(matches), (one) => one.name, {
          action: "DescribeInstanceTypeOfferings",
          input,
          call,
          limits,
        });
        return {
          InstanceTypeOfferings: page.items.map((one) => ({
            InstanceType: one.name,
            Location: location,
            LocationType: type,
          })),
          NextToken: page.nextToken,
        };
      },
    }),
    GetSpotPlacementScores: n.custom({
      reads: true,
      check: (input) => {
        if (!Number.isInteger(input.TargetCapacity) || input.TargetCapacity < 1) {
          throw invalidParameter("targetCapacity", input.TargetCapacity, "Expected 1 at least.");
        }
        if (
          input.InstanceTypes === undefined && input.InstanceRequirementsWithMetadata === undefined
        ) {
          throw missingParameter("instanceTypes or instanceRequirementsWithMetadata");
        }
      },
      run: (input, call) => {
        const requirements = input.InstanceRequirementsWithMetadata;
        const candidates = requirements?.InstanceRequirements === undefined
          ? sizes.filter((one) => input.InstanceTypes?.includes(one.name))
          : matching(
            sizes,
            requirements.InstanceRequirements,
            requirements.ArchitectureTypes ?? ["x86_64"],
          );
        // Ten where the machine holds the whole wish at once, one where it holds nothing of it.
        const unit = (one: InstanceSize) =>
          input.TargetCapacityUnitType === "vcpu"
            ? one.vcpus
            : input.TargetCapacityUnitType === "memory-mib"
            ? one.memory_mib
            : 1;
        const fits = (one: InstanceSize) =>
          Math.min(
            Math.floor(host.vcpus / one.vcpus),
            Math.floor(host.memory_mib / one.memory_mib),
          ) * unit(one);
        const best = Math.max(0, ...candidates.map(fits));
        const Score = Math.max(1, Math.min(10, Math.floor(10 * best / input.TargetCapacity)));
        const scores = input.RegionNames !== undefined && !input.RegionNames.includes(config.region)
          ? []
          : [{
            Region: config.region,
            ...(input.SingleAvailabilityZone === true
              ? { AvailabilityZoneId: zoneId(config.az) }
              : {}),
            Score,
          }];
        const page = pageOf(scores, (one) => one.Region, {
          action: "GetSpotPlacementScores",
          input,
          call,
          limits,
        });
        return { SpotPlacementScores: page.items };
      },
    }),
    DescribeSpotPriceHistory: n.custom({
      reads: true,
      run: (input, call) => {
        // Nothing costs anything in a cloud of one's own; the price has been the same from the start.
        const rows = sizes.map((one) => ({
          AvailabilityZone: config.az,
          AvailabilityZoneId: zoneId(config.az),
          InstanceType: one.name,
          ProductDescription: "Linux/UNIX",
          SpotPrice: "0.000000",
          Timestamp: input.StartTime ?? new Date(0).toISOString(),
        }));
        const matches = compileFilters<(typeof rows)[number]>(input.Filters, {
          "availability-zone": (one) => one.AvailabilityZone,
          "instance-type": (one) => one.InstanceType,
          "product-description": (one) => one.ProductDescription,
          "spot-price": (one) => one.SpotPrice,
        });
        const found = rows.filter((one) =>
          matches(one) &&
          (input.InstanceTypes === undefined ||
            (input.InstanceTypes as readonly string[]).includes(one.InstanceType)) &&
          (input.AvailabilityZone ?? config.az) === config.az &&
          (input.ProductDescriptions?.includes(one.ProductDescription) ?? true)
        );
        const page = pageOf(found, (one) => one.InstanceType, {
          action: "DescribeSpotPriceHistory",
          input,
          call,
          limits,
        });
        return {
          SpotPriceHistory: page.items,
          NextToken: page.nextToken,
        };
      },
    }),
  } satisfies ActionTable;
}
