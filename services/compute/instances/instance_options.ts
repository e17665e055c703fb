/**
 * Options of instances that are set by actions of their own: placement, processors, metadata, maintenance,
 * monitoring. What needs the instance to stand still is refused while it runs.
 */
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { capacityReservation, dedicatedHost } from "../record_families/capacity_reservations.ts";
import { instanceChanges, mustBeStopped, notTerminated } from "./instance_changes.ts";
import { showMetadataOptions } from "./instance_resource.ts";
import { sizeOf } from "./instance_types.ts";
import { groupNamed } from "../record_families/placement_groups.ts";
import type { RecordFamilies } from "../record_families/record_family.ts";

export function instanceOptionActions(families: RecordFamilies) {
  const { operations: n, instances, records } = families;
  const { required, requireAll, set } = instanceChanges(families);
  const monitor = (on: boolean) => ({
    check: (input: { readonly InstanceIds: readonly string[] }, call: Call) =>
      requireAll(input.InstanceIds, call),
    run: async (input: { readonly InstanceIds: readonly string[] }, call: Call) => {
      for (const id of input.InstanceIds) await set(call, id, { monitoring: on });
      return {
        InstanceMonitorings: input.InstanceIds.map((InstanceId) => ({
          InstanceId,
          Monitoring: { State: on ? "pending" : "disabling" },
        })),
      };
    },
  });
  return {
    ModifyInstanceCapacityReservationAttributes: n.custom({
      check: async (input, call) => {
        mustBeStopped(await required(input.InstanceId, call), "capacity reservation");
        const { CapacityReservationPreference: preference, CapacityReservationTarget: target } =
          input.CapacityReservationSpecification;
        if (
          preference !== undefined &&
          !["open", "none", "capacity-reservations-only"].includes(preference)
        ) {
          throw invalidParameter(
            "capacityReservationPreference",
            preference,
            "Expected: open, none or capacity-reservations-only.",
          );
        }
        if (target?.CapacityReservationId !== undefined) {
          await records.require(capacityReservation, call.account_id, target.CapacityReservationId);
        }
      },
      run: async (input, call) => {
        const wanted = input.CapacityReservationSpecification;
        await set(call, input.InstanceId, {
          capacity_preference: wanted.CapacityReservationPreference ?? "open",
          capacity_reservation: wanted.CapacityReservationTarget?.CapacityReservationId,
        });
        return { Return: true };
      },
    }),
    ModifyInstanceCpuOptions: n.custom({
      check: async (input, call) => {
        const instance = await required(input.InstanceId, call);
        mustBeStopped(instance, "CPU options");
        const vcpus = sizeOf(instance.instance_type)?.vcpus ?? 1;
        const [cores, threads] = [input.CoreCount ?? vcpus, input.ThreadsPerCore ?? 1];
        if (
          !Number.isInteger(cores) || cores < 1 || threads < 1 || threads > 2 ||
          cores * threads > vcpus
        ) {
          throw invalidParameter(
            "coreCount",
            cores,
            `${instance.instance_type} has ${vcpus} vCPUs.`,
          );
        }
      },
      run: async (input, call) => {
        const instance = await required(input.InstanceId, call);
        const CoreCount = input.CoreCount ?? sizeOf(instance.instance_type)?.vcpus ?? 1;
        const ThreadsPerCore = input.ThreadsPerCore ?? 1;
        await set(call, instance.instance_id, {
          cores: CoreCount,
          threads_per_core: ThreadsPerCore,
        });
        return { InstanceId: instance.instance_id, CoreCount, ThreadsPerCore };
      },
    }),
    ModifyInstancePlacement: n.custom({
      check: async (input, call) => {
        mustBeStopped(await required(input.InstanceId, call), "placement");
        if (input.GroupName !== undefined && input.GroupName !== "") {
          await groupNamed(records, call.account_id, input.GroupName);
        }
        if (input.HostId !== undefined) {
          await records.require(dedicatedHost, call.account_id, input.HostId);
        }
        if (
          input.Tenancy !== undefined && !["default", "dedicated", "host"].includes(input.Tenancy)
        ) {
          throw invalidParameter("tenancy", input.Tenancy, "Expected: default, dedicated or host.");
        }
        if (input.Affinity !== undefined && !["default", "host"].includes(input.Affinity)) {
          throw invalidParameter("affinity", input.Affinity, "Expected: default or host.");
        }
      },
      run: async (input, call) => {
        await set(call, input.InstanceId, {
          ...(input.GroupName === undefined
            ? {}
            : { placement_group: input.GroupName === "" ? undefined : input.GroupName }),
          ...(input.HostId === undefined ? {} : { host_id: input.HostId }),
          ...(input.Tenancy === undefined ? {} : { tenancy: input.Tenancy }),
          ...(input.Affinity === undefined ? {} : { affinity: input.Affinity }),
          ...(input.PartitionNumber === undefined ? {} : { partition: input.PartitionNumber }),
        });
        return { Return: true };
      },
    }),
    ModifyInstanceMaintenanceOptions: n.custom({
      check: async (input, call) => {
        await required(input.InstanceId, call);
        for (const name of ["AutoRecovery", "RebootMigration"] as const) {
          if (input[name] !== undefined && !["default", "disabled"].includes(input[name])) {
            throw invalidParameter(name, input[name], "Expected: default or disabled.");
          }
        }
      },
      run: async (input, call) => {
        const { settings } = await set(call, input.InstanceId, {
          ...(input.AutoRecovery === undefined ? {} : { auto_recovery: input.AutoRecovery }),
          ...(input.RebootMigration === undefined
            ? {}
            : { reboot_migration: input.RebootMigration }),
        });
        return {
          InstanceId: input.InstanceId,
          AutoRecovery: settings?.auto_recovery ?? "default",
          RebootMigration: settings?.reboot_migration ?? "default",
        };
      },
    }),
    ModifyInstanceMetadataOptions: n.custom({
      check: async (input, call) => {
        notTerminated(await required(input.InstanceId, call));
        const allowed = {
          HttpTokens: ["optional", "required"],
          HttpEndpoint: ["enabled", "disabled"],
          HttpProtocolIpv6: ["disabled"],
          InstanceMetadataTags: ["enabled", "disabled"],
        } as const;
        for (const [name, values] of Object.entries(allowed)) {
          const value = input[name as keyof typeof allowed];
          if (value !== undefined && !(values as readonly string[]).includes(value)) {
            throw invalidParameter(name, value, `Expected: ${values.join(", ")}.`);
          }
        }
        const hops = input.HttpPutResponseHopLimit;
        if (hops !== undefined && (!Number.isInteger(hops) || hops < 1 || hops > 64)) {
          throw invalidParameter("HttpPutResponseHopLimit", hops, "Expected 1 to 64.");
        }
      },
      run: async (input, call) => {
        const changed = await instances.modify(call.account_id, input.InstanceId, (now) => ({
          ...now,
          metadata_options: {
            http_endpoint: input.HttpEndpoint ?? now.metadata_options.http_endpoint,
            http_tokens: input.HttpTokens ?? now.metadata_options.http_tokens,
            instance_metadata_tags: input.InstanceMetadataTags ??
              now.metadata_options.instance_metadata_tags,
          },
          settings: {
            ...now.settings,
            ...(input.HttpPutResponseHopLimit === undefined
              ? {}
              : { hop_limit: input.HttpPutResponseHopLimit }),
          },
        }));
        return {
          InstanceId: changed.instance_id,
          InstanceMetadataOptions: { ...showMetadataOptions(changed), State: "pending" },
        };
      },
    }),
    MonitorInstances: n.custom(monitor(true)),
    UnmonitorInstances: n.custom(monitor(false)),
    ReportInstanceStatus: n.custom({
      check: (input, call) => {
        requireAll(input.Instances, call);
        if (input.Status !== "ok" && input.Status !== "impaired") {
          throw invalidParameter("status", input.Status, "Expected: ok or impaired.");
        }
        if (input.ReasonCodes.length === 0) throw missingParameter("reasonCode");
      },
      run: async (input, call) => {
        for (const id of input.Instances) {
          await set(call, id, {
            reported: {
              status: input.Status,
              reasons: [...input.ReasonCodes],
              time: new Date().toISOString(),
              ...(input.Description === undefined ? {} : { description: input.Description }),
            },
          });
        }
        return {};
      },
    }),
  } satisfies ActionTable;
}
