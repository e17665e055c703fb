/**
 * Attributes of instances that are changed one by one. What needs the instance to stand still is
 * refused while it runs; what is the network's is asked of vpcd.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../../resources/errors.ts";
import type { Input } from "../../resources/wire.ts";
import { instanceInterfaces, modifyInterface } from "../../vpcd/contract.ts";
import { instanceChanges, mustBeStopped, notTerminated } from "./instance_changes.ts";
import { offeredSizes } from "./instance_types.ts";
import { userDataLimit_bytes } from "./launch_request.ts";
import type { RecordFamilies } from "../record_families/record_family.ts";

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

/** Whether the request says that a device's volume ends with its instance. */
function goesWith(input: Input<"ModifyInstanceAttribute">, device: string): boolean | undefined {
  return input.BlockDeviceMappings?.find((one) => one.DeviceName === device)?.Ebs
    ?.DeleteOnTermination;
}

export function instanceAttributeActions(families: RecordFamilies) {
  const { operations: n, instances, bus, host, state } = families;
  const { required, set } = instanceChanges(families);
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
        // The volume's own record decides what becomes of it at the end of its instance.
        for (const { device, volume_id } of instance.attachments) {
          const goes = goesWith(input, device);
          if (goes === undefined) continue;
          await state.volumes.modify(
            call.account_id,
            volume_id,
            ({ attachment, ...volume }) => ({
              ...volume,
              ...(attachment === undefined ? {} : {
                attachment: attachment.instance_id !== id
                  ? attachment
                  : { ...attachment, delete_on_termination: goes },
              }),
            }),
          );
        }
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
                const goes = goesWith(input, one.device);
                return goes === undefined ? one : { ...one, delete_on_termination: goes };
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
  } satisfies ActionTable;
}
