/** Network ACLs as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

type AclShape = Shape<Ec2.NetworkAcl>;
export const networkAcl = kind<AclShape>({
  name: "network-acl",
  idPrefix: "acl-",
  id: "NetworkAclId",
  notFound: "InvalidNetworkAclID.NotFound",
  filters: [
    "association.association-id=Associations.NetworkAclAssociationId",
    "association.network-acl-id=Associations.NetworkAclId",
    "association.subnet-id=Associations.SubnetId",
    "default=IsDefault",
    "entry.cidr=Entries.CidrBlock",
    "entry.icmp.code=Entries.IcmpTypeCode.Code",
    "entry.icmp.type=Entries.IcmpTypeCode.Type",
    "entry.port-range.from=Entries.PortRange.From",
    "entry.port-range.to=Entries.PortRange.To",
    "entry.ipv6-cidr=Entries.Ipv6CidrBlock",
    "entry.egress=Entries.Egress",
    "entry.protocol=Entries.Protocol",
    "entry.rule-action=Entries.RuleAction",
    "entry.rule-number=Entries.RuleNumber",
    "vpc-id",
  ],
  references: { VpcId: "vpc", "Associations.SubnetId": "subnet" },
  indexed: ["Associations.NetworkAclAssociationId"],
  quota: { most: 5000, code: "NetworkAclLimitExceeded" },
});
