/** gp3, the one type of volume, and the ranges of its performance. */
import { AwsError } from "../../aws/errors.ts";
import { invalidCombination, invalidValue } from "../../resources/errors.ts";
import { baseline } from "./volume_lifecycle.ts";

const limits = {
  /** What the block store can address; EC2's gp3 goes to 64 TiB. */
  size_gib: 16_384,
  iops: 80_000,
  iopsPerGib: 500,
  throughput: 2000,
  throughputPerIops: 0.25,
} as const;

/** gp3's ranges. @throws AwsError `InvalidParameterValue`, `InvalidParameterCombination` */
export function checkPerformance(
  size_gib: number,
  iops: number | undefined,
  throughput: number | undefined,
): { readonly iops: number; readonly throughput: number } {
  if (!Number.isInteger(size_gib) || size_gib < 1) {
    throw invalidValue(`Volume of ${size_gib}GiB is too small; minimum is 1GiB.`);
  }
  if (size_gib > limits.size_gib) {
    throw invalidValue(`Volume of ${size_gib}GiB is too large; maximum is ${limits.size_gib}GiB.`);
  }
  const wanted = { iops: iops ?? baseline.iops, throughput: throughput ?? baseline.throughput };
  if (wanted.iops < baseline.iops || wanted.iops > limits.iops) {
    throw invalidValue(
      `Volume iops of ${wanted.iops} is out of range; gp3 has ${baseline.iops} to ${limits.iops}.`,
    );
  }
  if (wanted.throughput < baseline.throughput || wanted.throughput > limits.throughput) {
    throw invalidValue(
      `Throughput of ${wanted.throughput} is out of range; gp3 has ${baseline.throughput} to ${limits.throughput} MiB/s.`,
    );
  }
  if (wanted.iops > baseline.iops && wanted.iops > size_gib * limits.iopsPerGib) {
    throw invalidCombination(
      `Iops to volume size ratio of ${
        (wanted.iops / size_gib).toFixed(6)
      } is too high; maximum is ${limits.iopsPerGib} IOPS per GiB.`,
    );
  }
  if (wanted.throughput > wanted.iops * limits.throughputPerIops) {
    throw invalidCombination(
      `Throughput (MiBps) to iops ratio of ${
        (wanted.throughput / wanted.iops).toFixed(6)
      } is too high; maximum is ${limits.throughputPerIops.toFixed(6)} MiBps per iops.`,
    );
  }
  return wanted;
}

/** Types that AWS has and this cloud does not. @throws AwsError `UnknownVolumeType` */
export function checkVolumeType(type: string | undefined): void {
  if (type !== undefined && type !== "gp3") {
    throw new AwsError(
      "UnknownVolumeType",
      `Unsupported volume type '${type}' for volume creation. Use gp3.`,
    );
  }
}
