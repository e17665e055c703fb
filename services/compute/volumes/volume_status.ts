/**
 * DescribeVolumeStatus: whether the block store has the volume and answers for it. What it says is
 * asked when the question comes; nothing is remembered.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import type { Call } from "../../resources/actions.ts";
import type { Attributes } from "../../resources/filters.ts";
import type { Resources } from "../../resources/resource.ts";
import type { Input, Output } from "../../resources/wire.ts";
import { describeVolume } from "../../viperblock/contract.ts";
import type { VolumeRecord } from "../contract.ts";
import { zoneId } from "../../resources/zone_names.ts";

type Status = "ok" | "impaired" | "insufficient-data";

type Shown = NonNullable<Output<"DescribeVolumeStatus">["VolumeStatuses"]>[number];

const enabled: Readonly<Record<Status, string>> = {
  "ok": "passed",
  "impaired": "failed",
  "insufficient-data": "insufficient-data",
};

/**
 * How a volume that was made of something came by its content. Blocks that are read before all of it is here are fetched,
 * as quickly as the volume may be read: for whoever waits for that, it is there once the volume is.
 */
function initializationOf(
  { state, snapshot_id, source_volume_id, initialization_rate }: VolumeRecord,
): NonNullable<Shown["InitializationStatusDetails"]> | undefined {
  if (state === "error" || (snapshot_id ?? source_volume_id) === undefined) return undefined;
  const isDone = state !== "creating";
  if (source_volume_id === undefined && initialization_rate !== undefined) {
    return {
      InitializationType: "provisioned-rate",
      Progress: isDone ? 100 : 0,
      ...(isDone ? { EstimatedTimeToCompleteInSeconds: 0 } : {}),
    };
  }
  return {
    InitializationType: source_volume_id === undefined ? "default" : "volume-copy",
    Progress: isDone ? 100 : 0,
  };
}

function detailsOf(volume: VolumeRecord, status: Status) {
  const initialization = initializationOf(volume);
  return [
    { Name: "io-enabled" as const, Status: enabled[status] },
    { Name: "io-performance" as const, Status: "not-applicable" },
    ...(initialization === undefined ? [] : [{
      Name: "initialization-state" as const,
      Status: initialization.Progress === 100 ? "completed" : "initializing",
    }]),
  ];
}

/** How many questions are asked of the block store at once. */
const concurrency = 16;

async function statusOf(bus: Bus, volume: VolumeRecord): Promise<Status> {
  if (volume.state === "creating" || volume.state === "deleting") return "insufficient-data";
  try {
    const { damage } = await bus.ask(describeVolume, { volume_id: volume.volume_id });
    return damage === undefined ? "ok" : "impaired";
  } catch (error) {
    if (error instanceof AwsError && error.status < 500) return "impaired";
    return "insufficient-data";
  }
}

async function statuses(
  bus: Bus,
  volumes: Iterable<VolumeRecord>,
): Promise<ReadonlyMap<string, Status>> {
  const found = new Map<string, Status>();
  const waiting = volumes[Symbol.iterator]();
  await Promise.all(Array.from({ length: concurrency }, async () => {
    for (let next = waiting.next(); !next.done; next = waiting.next()) {
      found.set(next.value.volume_id, await statusOf(bus, next.value));
    }
  }));
  return found;
}

export async function describeVolumeStatus(
  bus: Bus,
  volumes: Resources<VolumeRecord>,
  input: Input<"DescribeVolumeStatus">,
  call: Call,
): Promise<Output<"DescribeVolumeStatus">> {
  const byStatus = input.Filters?.some((filter) => filter.Name?.startsWith("volume-status."));
  let known: ReadonlyMap<string, Status> = byStatus === true
    ? await statuses(bus, volumes.all(call.account_id))
    : new Map();
  const of = (volume: VolumeRecord) => known.get(volume.volume_id) ?? "insufficient-data";
  const none = () => undefined;
  const attributes: Attributes<VolumeRecord> = {
    "action.code": none,
    "action.description": none,
    "action.event-id": none,
    "attachment-status.instance-id": (volume) => volume.attachment?.instance_id,
    "attachment-status.io-performance": (volume) =>
      volume.attachment === undefined ? undefined : "not-applicable",
    "availability-zone": (volume) => volume.az,
    "availability-zone-id": (volume) => zoneId(volume.az),
    "event.description": none,
    "event.event-id": none,
    "event.event-type": none,
    "event.not-after": none,
    "event.not-before": none,
    "operator.managed": () => false,
    "operator.principal": none,
    "volume-status.details-name": (volume) => detailsOf(volume, of(volume)).map(({ Name }) => Name),
    "volume-status.details-status": (volume) =>
      detailsOf(volume, of(volume)).map(({ Status }) => Status),
    "volume-status.status": of,
  };
  const page = await volumes.describe({
    action: "DescribeVolumeStatus",
    ids: input.VolumeIds,
    filters: input.Filters,
    page: input,
    attributes,
  }, call);
  if (byStatus !== true) known = await statuses(bus, page.records);
  return {
    VolumeStatuses: page.records.map((volume) => ({
      VolumeId: volume.volume_id,
      AvailabilityZone: volume.az,
      AvailabilityZoneId: zoneId(volume.az),
      Actions: [],
      Events: [],
      AttachmentStatuses: volume.attachment === undefined ? [] : [{
        InstanceId: volume.attachment.instance_id,
        IoPerformance: "not-applicable",
      }],
      InitializationStatusDetails: initializationOf(volume),
      VolumeStatus: { Status: of(volume), Details: detailsOf(volume, of(volume)) },
    })),
    NextToken: page.nextToken,
  };
}
