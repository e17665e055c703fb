/** Network interfaces: how one is asked for, attached, changed and shown. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter, invalidValue } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import { showTags } from "../../resources/tags.ts";
import { leadingTo, letGo, refuseManaged } from "./address_associations.ts";
import { checkGroups, groupsOf, interfaceShape } from "./new_interfaces.ts";
import { type InterfaceRecord, networkInterface, permission } from "../kinds/interfaces.ts";
import { securityGroup } from "../kinds/security_groups.ts";
import { subnet } from "../kinds/subnets.ts";
import { exactlyOne, type Network, oneOf, within } from "../network.ts";

/** Groups with their names, which may change. */
export function showInterface(records: Records, record: InterfaceRecord) {
  return {
    ...records.show(networkInterface, record),
    Groups: (record.shape.Groups ?? []).map(({ GroupId }) => ({
      GroupId,
      GroupName: records.get(securityGroup, record.account_id, GroupId ?? "")?.shape.GroupName ??
        "",
    })),
    TagSet: showTags(record.tags),
  };
}

/** The interfaces that an instance has. */
export const ofInstance = (records: Records, account: string, instanceId: string) =>
  records.findAt(networkInterface, account, "Attachment.InstanceId", instanceId);

export function interfaceAttachment(
  instanceId: string,
  owner: string,
  index: number,
  deleteOnTermination: boolean,
) {
  return {
    AttachTime: new Date().toISOString(),
    AttachmentId: newId("eni-attach-"),
    DeleteOnTermination: deleteOnTermination,
    DeviceIndex: index,
    InstanceId: instanceId,
    InstanceOwnerId: owner,
    NetworkCardIndex: 0,
    Status: "attached" as const,
  };
}

/** @throws AwsError for more than EC2 takes */
function describing(text = ""): string {
  if (text.length <= 255) return text;
  throw invalidParameter("description", text, "Up to 255 characters are allowed.");
}

export const interfaceActions = (network: Network) => {
  const { operations: n, records } = network;
  const byAttachment = (id: string, call: Call) => {
    const [record] = records.findAt(
      networkInterface,
      call.account_id,
      "Attachment.AttachmentId",
      id,
    );
    if (record === undefined) {
      throw new AwsError(
        "InvalidAttachmentID.NotFound",
        `The attachment ID '${id}' does not exist`,
      );
    }
    return record.id;
  };
  const attributeNames = [
    "description",
    "groupSet",
    "sourceDestCheck",
    "attachment",
    "associatePublicIpAddress",
  ];
  return {
    CreateNetworkInterface: n.creates(networkInterface, {
      without: [
        "Groups",
        "PrivateIpAddresses",
        "Ipv6Addresses",
        "InterfaceType",
        "PrivateIpAddress",
        "Description",
      ],
      make: async (input, call) => {
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        await checkGroups(records, call.account_id, of.shape.VpcId, input.Groups ?? []);
        const listed = input.PrivateIpAddresses ?? [];
        const primaries = [
          input.PrivateIpAddress,
          ...listed.filter((one) => one.Primary === true).map((one) => one.PrivateIpAddress),
        ].filter((one) => one !== undefined);
        if (primaries.length > 1) {
          throw invalidCombination("Only one primary private IP address can be specified.");
        }
        return interfaceShape(network, {
          subnet: of,
          groups: input.Groups ?? [],
          description: describing(input.Description),
          primary: primaries[0],
          secondary: listed.flatMap((one) =>
            one.Primary === true || one.PrivateIpAddress === undefined ? [] : [one.PrivateIpAddress]
          ),
          secondaryCount: input.SecondaryPrivateIpAddressCount ?? 0,
          ipv6Count: input.Ipv6AddressCount ?? 0,
          ipv6: (input.Ipv6Addresses ?? []).flatMap((one) => one.Ipv6Address ?? []),
          type: oneOf(
            input.InterfaceType,
            ["efa", "branch", "trunk", "interface"] as const,
            "interfaceType",
            "interface" as const,
          ),
        });
      },
      answer: (record, input) => ({
        NetworkInterface: { ...showInterface(records, record), Status: "pending" },
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeNetworkInterfaces: n.describes(networkInterface, {
      list: "NetworkInterfaces",
      ids: "NetworkInterfaceIds",
      show: (record) => showInterface(records, record),
    }),
    DeleteNetworkInterface: n.deletes(networkInterface, {
      id: "NetworkInterfaceId",
      takes: (one) => one.name === "network-interface-permission" || one.name === "elastic-ip",
      refuse: (record) => {
        if (record.shape.Status === "in-use") {
          throw new AwsError(
            "InvalidParameterValue",
            `Network interface '${record.id}' is currently in use.`,
          );
        }
      },
      before: async (record) => {
        for (const one of records.find(permission, record.account_id, record.id)) {
          await records.remove(permission, record.account_id, one.id);
        }
        for (const one of leadingTo(records, record.account_id, record.id)) {
          await letGo(records, one);
        }
      },
    }),
    AttachNetworkInterface: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: (record, input, call) => {
        if (record.shape.Status === "in-use") {
          throw new AwsError(
            "InvalidParameterValue",
            `Interface: [${record.id}] in use.`,
          );
        }
        within(input.DeviceIndex, 1, 7, "deviceIndex");
        const others = ofInstance(records, call.account_id, input.InstanceId);
        if (others.length === 0) {
          throw new AwsError(
            "InvalidInstanceID.NotFound",
            `The instance ID '${input.InstanceId}' does not exist`,
          );
        }
        if (others.some((one) => one.shape.Attachment?.DeviceIndex === input.DeviceIndex)) {
          throw new AwsError(
            "InvalidParameterValue",
            `Instance '${input.InstanceId}' already has an interface attached at device index '${input.DeviceIndex}'.`,
          );
        }
        return {
          Attachment: interfaceAttachment(
            input.InstanceId,
            call.account_id,
            input.DeviceIndex,
            false,
          ),
          Status: "in-use" as const,
        };
      },
      answer: (record) => ({
        AttachmentId: record.shape.Attachment?.AttachmentId,
        NetworkCardIndex: 0,
      }),
    }),
    DetachNetworkInterface: n.changes(networkInterface, {
      id: (input, call) => byAttachment(input.AttachmentId, call),
      change: (record) => {
        if (record.shape.Attachment?.DeviceIndex === 0) {
          throw new AwsError(
            "OperationNotPermitted",
            "The network interface at device index 0 cannot be detached.",
          );
        }
        return { Attachment: undefined, Status: "available" as const };
      },
    }),
    ModifyNetworkInterfaceAttribute: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: async (record, input, call) => {
        refuseManaged(records, record.account_id, record.id);
        exactlyOne(input, [
          "Description",
          "Groups",
          "SourceDestCheck",
          "Attachment",
          "EnaSrdSpecification",
          "ConnectionTrackingSpecification",
          "EnablePrimaryIpv6",
          "AssociatePublicIpAddress",
        ]);
        if (input.Groups !== undefined) {
          if (input.Groups.length === 0) throw invalidValue("An interface needs a security group.");
          await checkGroups(records, call.account_id, record.shape.VpcId, input.Groups);
          return { Groups: groupsOf(input.Groups) };
        }
        if (input.Attachment !== undefined) {
          const attachment = record.shape.Attachment;
          if (attachment?.AttachmentId !== input.Attachment.AttachmentId) {
            throw new AwsError(
              "InvalidAttachmentID.NotFound",
              `The attachment ID '${input.Attachment.AttachmentId}' does not exist`,
            );
          }
          return {
            Attachment: {
              ...attachment,
              DeleteOnTermination: input.Attachment.DeleteOnTermination ?? false,
            },
          };
        }
        return {
          ...(input.Description === undefined
            ? {}
            : { Description: describing(input.Description.Value) }),
          ...(input.SourceDestCheck === undefined
            ? {}
            : { SourceDestCheck: input.SourceDestCheck.Value ?? true }),
          ...(input.ConnectionTrackingSpecification === undefined
            ? {}
            : { ConnectionTrackingConfiguration: input.ConnectionTrackingSpecification }),
        };
      },
    }),
    ResetNetworkInterfaceAttribute: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: (_record, input) => {
        oneOf(
          input.SourceDestCheck,
          ["SourceDestCheck", "sourceDestCheck", "true"],
          "sourceDestCheck",
          "true",
        );
        return { SourceDestCheck: true };
      },
    }),
    DescribeNetworkInterfaceAttribute: n.custom({
      reads: true,
      check: (input) => void oneOf(input.Attribute, attributeNames, "attribute", "description"),
      run: async (input, call) => {
        const record = await records.require(
          networkInterface,
          call.account_id,
          input.NetworkInterfaceId,
        );
        const shown = showInterface(records, record);
        const name = input.Attribute ?? "description";
        return {
          NetworkInterfaceId: record.id,
          ...(name === "description" ? { Description: { Value: shown.Description ?? "" } } : {}),
          ...(name === "groupSet" ? { Groups: shown.Groups } : {}),
          ...(name === "sourceDestCheck"
            ? { SourceDestCheck: { Value: shown.SourceDestCheck ?? true } }
            : {}),
          ...(name === "attachment" && shown.Attachment !== undefined
            ? { Attachment: shown.Attachment }
            : {}),
        };
      },
    }),
  } satisfies ActionTable;
};
