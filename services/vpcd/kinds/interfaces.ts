/** Network interfaces, and the permissions to attach those of others, as records. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type InterfaceShape = Shape<Ec2.NetworkInterface>;
export type InterfaceRecord = KindRecord<InterfaceShape>;

export const networkInterface = kind<InterfaceShape>({
  name: "network-interface",
  idPrefix: "eni-",
  id: "NetworkInterfaceId",
  notFound: "InvalidNetworkInterfaceID.NotFound",
  malformed: "InvalidNetworkInterfaceId.Malformed",
  filters: [
    "addresses.association.public-ip=PrivateIpAddresses.Association.PublicIp",
    "addresses.primary=PrivateIpAddresses.Primary",
    "addresses.private-ip-address=PrivateIpAddresses.PrivateIpAddress",
    "association.allocation-id=Association.AllocationId",
    "association.association-id=Association.AssociationId",
    "association.ip-owner-id=Association.IpOwnerId",
    "association.public-dns-name=Association.PublicDnsName",
    "association.public-ip=Association.PublicIp",
    "attachment.attachment-id=Attachment.AttachmentId",
    "attachment.attach-time=Attachment.AttachTime",
    "attachment.delete-on-termination=Attachment.DeleteOnTermination",
    "attachment.device-index=Attachment.DeviceIndex",
    "attachment.instance-id=Attachment.InstanceId",
    "attachment.instance-owner-id=Attachment.InstanceOwnerId",
    "attachment.status=Attachment.Status",
    "availability-zone",
    "description",
    "group-id=Groups.GroupId",
    "group-name=Groups.GroupName",
    "interface-type",
    "ipv6-addresses.ipv6-address=Ipv6Addresses.Ipv6Address",
    "mac-address",
    "network-interface-id",
    "private-dns-name",
    "private-ip-address",
    "requester-id",
    "requester-managed",
    "source-dest-check",
    "status",
    "subnet-id",
    "vpc-id",
  ],
  references: { SubnetId: "subnet", "Groups.GroupId": "security-group", VpcId: "vpc" },
  indexed: [
    "Attachment.AttachmentId",
    "Attachment.InstanceId",
    "PrivateIpAddresses.PrivateIpAddress",
    "Ipv6Addresses.Ipv6Address",
  ],
  quota: { most: 100_000, code: "NetworkInterfaceLimitExceeded" },
});

export const permission = kind<Shape<Ec2.NetworkInterfacePermission>>({
  name: "network-interface-permission",
  idPrefix: "eni-perm-",
  id: "NetworkInterfacePermissionId",
  owner: null,
  notFound: "InvalidPermissionID.NotFound",
  filters: [
    "network-interface-permission.network-interface-id=NetworkInterfaceId",
    "network-interface-permission.aws-account-id=AwsAccountId",
    "network-interface-permission.permission=Permission",
    "network-interface-permission.aws-service=AwsService",
  ],
  references: { NetworkInterfaceId: "network-interface" },
  page: { minimum: 5, maximum: 255, above: "refuse" },
});
