/**
 * Volume types: their sizes and speeds, as EC2 has them. What gp3, io1 and io2 are asked for is what the block
 * store holds them to. The other types have what EC2 lets them burst to, for as long as they like: nobody
 * counts credits here. What is shown of those is EC2's baseline.
 */
import { AwsError } from "../../aws/errors.ts";
import { invalidCombination, invalidValue, unsupported } from "../../resources/errors.ts";
import type { VolumeType } from "../contract.ts";

/** EC2's, where a request names none. */
const usualType = "gp2" satisfies VolumeType;

/** What of a request decides it. */
export interface PerformanceRequest {
  /** gp2 unless given. */
  readonly volume_type?: VolumeType | undefined;
  readonly size_gib: number;
  readonly iops?: number | undefined;
  /** MiB/s. */
  readonly throughput?: number | undefined;
}

/** As records keep it: what the block store holds the volume to. */
export interface Performance {
  readonly volume_type: VolumeType;
  readonly iops: number;
  /** MiB/s. */
  readonly throughput: number;
}

/** What the block store can address; EC2's gp3 and io2 go to 64 TiB. */
const largest_gib = 16_384;

const sizes_gib: Readonly<Record<VolumeType, readonly [number, number]>> = {
  gp2: [1, largest_gib],
  gp3: [1, largest_gib],
  io1: [4, largest_gib],
  io2: [4, largest_gib],
  sc1: [125, largest_gib],
  st1: [125, largest_gib],
  standard: [1, 1024],
};

interface Provisioned {
  readonly iops: readonly [number, number];
  readonly iopsPerGib: number;
}

/** Types whose IOPS are asked for. */
const provisioned: Partial<Readonly<Record<VolumeType, Provisioned>>> = {
  gp3: { iops: [3000, 80_000], iopsPerGib: 500 },
  io1: { iops: [100, 64_000], iopsPerGib: 50 },
  io2: { iops: [100, 256_000], iopsPerGib: 1000 },
};

const gp3 = { iops: 3000, throughput: [125, 2000], throughputPerIops: 0.25 } as const;

/** gp2 earns 3 IOPS with each GiB. */
const gp2Baseline = (size_gib: number) => Math.min(16_000, Math.max(100, size_gib * 3));

const perTib = (size_gib: number, mib: number, most: number) =>
  Math.min(most, Math.ceil(size_gib * mib / 1024));

function checkSize(type: VolumeType, size_gib: number): void {
  const [least, most] = sizes_gib[type];
  const invalid =
    `The volume size is invalid for ${type} volumes: ${size_gib} GiB. ${type} volumes`;
  if (!Number.isInteger(size_gib) || size_gib < least) {
    throw invalidValue(
      `${invalid} must be at least ${least} GiB in size. Please specify a volume size above the minimum limit.`,
    );
  }
  if (size_gib > most) {
    throw invalidValue(
      `${invalid} must be at most ${most} GiB in size. Please specify a volume size below the maximum limit.`,
    );
  }
}

function checkIops(type: VolumeType, size_gib: number, iops: number | undefined): number {
  const range = provisioned[type];
  if (range === undefined) {
    if (iops === undefined) return 0;
    throw invalidCombination(`The parameter iops is not supported for ${type} volumes.`);
  }
  if (iops === undefined && type !== "gp3") {
    throw invalidCombination(`The parameter iops must be specified for ${type} volumes.`);
  }
  const wanted = iops ?? gp3.iops;
  const [least, most] = range.iops;
  if (wanted < least) {
    throw invalidValue(`Volume iops of ${wanted} is too low; minimum is ${least}.`);
  }
  if (wanted > most) {
    throw invalidValue(`Volume iops of ${wanted} is too high; maximum is ${most}.`);
  }
  // The smallest gp3 volumes have their baseline, whatever it is to their size.
  const isBaseline = type === "gp3" && wanted === gp3.iops;
  if (!isBaseline && wanted > size_gib * range.iopsPerGib) {
    throw invalidValue(
      `Iops to volume size ratio of ${
        (wanted / size_gib).toFixed(6)
      } is too high; maximum is ${range.iopsPerGib}`,
    );
  }
  return wanted;
}

function checkThroughput(type: VolumeType, iops: number, throughput: number | undefined): number {
  const [least, most] = gp3.throughput;
  if (type !== "gp3") {
    if (throughput === undefined) return 0;
    throw invalidCombination(`The parameter throughput is not supported for ${type} volumes.`);
  }
  const wanted = throughput ?? least;
  if (wanted < least) {
    throw invalidValue(`Volume throughput of ${wanted} is too low; minimum is ${least}.`);
  }
  if (wanted > most) {
    throw invalidValue(`Volume throughput of ${wanted} is too high; maximum is ${most}.`);
  }
  if (wanted > iops * gp3.throughputPerIops) {
    throw invalidCombination(
      `Throughput (MiBps) to iops ratio of ${(wanted / iops).toFixed(6)} is too high; maximum is ${
        gp3.throughputPerIops.toFixed(6)
      } MiBps per iops.`,
    );
  }
  return wanted;
}

/** @throws AwsError `InvalidParameterValue`, `InvalidParameterCombination` */
export function performanceOf(request: PerformanceRequest): Performance {
  const { volume_type = usualType, size_gib } = request;
  checkSize(volume_type, size_gib);
  const iops = checkIops(volume_type, size_gib, request.iops);
  const throughput = checkThroughput(volume_type, iops, request.throughput);
  switch (volume_type) {
    case "gp3":
      return { volume_type, iops, throughput };
    case "io1":
      return {
        volume_type,
        iops,
        throughput: Math.min(1000, Math.max(Math.min(500, Math.ceil(iops / 4)), iops / 64 | 0)),
      };
    case "io2":
      return { volume_type, iops, throughput: Math.min(4000, Math.ceil(iops / 4)) };
    case "gp2":
      return {
        volume_type,
        iops: Math.max(3000, gp2Baseline(size_gib)),
        throughput: size_gib > 170 ? 250 : 128,
      };
    case "st1":
      return { volume_type, iops: 500, throughput: perTib(size_gib, 250, 500) };
    case "sc1":
      return { volume_type, iops: 250, throughput: perTib(size_gib, 80, 250) };
    case "standard":
      return { volume_type, iops: 200, throughput: 90 };
  }
}

/** What EC2 shows of a volume's speed: what was asked for, or a type's baseline. */
export function shownPerformance(
  { volume_type, size_gib, iops, throughput }: Performance & { readonly size_gib: number },
): { readonly Iops?: number; readonly Throughput?: number } {
  if (volume_type === "gp2") return { Iops: gp2Baseline(size_gib) };
  if (volume_type === "gp3") return { Iops: iops, Throughput: throughput };
  return provisioned[volume_type] === undefined ? {} : { Iops: iops };
}

/** A type by its name; gp2 where there is none. @throws AwsError `UnknownVolumeType` */
export function typeNamed(name: string | undefined): VolumeType {
  if (name === undefined || name === "") return usualType;
  if (Object.hasOwn(sizes_gib, name)) return name as VolumeType;
  throw new AwsError("UnknownVolumeType", `Unsupported volume type '${name}' for volume creation.`);
}

/**
 * EC2 boots from none of the hard disk types, and documents no code for who tries.
 * @throws AwsError with the code that the request's other mistakes have
 */
export function refuseHardDiskRoot(
  type: VolumeType | undefined,
  code: "InvalidParameterValue" | "InvalidBlockDeviceMapping",
): void {
  if (type !== "st1" && type !== "sc1") return;
  throw new AwsError(code, `The volume type '${type}' is not supported for root volumes.`);
}

/** @throws AwsError when a volume is asked for that several instances may have at once */
export function refuseMultiAttach(enabled: boolean | undefined, type: VolumeType): void {
  if (enabled !== true) return;
  if (type !== "io1" && type !== "io2") {
    throw invalidCombination(
      `The parameter multiAttachEnabled is not supported for ${type} volumes.`,
    );
  }
  throw unsupported("Multi-Attach is not offered: a volume has one instance at a time.");
}

/** What a change leaves unsaid: the same type keeps what it has, another one has its own usual speed. */
export function changedPerformance(
  now: Performance & { readonly size_gib: number },
  to: PerformanceRequest,
): Performance {
  const type = to.volume_type ?? now.volume_type;
  const isSame = type === now.volume_type;
  const known = shownPerformance(now);
  const iops = provisioned[type] === undefined ? undefined : isSame ? known.Iops : gp3.iops;
  return performanceOf({
    volume_type: type,
    size_gib: to.size_gib,
    iops: to.iops ?? iops,
    throughput: to.throughput ?? (isSame ? known.Throughput : undefined),
  });
}
