/** Internet, egress-only and carrier gateways as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { mostVpcs } from "../contract.ts";

export const internetGateway = kind<Shape<Ec2.InternetGateway>>({
  name: "internet-gateway",
  idPrefix: "igw-",
  id: "InternetGatewayId",
  notFound: "InvalidInternetGatewayID.NotFound",
  malformed: "InvalidInternetGatewayId.Malformed",
  filters: ["attachment.state=Attachments.State", "attachment.vpc-id=Attachments.VpcId"],
  references: { "Attachments.VpcId": "vpc" },
  quota: { most: mostVpcs, code: "InternetGatewayLimitExceeded" },
});

export const egressOnlyGateway = kind<Shape<Ec2.EgressOnlyInternetGateway>>({
  name: "egress-only-internet-gateway",
  idPrefix: "eigw-",
  id: "EgressOnlyInternetGatewayId",
  owner: null,
  notFound: "InvalidEgressOnlyInternetGatewayId.NotFound",
  references: { "Attachments.VpcId": "vpc" },
  page: { minimum: 5, maximum: 255, above: "refuse" },
  quota: { most: mostVpcs, code: "EgressOnlyInternetGatewayLimitExceeded" },
});

export const carrierGateway = kind<Shape<Ec2.CarrierGateway>>({
  name: "carrier-gateway",
  idPrefix: "cagw-",
  id: "CarrierGatewayId",
  notFound: "InvalidCarrierGatewayID.NotFound",
  filters: ["state", "vpc-id"],
  references: { VpcId: "vpc" },
  settles: { member: "State", to: { pending: "available", deleting: "deleted" } },
});
