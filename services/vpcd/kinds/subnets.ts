/** Subnets and the reservations of blocks in them, as records. */
import { type Block, parseBlock, sizeOf } from "../../resources/addresses.ts";
import { kind, type KindRecord, type OtherRecords } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { networkInterface } from "./interfaces.ts";

export type SubnetShape = Shape<Ec2.Subnet>;
export type SubnetRecord = KindRecord<SubnetShape>;

/** EC2 keeps the first four addresses of a subnet and the last. */
const kept = 5;

export const subnet = kind<SubnetShape>({
  name: "subnet",
  idPrefix: "subnet-",
  id: "SubnetId",
  notFound: "InvalidSubnetID.NotFound",
  filters: [
    "availability-zone",
    "availabilityZone=AvailabilityZone",
    "availability-zone-id",
    "cidr-block",
    "cidr=CidrBlock",
    "cidrBlock=CidrBlock",
    "customer-owned-ipv4-pool=CustomerOwnedIpv4Pool",
    "default-for-az",
    "defaultForAz=DefaultForAz",
    "enable-dns64=EnableDns64",
    "ipv6-cidr-block-association.ipv6-cidr-block=Ipv6CidrBlockAssociationSet.Ipv6CidrBlock",
    "ipv6-cidr-block-association.association-id=Ipv6CidrBlockAssociationSet.AssociationId",
    "ipv6-cidr-block-association.state=Ipv6CidrBlockAssociationSet.Ipv6CidrBlockState.State",
    "ipv6-native",
    "map-public-ip-on-launch",
    "outpost-arn",
    "private-dns-name-options-on-launch.hostname-type=PrivateDnsNameOptionsOnLaunch.HostnameType",
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record=PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsARecord",
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record=PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsAAAARecord",
    "state",
    "subnet-arn",
    "vpc-id",
  ],
  computed: { "available-ip-address-count": (record, records) => freeIn(record, records) },
  shows: (record, records) => ({ AvailableIpAddressCount: freeIn(record, records) }),
  references: { VpcId: "vpc" },
  indexed: ["Ipv6CidrBlockAssociationSet.AssociationId"],
  quota: { most: 2000, code: "SubnetLimitExceeded" },
  settles: { member: "State", to: { pending: "available" } },
});

/** The subnet's blocks of both versions. */
export const allBlocksOf = ({ shape }: SubnetRecord): Block[] =>
  [
    shape.CidrBlock,
    ...(shape.Ipv6CidrBlockAssociationSet ?? []).map((one) => one.Ipv6CidrBlock),
  ].flatMap((text) => parseBlock(text ?? "") ?? []);

function freeIn(record: SubnetRecord, records: OtherRecords): number {
  const block = parseBlock(record.shape.CidrBlock ?? "");
  if (block === undefined) return 0;
  let used = 0;
  for (const one of records.find(networkInterface, record.account_id, record.id)) {
    used += one.shape.PrivateIpAddresses?.length ?? 0;
  }
  return Math.max(0, Number(sizeOf(block)) - kept - used);
}

export interface ReservationShape extends Shape<Ec2.SubnetCidrReservation> {
  readonly SubnetId?: string | undefined;
}
export const reservation = kind<ReservationShape>({
  name: "subnet-cidr-reservation",
  idPrefix: "scr-",
  id: "SubnetCidrReservationId",
  notFound: "InvalidSubnetCidrReservationID.NotFound",
  filters: ["reservationType=ReservationType", "subnet-id", "cidr"],
  references: { SubnetId: "subnet" },
});
