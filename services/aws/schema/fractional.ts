/**
 * Which numbers may have a fraction.
 *
 * The schemas know one kind of number only, and nearly every number that AWS's query APIs take is
 * an integer: `MinCount=1.5` must be refused. These members are the exceptions; what is not listed
 * is an integer. When the client packages are updated, look through the new numeric members.
 */
const anywhere: ReadonlySet<string> = new Set([
  "Amount",
  "CapacityAmount",
  "FixedPrice",
  "FulfilledCapacity",
  "HourlyPrice",
  "OnDemandFulfilledCapacity",
  "Price",
  "UploadSize",
  "UpfrontPrice",
  "UsagePrice",
  "WeightedCapacity",
]);

/** Members whose name means an integer elsewhere, as `Structure.Member`. */
const within: ReadonlySet<string> = new Set([
  "FleetLaunchTemplateOverridesRequest.Priority",
  "LaunchTemplateOverrides.Priority",
  "MemoryGiBPerVCpu.Max",
  "MemoryGiBPerVCpu.Min",
  "MemoryGiBPerVCpuRequest.Max",
  "MemoryGiBPerVCpuRequest.Min",
  "ReservationFleetInstanceSpecification.Weight",
  "TotalLocalStorageGB.Max",
  "TotalLocalStorageGB.Min",
  "TotalLocalStorageGBRequest.Max",
  "TotalLocalStorageGBRequest.Min",
]);

export function isFractional(structure: string, member: string): boolean {
  return anywhere.has(member) || within.has(`${structure}.${member}`);
}
