/** Compute's resources that are records alone: every kind, every family of actions, one bucket. */
import type { Bus } from "../bus/bus.ts";
import type { NodeConfig } from "../config/node_config.ts";
import type { Log } from "../log/log.ts";
import type { AnyKind } from "../resources/kind.ts";
import { Operations } from "../resources/operations.ts";
import { Records } from "../resources/records.ts";
import type { Resources } from "../resources/resource.ts";
import { accountSettingActions, computeSettings } from "./account_settings.ts";
import { capacityActions, capacityReservation, dedicatedHost } from "./capacity_reservations.ts";
import { buckets, type InstanceRecord } from "./contract.ts";
import { eventWindow, eventWindowActions } from "./event_windows.ts";
import { instanceAttributeActions } from "./instance_attributes.ts";
import type { HostSize } from "./instance_types.ts";
import { launchTemplate, launchTemplateActions } from "./launch_templates.ts";
import { offerActions } from "./offers.ts";
import { placementGroup, placementGroupActions } from "./placement_groups.ts";
import type { ComputeState } from "./state.ts";

export interface RecordFamilies {
  readonly bus: Bus;
  readonly config: NodeConfig;
  readonly operations: Operations;
  readonly records: Records;
  readonly state: ComputeState;
  readonly instances: Resources<InstanceRecord>;
  readonly host: HostSize;
}

const kinds: readonly AnyKind[] = [
  capacityReservation,
  computeSettings,
  dedicatedHost,
  eventWindow,
  launchTemplate,
  placementGroup,
];

/** Opens the bucket of records. */
export const openRecords = (bus: Bus, log: Log) => Records.open(kinds, buckets.records, bus, log);

export function recordFamilies(
  options: Omit<RecordFamilies, "operations">,
): RecordFamilies {
  const operations = new Operations({
    records: options.records,
    tokens: options.state.tokens,
    parameters: {},
  });
  return { ...options, operations };
}

export const recordActions = (families: RecordFamilies) => ({
  ...accountSettingActions(families),
  ...capacityActions(families),
  ...eventWindowActions(families),
  ...instanceAttributeActions(families),
  ...launchTemplateActions(families),
  ...offerActions(families),
  ...placementGroupActions(families),
});

/** Actions on records, which have a test of random requests of their own. */
export type RecordAction = keyof ReturnType<typeof recordActions>;
