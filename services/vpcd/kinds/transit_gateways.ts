/** Transit gateways, their attachments and route tables, as records. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type GatewayShape = Shape<Ec2.TransitGateway>;
export const transitGateway = kind<GatewayShape>({
  name: "transit-gateway",
  idPrefix: "tgw-",
  id: "TransitGatewayId",
  notFound: "InvalidTransitGatewayID.NotFound",
  filters: [
    "options.amazon-side-asn=Options.AmazonSideAsn",
    "options.association-default-route-table-id=Options.AssociationDefaultRouteTableId",
    "options.default-route-table-association=Options.DefaultRouteTableAssociation",
    "options.propagation-default-route-table-id=Options.PropagationDefaultRouteTableId",
    "options.auto-accept-shared-attachments=Options.AutoAcceptSharedAttachments",
    "options.dns-support=Options.DnsSupport",
    "options.vpn-ecmp-support=Options.VpnEcmpSupport",
    "state",
    "transit-gateway-id",
  ],
  settles: {
    member: "State",
    to: { pending: "available", modifying: "available", deleting: "deleted" },
  },
  quota: { most: 50, code: "TransitGatewayLimitExceeded" },
});

type AttachmentShape = Shape<Ec2.TransitGatewayVpcAttachment> & {
  readonly Association?: Shape<Ec2.TransitGatewayAttachmentAssociation> | undefined;
  readonly Propagations?: readonly string[];
};
export const transitAttachment = kind<AttachmentShape>({
  name: "transit-gateway-attachment",
  idPrefix: "tgw-attach-",
  id: "TransitGatewayAttachmentId",
  owner: "VpcOwnerId",
  notFound: "InvalidTransitGatewayAttachmentID.NotFound",
  filters: [
    "state",
    "transit-gateway-attachment-id",
    "transit-gateway-id",
    "vpc-id",
    "resource-id=VpcId",
  ],
  computed: {
    "resource-type": () => "vpc",
    "resource-owner-id": (record) => record.account_id,
    "transit-gateway-owner-id": (record) => record.account_id,
    "association.state": (record) => record.shape.Association?.State,
    "association.transit-gateway-route-table-id": (record) =>
      record.shape.Association?.TransitGatewayRouteTableId,
  },
  references: { TransitGatewayId: "transit-gateway", VpcId: "vpc", SubnetIds: "subnet" },
  indexed: ["Association.TransitGatewayRouteTableId", "Propagations"],
  settles: {
    member: "State",
    to: { pending: "available", modifying: "available", deleting: "deleted" },
  },
});

type TableShape = Shape<Ec2.TransitGatewayRouteTable> & {
  readonly Routes?: readonly Shape<Ec2.TransitGatewayRoute>[];
};
export const transitTable = kind<TableShape>({
  name: "transit-gateway-route-table",
  idPrefix: "tgw-rtb-",
  id: "TransitGatewayRouteTableId",
  owner: null,
  notFound: "InvalidRouteTableID.NotFound",
  filters: [
    "default-association-route-table",
    "default-propagation-route-table",
    "state",
    "transit-gateway-id",
    "transit-gateway-route-table-id",
  ],
  references: { TransitGatewayId: "transit-gateway" },
  settles: { member: "State", to: { pending: "available", deleting: "deleted" } },
});

export type Transit = KindRecord<AttachmentShape>;
