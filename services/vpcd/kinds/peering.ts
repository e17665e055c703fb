/** Peering connections as records: both sides see them. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

type PeeringShape = Shape<Ec2.VpcPeeringConnection>;
export type PeeringRecord = KindRecord<PeeringShape>;

export const peering = kind<PeeringShape>({
  name: "vpc-peering-connection",
  idPrefix: "pcx-",
  id: "VpcPeeringConnectionId",
  owner: null,
  notFound: "InvalidVpcPeeringConnectionID.NotFound",
  malformed: "InvalidVpcPeeringConnectionId.Malformed",
  filters: [
    "accepter-vpc-info.cidr-block=AccepterVpcInfo.CidrBlock",
    "accepter-vpc-info.owner-id=AccepterVpcInfo.OwnerId",
    "accepter-vpc-info.vpc-id=AccepterVpcInfo.VpcId",
    "expiration-time",
    "requester-vpc-info.cidr-block=RequesterVpcInfo.CidrBlock",
    "requester-vpc-info.owner-id=RequesterVpcInfo.OwnerId",
    "requester-vpc-info.vpc-id=RequesterVpcInfo.VpcId",
    "status-code=Status.Code",
    "status-message=Status.Message",
  ],
  references: { "RequesterVpcInfo.VpcId": "vpc" },
  indexed: ["AccepterVpcInfo.VpcId"],
  sharedWith: (record) => {
    const other = record.shape.AccepterVpcInfo?.OwnerId;
    return other === undefined || other === record.account_id ? [] : [other];
  },
});
