/** NAT gateways as records. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

type NatShape = Shape<Ec2.NatGateway>;
export type NatRecord = KindRecord<NatShape>;
export const natGateway = kind<NatShape>({
  name: "natgateway",
  idPrefix: "nat-",
  id: "NatGatewayId",
  owner: null,
  notFound: "NatGatewayNotFound",
  malformed: "NatGatewayMalformed",
  filters: ["nat-gateway-id", "state", "subnet-id", "vpc-id", "connectivity-type"],
  references: {
    SubnetId: "subnet",
    VpcId: "vpc",
    "NatGatewayAddresses.AllocationId": "elastic-ip",
  },
  settles: { member: "State", to: { pending: "available", deleting: "deleted" } },
  quota: { most: 500, code: "NatGatewayLimitExceeded" },
});
