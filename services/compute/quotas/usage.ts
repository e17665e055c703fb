/**
 * What accounts use, by the values of a tag: for the operator's report. It tells what the records can tell
 * truly: what is there now, and for how long that has been so. What was deleted or ended is not in it.
 */
import type { Bus } from "../../bus/bus.ts";
import type { Resources } from "../../resources/resource.ts";
import type { Tags } from "../../resources/tags.ts";
import { listSnapshots } from "../../viperblock/contract.ts";
import { type InstanceRecord, noUsage, usage, type UsageRow } from "../contract.ts";
import { sizeOf } from "../instances/instance_types.ts";
import type { ComputeState } from "../state.ts";

type Sums = { -readonly [Name in keyof UsageRow]: UsageRow[Name] };

const hour_ms = 3_600_000;
const hoursSince = (time: string, now_ms: number) =>
  Math.max(0, now_ms - Date.parse(time)) / hour_ms;

export interface UsageSources {
  readonly state: Pick<ComputeState, "volumes" | "snapshots">;
  readonly instances: Resources<InstanceRecord>;
  /** By snapshot. */
  readonly stored_bytes: ReadonlyMap<string, number>;
  readonly now_ms: number;
}

/** In the order of accounts and values; what does not carry the tag comes last of its account. */
export function usageBy(tag: string, sources: UsageSources): readonly UsageRow[] {
  const { state, instances, stored_bytes, now_ms } = sources;
  const rows = new Map<string, Sums>();
  const of = (account_id: string, tags: Tags): Sums => {
    const value = Object.hasOwn(tags, tag) ? tags[tag] : undefined;
    const key = JSON.stringify([account_id, value ?? null]);
    const known = rows.get(key);
    if (known !== undefined) return known;
    const made: Sums = {
      account_id,
      ...(value === undefined ? {} : { value }),
      ...noUsage,
    };
    rows.set(key, made);
    return made;
  };
  for (const volume of state.volumes.all()) {
    if (volume.state === "deleting" || volume.state === "error") continue;
    const row = of(volume.account_id, volume.tags);
    const since = volume.modification?.end_time ?? volume.create_time;
    row.volumes++;
    row.volume_gib += volume.size_gib;
    row.volume_gib_hours += volume.size_gib * hoursSince(since, now_ms);
  }
  for (const instance of instances.all()) {
    if (instance.state !== "running" && instance.state !== "stopping") continue;
    const row = of(instance.account_id, instance.tags);
    const hours = hoursSince(instance.launch_time, now_ms);
    row.instances++;
    row.instance_hours += hours;
    row.vcpu_hours += hours * (sizeOf(instance.instance_type)?.vcpus ?? 0);
  }
  for (const snapshot of state.snapshots.all()) {
    if (snapshot.state !== "completed") continue;
    const row = of(snapshot.account_id, snapshot.tags);
    row.snapshots++;
    row.snapshot_bytes += stored_bytes.get(snapshot.snapshot_id) ?? 0;
  }
  const order = (
    row: UsageRow,
  ) => [row.account_id, row.value === undefined ? 1 : 0, row.value ?? ""];
  return [...rows.values()].sort((one, other) =>
    JSON.stringify(order(one)) < JSON.stringify(order(other)) ? -1 : 1
  );
}

export function answerUsage(
  bus: Bus,
  state: ComputeState,
  instances: Resources<InstanceRecord>,
): void {
  bus.answer(usage, async ({ tag }) => {
    const stored = await bus.ask(listSnapshots, null);
    return usageBy(tag, {
      state,
      instances,
      stored_bytes: new Map(
        stored.map(({ snapshot_id, stored_bytes }) => [snapshot_id, stored_bytes]),
      ),
      now_ms: Date.now(),
    });
  });
}
