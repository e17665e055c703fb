/** VPCs as records. */
import { type Block, parseBlock } from "../../resources/addresses.ts";
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { mostVpcs } from "../contract.ts";

/** The attributes are ours: no answer about the VPC itself shows them. */
export type VpcShape = Shape<Ec2.Vpc> & {
  readonly EnableDnsSupport?: boolean;
  readonly EnableDnsHostnames?: boolean;
  readonly EnableNetworkAddressUsageMetrics?: boolean;
};
export type VpcRecord = KindRecord<VpcShape>;

export const vpc = kind<VpcShape>({
  name: "vpc",
  idPrefix: "vpc-",
  id: "VpcId",
  notFound: "InvalidVpcID.NotFound",
  filters: [
    "cidr=CidrBlock",
    "cidr-block-association.cidr-block=CidrBlockAssociationSet.CidrBlock",
    "cidr-block-association.association-id=CidrBlockAssociationSet.AssociationId",
    "cidr-block-association.state=CidrBlockAssociationSet.CidrBlockState.State",
    "dhcp-options-id",
    "ipv6-cidr-block-association.ipv6-cidr-block=Ipv6CidrBlockAssociationSet.Ipv6CidrBlock",
    "ipv6-cidr-block-association.association-id=Ipv6CidrBlockAssociationSet.AssociationId",
    "ipv6-cidr-block-association.ipv6-pool=Ipv6CidrBlockAssociationSet.Ipv6Pool",
    "ipv6-cidr-block-association.state=Ipv6CidrBlockAssociationSet.Ipv6CidrBlockState.State",
    "is-default",
    "isDefault=IsDefault",
    "state",
  ],
  references: { "DhcpOptionsId": "dhcp-options" },
  indexed: [
    "CidrBlockAssociationSet.AssociationId",
    "Ipv6CidrBlockAssociationSet.AssociationId",
  ],
  quota: { most: mostVpcs, code: "VpcLimitExceeded" },
  settles: { member: "State", to: { pending: "available" } },
});

export const blocksOf = (record: VpcRecord): Block[] =>
  (record.shape.CidrBlockAssociationSet ?? []).flatMap((one) =>
    parseBlock(one.CidrBlock ?? "") ?? []
  );

export const defaultVpcOf = (records: Records, account: string): VpcRecord | undefined => {
  for (const record of records.all(vpc, account)) {
    if (record.shape.IsDefault === true) return record;
  }
  return undefined;
};
