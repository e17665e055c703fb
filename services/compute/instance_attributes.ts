/**
 * Attributes of instances that are changed one by one. What needs the instance to stand still is
 * refused while it runs; what is the network's is asked of vpcd.
 */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable, Call } from "../resources/actions.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../resources/errors.ts";
import { compileFilters } from "../resources/filters.ts";
import { checkId, notFound } from "../resources/ids.ts";
import { pageOf } from "../resources/paging.ts";
import { capacityReservation, dedicatedHost } from "./capacity_reservations.ts";
import { instanceInterfaces } from "../vpcd/contract.ts";
import { settingsOf } from "./account_settings.ts";
import type { InstanceRecord } from "./contract.ts";
import { instanceType } from "./instance_resource.ts";
import { offeredSizes, sizeOf } from "./instance_types.ts";
import { userDataLimit_bytes } from "./launch_request.ts";
import { groupNamed } from "./placement_groups.ts";
import type { RecordFamilies } from "./record_family.ts";
import { modifyInterface } from "../vpcd/contract.ts";

type Settings = NonNullable<InstanceRecord["settings"]>;

const attributes = [
  "blockDeviceMapping",
  "disableApiStop",
  "disableApiTermination",
  "ebsOptimized",
  "enaSupport",
  "enclaveOptions",
  "groupSet",
  "instanceInitiatedShutdownBehavior",
  "instanceType",
  "kernel",
  "productCodes",
  "ramdisk",
  "rootDeviceName",
  "sourceDestCheck",
  "sriovNetSupport",
  "userData",
];

export function instanceAttributeActions(families: RecordFamilies) {
  const { operations: n, instances, records, bus, host } = families;
  const required = (id: string, call: Call) => instances.require(call.account_id, id);
  const all = (ids: readonly string[], call: Call): void => {
    if (ids.length === 0) throw missingParameter("InstanceId");
    for (const id of ids) checkId(instanceType.idPrefix, id, instanceType.errors);
    const missing = ids.filter((id) => instances.get(call.account_id, id) === undefined);
    if (missing.length > 0) throw notFound(missing, instanceType.errors);
  };
  const set = (call: Call, id: string, change: Settings) =>
    instances.modify(call.account_id, id, (now) => ({
      ...now,
      settings: { ...now.settings, ...change },
    }));
  const mustBeStopped = (instance: InstanceRecord, what: string) => {
    if (instance.state !== "stopped") {
      throw new AwsError(
        "IncorrectInstanceState",
        `The instance '${instance.instance_id}' is not in the 'stopped' state, in which its ${what} can be changed.`,
      );
    }
  };
  const notTerminated = (instance: InstanceRecord) => {
    if (instance.state === "terminated" || instance.state === "shutting-down") {
      throw new AwsError(
        "IncorrectInstanceState",
        `The instance '${instance.instance_id}' is not in a state from which it can be modified.`,
      );
    }
  };
  const booleans = {
    DisableApiStop: "disable_api_stop",
    DisableApiTermination: "disable_api_termination",
    EbsOptimized: "ebs_optimized",
  } as const;
  /** The old way to name an attribute: `Attribute` and `Value`. */
  const normalised = (input: Parameters<ActionInput["run"]>[0]) => {
    if (input.Attribute === undefined) return input;
    const value = input.Value;
    const flag = { Value: value === "true" };
    const forms: Readonly<Record<string, object>> = {
      disableApiStop: { DisableApiStop: flag },
      disableApiTermination: { DisableApiTermination: flag },
      ebsOptimized: { EbsOptimized: flag },
      instanceInitiatedShutdownBehavior: {
        InstanceInitiatedShutdownBehavior: { Value: value },
      },
      instanceType: { InstanceType: { Value: value } },
      sourceDestCheck: { SourceDestCheck: flag },
      userData: { UserData: { Value: value } },
    };
    const form = forms[input.Attribute];
    if (form === undefined) {
      throw invalidParameter("attribute", input.Attribute, "It cannot be modified.");
    }
    return { ...input, Attribute: undefined, Value: undefined, ...form };
  };
  type ActionInput = NonNullable<ActionTable<"ModifyInstanceAttribute">["ModifyInstanceAttribute"]>;
  const modifiable = [
    "SourceDestCheck",
    "DisableApiStop",
    "DisableApiTermination",
    "BlockDeviceMappings",
    "InstanceType",
    "UserData",
    "InstanceInitiatedShutdownBehavior",
    "Groups",
    "EbsOptimized",
    "EnaSupport",
    "EnclaveOptions",
    "Kernel",
    "Ramdisk",
    "SriovNetSupport",
  ] as const;
  const decide = async (given: Parameters<ActionInput["run"]>[0], call: Call) => {
    const input = normalised(given);
    const instance = await required(input.InstanceId, call);
    notTerminated(instance);
    const named = modifiable.filter((name) => input[name] !== undefined);
    if (named.length === 0) throw missingParameter("attribute");
    if (named.length > 1) {
      throw invalidCombination("Fields for multiple attribute types specified");
    }
    for (
      const name of [
        "EnaSupport",
        "EnclaveOptions",
        "Kernel",
        "Ramdisk",
        "SriovNetSupport",
      ] as const
    ) {
      if (input[name] !== undefined) {
        throw new AwsError("UnsupportedOperation", `Instances here have no ${name} to change.`);
      }
    }
    const behaviour = input.InstanceInitiatedShutdownBehavior?.Value;
    if (behaviour !== undefined && behaviour !== "stop" && behaviour !== "terminate") {
      throw invalidParameter(
        "instanceInitiatedShutdownBehavior",
        behaviour,
        "Expected: stop or terminate.",
      );
    }
    if (input.InstanceType !== undefined) {
      mustBeStopped(instance, "type");
      const size = offeredSizes(host).find((one) => one.name === input.InstanceType?.Value);
      if (size === undefined || size.architecture !== instance.architecture) {
        throw invalidParameter("instanceType", input.InstanceType.Value, "It is not offered here.");
      }
    }
    if (input.UserData !== undefined) {
      mustBeStopped(instance, "user data");
      const bytes = Math.floor((input.UserData.Value ?? "").length * 3 / 4);
      if (bytes > userDataLimit_bytes) {
        throw invalidParameter(
          "userData",
          bytes,
          `User data is limited to ${userDataLimit_bytes} bytes.`,
        );
      }
    }
    for (const one of input.BlockDeviceMappings ?? []) {
      if (!instance.attachments.some((attachment) => attachment.device === one.DeviceName)) {
        throw new AwsError(
          "InvalidInstanceAttributeValue",
          `No device is currently mapped at ${one.DeviceName}`,
        );
      }
    }
    return { input, instance };
  };
  const showMetadata = (instance: InstanceRecord) => ({
    HttpEndpoint: instance.metadata_options.http_endpoint,
    HttpProtocolIpv6: "disabled",
    HttpPutResponseHopLimit: instance.settings?.hop_limit ?? 1,
    HttpTokens: instance.metadata_options.http_tokens,
    InstanceMetadataTags: instance.metadata_options.instance_metadata_tags,
    State: "pending",
  });
  const usualCredits = (instance: InstanceRecord, call: Call) => {
    const family = instance.instance_type.split(".")[0] ?? "";
    return settingsOf(records, call.account_id)[`credits_${family}`] ??
      (family === "t2" ? "standard" : "unlimited");
  };
  const isBurstable = (instance: InstanceRecord) => /^t\d/.test(instance.instance_type);
  const monitor = (on: boolean) => ({
    check: (input: { readonly InstanceIds: readonly string[] }, call: Call) =>
      all(input.InstanceIds, call),
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
    ModifyInstanceAttribute: n.custom({
      check: async (input, call) => void await decide(input, call),
      run: async (given, call) => {
        const { input, instance } = await decide(given, call);
        const id = instance.instance_id;
        for (const [member, name] of Object.entries(booleans)) {
          const value = input[member as keyof typeof booleans];
          if (value !== undefined) await set(call, id, { [name]: value.Value ?? false });
        }
        const behaviour = input.InstanceInitiatedShutdownBehavior?.Value;
        await instances.modify(call.account_id, id, (now) => {
          if (input.InstanceType !== undefined || input.UserData !== undefined) {
            mustBeStopped(now, "type and user data");
          }
          const { user_data: _old, ...rest } = now;
          return {
            ...(input.UserData === undefined ? now : rest),
            ...(input.UserData?.Value === undefined || input.UserData.Value === ""
              ? {}
              : { user_data: input.UserData.Value }),
            ...(behaviour === "stop" || behaviour === "terminate"
              ? { shutdown_behavior: behaviour }
              : {}),
            ...(input.InstanceType?.Value === undefined
              ? {}
              : { instance_type: input.InstanceType.Value }),
            ...(input.BlockDeviceMappings === undefined ? {} : {
              attachments: now.attachments.map((one) => {
                const wanted = input.BlockDeviceMappings?.find((other) =>
                  other.DeviceName === one.device
                );
                const keep = wanted?.Ebs?.DeleteOnTermination;
                return keep === undefined ? one : { ...one, delete_on_termination: keep };
              }),
            }),
          };
        });
        if (input.Groups !== undefined || input.SourceDestCheck !== undefined) {
          await bus.ask(modifyInterface, {
            account_id: call.account_id,
            instance_id: id,
            ...(input.Groups === undefined ? {} : { group_ids: [...input.Groups] }),
            ...(input.SourceDestCheck === undefined
              ? {}
              : { source_dest_check: input.SourceDestCheck.Value ?? true }),
          });
        }
        return {};
      },
    }),
    ResetInstanceAttribute: n.custom({
      check: async (input, call) => {
        await required(input.InstanceId, call);
        if (input.Attribute !== "sourceDestCheck") {
          throw invalidParameter(
            "attribute",
            input.Attribute,
            "Only sourceDestCheck has a default here.",
          );
        }
      },
      run: async (input, call) => {
        await bus.ask(modifyInterface, {
          account_id: call.account_id,
          instance_id: input.InstanceId,
          source_dest_check: true,
        });
        return {};
      },
    }),
    DescribeInstanceAttribute: n.custom({
      reads: true,
      check: (input) => {
        if (!attributes.includes(input.Attribute)) {
          throw invalidParameter(
            "attribute",
            input.Attribute,
            `Expected: ${attributes.join(", ")}.`,
          );
        }
      },
      run: async (input, call) => {
        const instance = await required(input.InstanceId, call);
        const { settings } = instance;
        const [primary] = input.Attribute === "groupSet" || input.Attribute === "sourceDestCheck"
          ? await bus.ask(instanceInterfaces, {
            account_id: call.account_id,
            instance_id: instance.instance_id,
          })
          : [];
        const shown: Readonly<Record<string, object>> = {
          blockDeviceMapping: {
            BlockDeviceMappings: instance.attachments.map((one) => ({
              DeviceName: one.device,
              Ebs: {
                AttachTime: one.attach_time,
                DeleteOnTermination: one.delete_on_termination,
                Status: one.status === "busy" ? "attached" : one.status,
                VolumeId: one.volume_id,
              },
            })),
          },
          disableApiStop: { DisableApiStop: { Value: settings?.disable_api_stop ?? false } },
          disableApiTermination: {
            DisableApiTermination: { Value: settings?.disable_api_termination ?? false },
          },
          ebsOptimized: { EbsOptimized: { Value: settings?.ebs_optimized ?? false } },
          enaSupport: { EnaSupport: { Value: false } },
          enclaveOptions: { EnclaveOptions: { Enabled: false } },
          groupSet: {
            Groups: (primary?.groups ?? []).map((one) => ({
              GroupId: one.id,
              GroupName: one.name,
            })),
          },
          instanceInitiatedShutdownBehavior: {
            InstanceInitiatedShutdownBehavior: { Value: instance.shutdown_behavior ?? "stop" },
          },
          instanceType: { InstanceType: { Value: instance.instance_type } },
          productCodes: { ProductCodes: [] },
          rootDeviceName: { RootDeviceName: { Value: instance.root_device_name } },
          sourceDestCheck: { SourceDestCheck: { Value: primary?.source_dest_check ?? true } },
          userData: {
            UserData: instance.user_data === undefined ? {} : { Value: instance.user_data },
          },
        };
        return { InstanceId: instance.instance_id, ...shown[input.Attribute] };
      },
    }),

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
    ModifyInstanceCreditSpecification: n.custom({
      check: (input) => {
        if (input.InstanceCreditSpecifications.length === 0) {
          throw missingParameter("instanceCreditSpecification");
        }
      },
      run: async (input, call) => {
        const good: { InstanceId: string }[] = [];
        const bad: { InstanceId: string; Error: { Code: string; Message: string } }[] = [];
        for (const { InstanceId, CpuCredits = "standard" } of input.InstanceCreditSpecifications) {
          const instance = instances.get(call.account_id, InstanceId);
          const fault = instance === undefined
            ? ["InvalidInstanceID.NotFound", `The instance ID '${InstanceId}' does not exist`]
            : !isBurstable(instance)
            ? [
              "InstanceCreditSpecification.NotSupported",
              `${instance.instance_type} has no CPU credits.`,
            ]
            : CpuCredits !== "standard" && CpuCredits !== "unlimited"
            ? [
              "InvalidParameterValue",
              `Value (${CpuCredits}) for parameter cpuCredits is invalid.`,
            ]
            : undefined;
          if (fault !== undefined) {
            bad.push({ InstanceId, Error: { Code: fault[0] ?? "", Message: fault[1] ?? "" } });
            continue;
          }
          await set(call, InstanceId, { cpu_credits: CpuCredits });
          good.push({ InstanceId });
        }
        return {
          SuccessfulInstanceCreditSpecifications: good,
          UnsuccessfulInstanceCreditSpecifications: bad,
        };
      },
    }),
    DescribeInstanceCreditSpecifications: n.custom({
      reads: true,
      check: (input, call) => {
        if ((input.InstanceIds ?? []).length > 0) all(input.InstanceIds ?? [], call);
      },
      run: (input, call) => {
        const matches = compileFilters<InstanceRecord>(input.Filters, {
          "instance-id": (one) => one.instance_id,
        });
        const wanted = input.InstanceIds ?? [];
        const found = [...instances.all(call.account_id)].filter((one) =>
          isBurstable(one) && one.state !== "terminated" && matches(one) &&
          (wanted.length > 0
            ? wanted.includes(one.instance_id)
            : (one.settings?.cpu_credits ?? usualCredits(one, call)) === "unlimited")
        );
        const page = pageOf(found, (one) => one.instance_id, {
          action: "DescribeInstanceCreditSpecifications",
          input,
          call,
        });
        return {
          InstanceCreditSpecifications: page.items.map((one) => ({
            InstanceId: one.instance_id,
            CpuCredits: one.settings?.cpu_credits ?? usualCredits(one, call),
          })),
          NextToken: page.nextToken,
        };
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
        return { InstanceId: changed.instance_id, InstanceMetadataOptions: showMetadata(changed) };
      },
    }),
    MonitorInstances: n.custom(monitor(true)),
    UnmonitorInstances: n.custom(monitor(false)),
    ReportInstanceStatus: n.custom({
      check: (input, call) => {
        all(input.Instances, call);
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
