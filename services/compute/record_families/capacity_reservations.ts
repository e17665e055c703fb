/**
 * Capacity reservations and dedicated hosts. Both are promises of this cloud's records: what instances
 * that match a reservation use of it is counted from the instances themselves.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import { kind, type KindRecord } from "../../resources/kind.ts";
import { tagsFromSpecifications } from "../../resources/tags.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { zoneId } from "../../resources/zone_names.ts";
import type { InstanceRecord } from "../contract.ts";
import { offeredSizes, sizeOf } from "../instances/instance_types.ts";
import type { RecordFamilies } from "./record_family.ts";

type ReservationShape = Shape<Ec2.CapacityReservation>;
export const capacityReservation = kind<ReservationShape>({
  name: "capacity-reservation",
  idPrefix: "cr-",
  id: "CapacityReservationId",
  notFound: "InvalidCapacityReservationId.NotFound",
  filters: [
    "availability-zone",
    "availability-zone-id",
    "end-date",
    "end-date-type",
    "instance-match-criteria",
    "instance-type",
    "placement-group-arn",
    "start-date",
    "state",
    "tenancy",
  ],
  quota: { most: 1000, code: "CapacityReservationLimitExceeded" },
});

type HostShape = Shape<Ec2.Host>;
export const dedicatedHost = kind<HostShape>({
  name: "dedicated-host",
  idPrefix: "h-",
  id: "HostId",
  notFound: "InvalidHostID.NotFound",
  filters: [
    "auto-placement",
    "availability-zone",
    "client-token",
    "host-reservation-id",
    "instance-type=HostProperties.InstanceType",
    "state",
  ],
  page: { minimum: 5, maximum: 500, above: "refuse" },
});

const platforms = ["Linux/UNIX", "Red Hat Enterprise Linux", "SUSE Linux", "Windows"];

export function capacityActions(
  { operations: n, records, instances, config, host }: RecordFamilies,
) {
  const live = (instance: InstanceRecord) =>
    instance.state === "running" || instance.state === "pending" || instance.state === "stopping";
  /** Instances that stand in the reservation: targeted, or of its type where it is open. */
  const usersOf = (record: KindRecord<ReservationShape>) => {
    const users = [...instances.all(record.account_id)].filter((one) => {
      if (!live(one) || one.instance_type !== record.shape.InstanceType) return false;
      const target = one.settings?.capacity_reservation;
      if (target !== undefined) return target === record.id;
      return record.shape.InstanceMatchCriteria === "open" &&
        one.settings?.capacity_preference !== "none";
    });
    return users.slice(0, record.shape.TotalInstanceCount ?? 0);
  };
  const show = (record: KindRecord<ReservationShape>) => ({
    ...records.show(capacityReservation, record),
    AvailableInstanceCount: record.shape.State === "active"
      ? (record.shape.TotalInstanceCount ?? 0) - usersOf(record).length
      : 0,
  });
  const checkEnd = (end: string | undefined, type: string | undefined) => {
    if ((type === "limited") !== (end !== undefined)) {
      throw invalidParameter(
        "endDateType",
        type,
        "A limited reservation, and no other, has an end date.",
      );
    }
    if (end !== undefined && Date.parse(end) <= Date.now()) {
      throw invalidParameter("endDate", end, "It must lie in the future.");
    }
  };
  const checkZone = (zone: string | undefined) => {
    if (zone !== undefined && zone !== config.az) {
      throw invalidParameter("availabilityZone", zone, `There is the zone ${config.az} only.`);
    }
  };
  const typed = (name: string | undefined) => {
    const size = name === undefined
      ? undefined
      : offeredSizes(host).find((one) => one.name === name);
    if (size === undefined) throw invalidParameter("instanceType", name, "It is not offered here.");
    return size;
  };
  return {
    CreateCapacityReservation: n.creates(capacityReservation, {
      id: () => newId("cr-"),
      make: (input, call) => {
        typed(input.InstanceType);
        checkZone(input.AvailabilityZone);
        if (input.AvailabilityZone === undefined && input.AvailabilityZoneId === undefined) {
          throw missingParameter("availabilityZone");
        }
        if (!platforms.includes(input.InstancePlatform)) {
          throw invalidParameter(
            "instancePlatform",
            input.InstancePlatform,
            `Expected: ${platforms.join(", ")}.`,
          );
        }
        if (
          !Number.isInteger(input.InstanceCount) || input.InstanceCount < 1 ||
          input.InstanceCount > 1000
        ) {
          throw invalidParameter("instanceCount", input.InstanceCount, "Expected 1 to 1000.");
        }
        checkEnd(input.EndDate, input.EndDateType);
        return {
          AvailabilityZone: config.az,
          AvailabilityZoneId: zoneId(config.az),
          CreateDate: new Date().toISOString(),
          EbsOptimized: input.EbsOptimized ?? false,
          EphemeralStorage: false,
          EndDateType: input.EndDateType ?? "unlimited",
          InstanceMatchCriteria: input.InstanceMatchCriteria ?? "open",
          ReservationType: "default",
          StartDate: new Date().toISOString(),
          State: "active",
          Tenancy: input.Tenancy ?? "default",
          TotalInstanceCount: input.InstanceCount,
          CapacityReservationArn:
            `arn:aws:ec2:${call.region}:${call.account_id}:capacity-reservation/`,
        };
      },
      after: async (record, _input, call) => {
        if (record.shape.CapacityReservationArn?.endsWith("/") !== true) return;
        await records.change(capacityReservation, call.account_id, record.id, ({ shape }) => ({
          CapacityReservationArn: `${shape.CapacityReservationArn}${record.id}`,
        }));
      },
      answer: (record) => ({ CapacityReservation: show(record) }),
    }),
    DescribeCapacityReservations: n.describes(capacityReservation, {
      list: "CapacityReservations",
      ids: "CapacityReservationIds",
      show,
    }),
    ModifyCapacityReservation: n.changes(capacityReservation, {
      id: "CapacityReservationId",
      change: (record, input) => {
        if (record.shape.State !== "active") {
          throw new AwsError(
            "InvalidState",
            `The reservation '${record.id}' is ${record.shape.State}.`,
          );
        }
        const type = input.EndDateType ?? record.shape.EndDateType;
        const end = type === "unlimited" ? undefined : input.EndDate ?? record.shape.EndDate;
        checkEnd(end, type);
        const count = input.InstanceCount ?? record.shape.TotalInstanceCount ?? 1;
        if (count < Math.max(1, usersOf(record).length)) {
          throw invalidParameter("instanceCount", count, "Instances use more of the reservation.");
        }
        return {
          EndDate: end,
          EndDateType: type,
          InstanceMatchCriteria: input.InstanceMatchCriteria ?? record.shape.InstanceMatchCriteria,
          TotalInstanceCount: count,
        };
      },
    }),
    CancelCapacityReservation: n.changes(capacityReservation, {
      id: "CapacityReservationId",
      change: (record) => {
        if (record.shape.State !== "active") {
          throw new AwsError(
            "InvalidState",
            `The reservation '${record.id}' is ${record.shape.State}.`,
          );
        }
        return { State: "cancelled", EndDate: new Date().toISOString() };
      },
    }),
    GetCapacityReservationUsage: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await records.require(
          capacityReservation,
          call.account_id,
          input.CapacityReservationId,
        );
        const used = usersOf(record).length;
        return {
          AvailableInstanceCount: show(record).AvailableInstanceCount,
          CapacityReservationId: record.id,
          InstanceType: record.shape.InstanceType,
          InstanceUsages: used === 0
            ? []
            : [{ AccountId: record.account_id, UsedInstanceCount: used }],
          State: record.shape.State,
          TotalInstanceCount: record.shape.TotalInstanceCount,
        };
      },
    }),

    AllocateHosts: n.custom({
      check: (input) => {
        checkZone(input.AvailabilityZone);
        if ((input.InstanceType === undefined) === (input.InstanceFamily === undefined)) {
          throw new AwsError(
            "InvalidParameterCombination",
            "Give either instanceType or instanceFamily.",
          );
        }
        if (input.InstanceType !== undefined) typed(input.InstanceType);
        const quantity = input.Quantity ?? 1;
        if (!Number.isInteger(quantity) || quantity < 1 || quantity > 100) {
          throw invalidParameter("quantity", quantity, "Expected 1 to 100.");
        }
        tagsFromSpecifications(input.TagSpecifications, ["dedicated-host"]);
      },
      run: async (input, call) => {
        const size = input.InstanceType === undefined ? undefined : sizeOf(input.InstanceType);
        const tags =
          tagsFromSpecifications(input.TagSpecifications, ["dedicated-host"])["dedicated-host"];
        const made: string[] = [];
        for (let at = 0; at < (input.Quantity ?? 1); at++) {
          const { id } = await records.create(dedicatedHost, call.account_id, {
            AllocationTime: new Date().toISOString(),
            AllowsMultipleInstanceTypes: input.InstanceFamily === undefined ? "off" : "on",
            AutoPlacement: input.AutoPlacement ?? "on",
            AvailabilityZone: config.az,
            AvailabilityZoneId: zoneId(config.az),
            AvailableCapacity: {
              AvailableVCpus: host.vcpus,
              AvailableInstanceCapacity: size === undefined ? [] : [{
                AvailableCapacity: Math.floor(host.vcpus / size.vcpus),
                InstanceType: size.name,
                TotalCapacity: Math.floor(host.vcpus / size.vcpus),
              }],
            },
            HostMaintenance: input.HostMaintenance ?? "off",
            HostProperties: {
              Cores: host.vcpus,
              ...(input.InstanceType === undefined ? {} : { InstanceType: input.InstanceType }),
              ...(input.InstanceFamily === undefined
                ? {}
                : { InstanceFamily: input.InstanceFamily }),
              Sockets: 1,
              TotalVCpus: host.vcpus,
            },
            HostRecovery: input.HostRecovery ?? "off",
            Instances: [],
            State: "available",
          }, { tags: tags ?? {} });
          made.push(id);
        }
        return { HostIds: made };
      },
    }),
    DescribeHosts: n.describes(dedicatedHost, { list: "Hosts", ids: "HostIds" }),
    ModifyHosts: n.custom({
      check: (input) => {
        if (input.HostIds.length === 0) throw missingParameter("hostId");
        if (input.InstanceType !== undefined) typed(input.InstanceType);
      },
      run: async (input, call) =>
        await each(input.HostIds, async (id) => {
          await records.change(dedicatedHost, call.account_id, id, ({ shape }) => ({
            ...(input.AutoPlacement === undefined ? {} : { AutoPlacement: input.AutoPlacement }),
            ...(input.HostRecovery === undefined ? {} : { HostRecovery: input.HostRecovery }),
            ...(input.HostMaintenance === undefined
              ? {}
              : { HostMaintenance: input.HostMaintenance }),
            HostProperties: {
              ...shape.HostProperties,
              ...(input.InstanceType === undefined ? {} : { InstanceType: input.InstanceType }),
              ...(input.InstanceFamily === undefined
                ? {}
                : { InstanceFamily: input.InstanceFamily }),
            },
          }));
        }),
    }),
    ReleaseHosts: n.custom({
      check: (input) => {
        if (input.HostIds.length === 0) throw missingParameter("hostId");
      },
      run: async (input, call) =>
        await each(input.HostIds, async (id) => {
          await records.require(dedicatedHost, call.account_id, id);
          for (const one of instances.all(call.account_id)) {
            if (one.settings?.host_id === id && one.state !== "terminated") {
              throw new AwsError("Client.InvalidHost.Occupied", `The host '${id}' has instances.`);
            }
          }
          await records.remove(dedicatedHost, call.account_id, id, {
            State: "released",
            ReleaseTime: new Date().toISOString(),
          });
        }),
    }),
  } satisfies ActionTable;

  async function each(ids: readonly string[], work: (id: string) => Promise<void>) {
    const Successful: string[] = [];
    const Unsuccessful: { Error: { Code: string; Message: string }; ResourceId: string }[] = [];
    for (const ResourceId of ids) {
      try {
        await work(ResourceId);
        Successful.push(ResourceId);
      } catch (error) {
        if (!(error instanceof AwsError) || error.status >= 500) throw error;
        Unsuccessful.push({ Error: { Code: error.code, Message: error.message }, ResourceId });
      }
    }
    return { Successful, Unsuccessful };
  }
}
