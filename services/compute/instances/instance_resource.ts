/** Instances as a resource type, and how a record looks in EC2's answers. */
import { usualLimits } from "../../resources/paging.ts";
import type { ResourceType } from "../../resources/resource.ts";
import { showTags } from "../../resources/tags.ts";
import type { Output } from "../../resources/wire.ts";
import type { InstanceInterface } from "../../vpcd/contract.ts";
import { buckets, type InstanceRecord, type InstanceState } from "../contract.ts";
import { zoneId } from "../../resources/zone_names.ts";

const stateCodes: Readonly<Record<InstanceState, number>> = {
  "pending": 0,
  "running": 16,
  "shutting-down": 32,
  "terminated": 48,
  "stopping": 64,
  "stopped": 80,
};

/** The address and the interface are the instance's until it is terminated. */
const networkOf = (instance: InstanceRecord) =>
  instance.state === "terminated" ? undefined : instance.network;

const statusOf = (instance: InstanceRecord) =>
  instance.state !== "running"
    ? "not-applicable"
    : instance.impaired === undefined
    ? "ok"
    : "impaired";
const reachabilityOf = (instance: InstanceRecord) =>
  statusOf(instance) === "ok" ? "passed" : "failed";

export const instanceType: ResourceType<InstanceRecord> = {
  name: "instance",
  idPrefix: "i-",
  errors: {
    notFound: "InvalidInstanceID.NotFound",
    malformed: "InvalidInstanceID.Malformed",
    noun: "instance",
  },
  bucket: buckets.instances,
  id: (instance) => instance.instance_id,
  states: ["pending", "running", "shutting-down", "terminated", "stopping", "stopped"],
  attributes: {
    "architecture": (instance) => instance.architecture,
    "availability-zone": (instance) => instance.az,
    "availability-zone-id": (instance) => zoneId(instance.az),
    "block-device-mapping.attach-time": (i) => i.attachments.map((a) => a.attach_time),
    "block-device-mapping.delete-on-termination": (i) =>
      i.attachments.map((a) => a.delete_on_termination),
    "block-device-mapping.device-name": (i) => i.attachments.map((a) => a.device),
    "block-device-mapping.status": (i) => i.attachments.map((a) => a.status),
    "block-device-mapping.volume-id": (i) => i.attachments.map((a) => a.volume_id),
    "boot-mode": () => "uefi",
    "client-token": (instance) => instance.client_token,
    "current-instance-boot-mode": () => "uefi",
    "dns-name": () => "",
    "hypervisor": () => "xen",
    "iam-instance-profile.arn": (instance) => instance.iam_instance_profile?.arn,
    "iam-instance-profile.id": (instance) => instance.iam_instance_profile?.id,
    "image-id": (instance) => instance.image_id,
    "instance.group-id": (i) =>
      networkOf(i)?.interfaces?.[0]?.groups.map((one) => one.id) ??
        networkOf(i)?.vpc_id.replace("vpc-", "sg-"),
    "instance.group-name": (i) =>
      networkOf(i)?.interfaces?.[0]?.groups.map((one) => one.name) ?? "default",
    "instance-id": (instance) => instance.instance_id,
    "instance-state-code": (instance) => stateCodes[instance.state],
    "instance-state-name": (instance) => instance.state,
    "instance-status.reachability": reachabilityOf,
    "instance-status.status": statusOf,
    "instance-type": (instance) => instance.instance_type,
    "key-name": (instance) => instance.key_name,
    "launch-index": (instance) => instance.launch_index,
    "launch-time": (instance) => instance.launch_time,
    "metadata-options.http-endpoint": (instance) => instance.metadata_options.http_endpoint,
    "metadata-options.http-tokens": (instance) => instance.metadata_options.http_tokens,
    "metadata-options.instance-metadata-tags": (instance) =>
      instance.metadata_options.instance_metadata_tags,
    "monitoring-state": (i) => i.settings?.monitoring === true ? "enabled" : "disabled",
    "placement-group-name": (i) => i.settings?.placement_group,
    "ip-address": (i) => networkOf(i)?.interfaces?.[0]?.public_ip,
    "network-interface.addresses.private-ip-address": (i) =>
      networkOf(i)?.interfaces?.flatMap((one) => one.private_ips) ?? networkOf(i)?.private_ip,
    "network-interface.group-id": (i) =>
      networkOf(i)?.interfaces?.flatMap((one) => one.groups.map((group) => group.id)),
    "network-interface.mac-address": (instance) => networkOf(instance)?.mac,
    "network-interface.network-interface-id": (instance) => networkOf(instance)?.interface_id,
    "network-interface.subnet-id": (instance) => networkOf(instance)?.subnet_id,
    "network-interface.vpc-id": (instance) => networkOf(instance)?.vpc_id,
    "owner-id": (instance) => instance.account_id,
    "private-dns-name": (instance) => networkOf(instance)?.private_dns_name,
    "private-ip-address": (instance) => networkOf(instance)?.private_ip,
    "reason": (instance) => instance.state_transition_reason,
    "reservation-id": (instance) => instance.reservation_id,
    "root-device-name": (instance) => instance.root_device_name,
    "root-device-type": () => "ebs",
    "state-reason-code": (instance) => instance.state_reason?.code,
    "state-reason-message": (instance) => instance.state_reason?.message,
    "subnet-id": (instance) => networkOf(instance)?.subnet_id,
    "system-status.reachability": reachabilityOf,
    "system-status.status": statusOf,
    "tenancy": (i) => i.settings?.tenancy ?? "default",
    "virtualization-type": () => "hvm",
    "vpc-id": (instance) => networkOf(instance)?.vpc_id,
  },
  page: { ...usualLimits, idsParameter: "instancesSet" },
};

export type ShownInstance = NonNullable<Output<"RunInstances">["Instances"]>[number];
type ShownState = { Code: number; Name: InstanceState };

export const showState = (state: InstanceState): ShownState => ({
  Code: stateCodes[state],
  Name: state,
});

export interface ShowContext {
  readonly accelerator?: string;
  readonly vcpus: (instanceType: string) => number;
  readonly securityGroup: (account: string) => string;
}

function showInterface(instance: InstanceRecord, one: InstanceInterface) {
  const association = one.public_ip === undefined ? {} : {
    Association: { IpOwnerId: instance.account_id, PublicDnsName: "", PublicIp: one.public_ip },
  };
  return {
    ...association,
    Attachment: {
      AttachTime: instance.launch_time,
      AttachmentId: one.attachment_id,
      DeleteOnTermination: one.delete_on_termination,
      DeviceIndex: one.device_index,
      NetworkCardIndex: 0,
      Status: "attached" as const,
    },
    Description: one.description,
    Groups: one.groups.map(({ id, name }) => ({ GroupId: id, GroupName: name })),
    InterfaceType: "interface",
    Ipv6Addresses: [],
    MacAddress: one.mac,
    NetworkInterfaceId: one.interface_id,
    OwnerId: instance.account_id,
    PrivateDnsName: one.private_dns_name,
    PrivateIpAddress: one.private_ip,
    PrivateIpAddresses: one.private_ips.map((PrivateIpAddress, at) => ({
      ...(at === 0 ? association : {}),
      Primary: at === 0,
      PrivateDnsName: `ip-${PrivateIpAddress.replaceAll(".", "-")}${
        one.private_dns_name.slice(one.private_dns_name.indexOf("."))
      }`,
      PrivateIpAddress,
    })),
    SourceDestCheck: one.source_dest_check,
    Status: "in-use" as const,
    SubnetId: one.subnet_id,
    VpcId: one.vpc_id,
  };
}

export const showMetadataOptions = (
  { metadata_options: options, settings }: Pick<InstanceRecord, "metadata_options" | "settings">,
) => ({
  HttpEndpoint: options.http_endpoint,
  HttpProtocolIpv6: "disabled" as const,
  HttpPutResponseHopLimit: settings?.hop_limit ?? 1,
  HttpTokens: options.http_tokens,
  InstanceMetadataTags: options.instance_metadata_tags,
});

export function showInstance(instance: InstanceRecord, context: ShowContext): ShownInstance {
  const network = networkOf(instance);
  const interfaces = network?.interfaces;
  const groups = interfaces?.[0]?.groups.map((one) => ({ GroupId: one.id, GroupName: one.name })) ??
    [{ GroupId: context.securityGroup(instance.account_id), GroupName: "default" }];
  return {
    AmiLaunchIndex: instance.launch_index,
    Architecture: instance.architecture,
    BlockDeviceMappings: instance.attachments.map((attachment) => ({
      DeviceName: attachment.device,
      Ebs: {
        AttachTime: attachment.attach_time,
        DeleteOnTermination: attachment.delete_on_termination,
        Status: attachment.status === "busy" ? "attached" : attachment.status,
        VolumeId: attachment.volume_id,
      },
    })),
    BootMode: "uefi",
    CapacityReservationSpecification: {
      CapacityReservationPreference: (instance.settings?.capacity_preference ?? "open") as "open",
      ...(instance.settings?.capacity_reservation === undefined ? {} : {
        CapacityReservationTarget: {
          CapacityReservationId: instance.settings.capacity_reservation,
        },
      }),
    },
    ClientToken: instance.client_token ?? "",
    CpuOptions: {
      CoreCount: instance.settings?.cores ?? context.vcpus(instance.instance_type),
      ThreadsPerCore: instance.settings?.threads_per_core ?? 1,
    },
    CurrentInstanceBootMode: "uefi",
    ...(instance.tpm === undefined ? {} : { TpmSupport: instance.tpm }),
    EbsOptimized: instance.settings?.ebs_optimized ?? false,
    EnaSupport: false,
    EnclaveOptions: { Enabled: false },
    HibernationOptions: { Configured: false },
    Hypervisor: "xen",
    ...(instance.iam_instance_profile === undefined ? {} : {
      IamInstanceProfile: {
        Arn: instance.iam_instance_profile.arn,
        Id: instance.iam_instance_profile.id,
      },
    }),
    ImageId: instance.image_id,
    InstanceId: instance.instance_id,
    InstanceType: instance.instance_type as NonNullable<ShownInstance["InstanceType"]>,
    ...(instance.key_name === undefined ? {} : { KeyName: instance.key_name }),
    LaunchTime: instance.launch_time,
    MaintenanceOptions: {
      AutoRecovery: (instance.settings?.auto_recovery ?? "default") as "default",
      RebootMigration: (instance.settings?.reboot_migration ?? "default") as "default",
    },
    MetadataOptions: { ...showMetadataOptions(instance), State: "applied" },
    Monitoring: { State: instance.settings?.monitoring === true ? "enabled" : "disabled" },
    NetworkInterfaces: interfaces !== undefined
      ? interfaces.map((one) => showInterface(instance, one))
      : network === undefined
      ? []
      : [{
        Attachment: {
          AttachTime: instance.launch_time,
          AttachmentId: network.interface_id.replace(/^eni-/, "eni-attach-"),
          DeleteOnTermination: true,
          DeviceIndex: 0,
          NetworkCardIndex: 0,
          Status: "attached",
        },
        Description: "",
        Groups: groups,
        InterfaceType: "interface",
        Ipv6Addresses: [],
        MacAddress: network.mac,
        NetworkInterfaceId: network.interface_id,
        OwnerId: instance.account_id,
        PrivateDnsName: network.private_dns_name,
        PrivateIpAddress: network.private_ip,
        PrivateIpAddresses: [{
          Primary: true,
          PrivateDnsName: network.private_dns_name,
          PrivateIpAddress: network.private_ip,
        }],
        SourceDestCheck: true,
        Status: "in-use",
        SubnetId: network.subnet_id,
        VpcId: network.vpc_id,
      }],
    Placement: {
      AvailabilityZone: instance.az,
      AvailabilityZoneId: zoneId(instance.az),
      GroupName: instance.settings?.placement_group ?? "",
      ...(instance.settings?.host_id === undefined ? {} : { HostId: instance.settings.host_id }),
      ...(instance.settings?.partition === undefined
        ? {}
        : { PartitionNumber: instance.settings.partition }),
      Tenancy: (instance.settings?.tenancy ?? "default") as "default",
    },
    PrivateDnsName: network?.private_dns_name ?? "",
    ...(network === undefined ? {} : {
      PrivateDnsNameOptions: {
        EnableResourceNameDnsAAAARecord: false,
        EnableResourceNameDnsARecord: false,
        HostnameType: "ip-name",
      },
      PrivateIpAddress: network.private_ip,
      SubnetId: network.subnet_id,
      VpcId: network.vpc_id,
    }),
    ProductCodes: [],
    PublicDnsName: "",
    RootDeviceName: instance.root_device_name,
    RootDeviceType: "ebs",
    SecurityGroups: network === undefined ? [] : groups,
    SourceDestCheck: interfaces?.[0]?.source_dest_check ?? true,
    ...(interfaces?.[0]?.public_ip === undefined
      ? {}
      : { PublicIpAddress: interfaces[0].public_ip }),
    State: showState(instance.state),
    ...(instance.state_reason === undefined ? {} : {
      StateReason: {
        Code: instance.state_reason.code,
        Message: instance.state_reason.message,
      },
    }),
    StateTransitionReason: instance.state_transition_reason ?? "",
    Tags: showTags(instance.tags),
    UsageOperation: "RunInstances",
    UsageOperationUpdateTime: instance.launch_time,
    VirtualizationType: "hvm",
  };
}
