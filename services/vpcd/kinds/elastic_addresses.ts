/** Elastic addresses and the pools of public ones, as records. */
import { kind, type KindRecord, type OtherRecords } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { networkInterface } from "./interfaces.ts";

export type AddressShape = Shape<Ec2.Address> & {
  readonly Transfer?: Shape<Ec2.AddressTransfer> | undefined;
  readonly PtrRecord?: string | undefined;
};
export type AddressRecord = KindRecord<AddressShape>;

export const elasticAddress = kind<AddressShape>({
  name: "elastic-ip",
  idPrefix: "eipalloc-",
  id: "AllocationId",
  owner: null,
  notFound: "InvalidAllocationID.NotFound",
  malformed: "InvalidAllocationID.Malformed",
  filters: [
    "allocation-id",
    "association-id",
    "domain",
    "network-border-group",
    "network-interface-id",
    "network-interface-owner-id",
    "private-ip-address",
    "public-ip",
  ],
  computed: { "instance-id": (record, others) => instanceOf(record, others) },
  shows: (record, others) => ({ InstanceId: instanceOf(record, others) }),
  references: { NetworkInterfaceId: "network-interface" },
  indexed: ["AssociationId", "PublicIpv4Pool"],
  unique: ["PublicIp"],
  quota: { most: 1000, code: "AddressLimitExceeded" },
});

/** The instance that has the interface now; it may come and go while the address stays. */
function instanceOf({ account_id, shape }: AddressRecord, others: OtherRecords) {
  const eni = others.get(networkInterface, account_id, shape.NetworkInterfaceId ?? "");
  return eni?.shape.Attachment?.InstanceId;
}

export type PoolShape = Shape<Ec2.PublicIpv4Pool>;
export const publicPool = kind<PoolShape>({
  name: "ipv4pool-ec2",
  idPrefix: "ipv4pool-ec2-",
  id: "PoolId",
  owner: null,
  notFound: "InvalidPublicIpv4PoolID.NotFound",
});

/** What an address is when nothing has it. */
export const freeOf = {
  AssociationId: undefined,
  NetworkInterfaceId: undefined,
  NetworkInterfaceOwnerId: undefined,
  PrivateIpAddress: undefined,
};
