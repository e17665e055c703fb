/** Compute's resources that are records alone: every kind, every family of actions, one bucket. */
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log/log.ts";
import type { AnyKind } from "../../resources/kind.ts";
import { Records } from "../../resources/records.ts";
import { accountSettingActions, computeSettings } from "./account_settings.ts";
import { capacityActions, capacityReservation, dedicatedHost } from "./capacity_reservations.ts";
import { buckets } from "../contract.ts";
import { eventWindow, eventWindowActions } from "./event_windows.ts";
import { instanceAttributeActions } from "../instances/instance_attributes.ts";
import { instanceCreditActions } from "../instances/instance_credits.ts";
import { instanceOptionActions } from "../instances/instance_options.ts";
import { launchTemplate, launchTemplateActions } from "./launch_templates.ts";
import { offerActions } from "./offers.ts";
import { placementGroup, placementGroupActions } from "./placement_groups.ts";
import type { RecordFamilies } from "./record_family.ts";
import { fastRestore } from "../snapshots/fast_restore_type.ts";
import { quotaRequest } from "../quotas/service_quotas.ts";
import {
  exportImageTask,
  importImageTask,
  importSnapshotTask,
} from "../transfers/transfer_tasks.ts";

const kinds: readonly AnyKind[] = [
  capacityReservation,
  computeSettings,
  dedicatedHost,
  eventWindow,
  exportImageTask,
  fastRestore,
  importImageTask,
  importSnapshotTask,
  launchTemplate,
  placementGroup,
  quotaRequest,
];

/** Opens the bucket of records. */
export const openRecords = (bus: Bus, log: Log) => Records.open(kinds, buckets.records, bus, log);

export const recordActions = (families: RecordFamilies) => ({
  ...accountSettingActions(families),
  ...capacityActions(families),
  ...eventWindowActions(families),
  ...instanceAttributeActions(families),
  ...instanceCreditActions(families),
  ...instanceOptionActions(families),
  ...launchTemplateActions(families),
  ...offerActions(families),
  ...placementGroupActions(families),
});

/** Actions on records, which have a test of random requests of their own. */
export type RecordAction = keyof ReturnType<typeof recordActions>;
