/** Route servers, their endpoints and peers, as records. */
import { kind } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type ServerShape = Shape<Ec2.RouteServer> & {
  readonly VpcId?: string | undefined;
  readonly Propagations?: readonly string[];
};
export const routeServer = kind<ServerShape>({
  name: "route-server",
  idPrefix: "rs-",
  id: "RouteServerId",
  owner: null,
  notFound: "InvalidRouteServerId.NotFound",
  filters: ["amazon-side-asn", "persist-routes-state", "route-server-id", "state"],
  references: { VpcId: "vpc", Propagations: "route-table" },
  settles: {
    member: "State",
    to: { pending: "available", modifying: "available", deleting: "deleted" },
  },
});

export const routeServerEndpoint = kind<Shape<Ec2.RouteServerEndpoint>>({
  name: "route-server-endpoint",
  idPrefix: "rse-",
  id: "RouteServerEndpointId",
  owner: null,
  notFound: "InvalidRouteServerEndpointId.NotFound",
  filters: [
    "eni-id",
    "route-server-endpoint-id",
    "route-server-id",
    "state",
    "subnet-id",
    "vpc-id",
  ],
  references: { RouteServerId: "route-server", SubnetId: "subnet" },
  settles: { member: "State", to: { pending: "available", deleting: "deleted" } },
});

export const routeServerPeer = kind<Shape<Ec2.RouteServerPeer>>({
  name: "route-server-peer",
  idPrefix: "rsp-",
  id: "RouteServerPeerId",
  owner: null,
  notFound: "InvalidRouteServerPeerId.NotFound",
  filters: [
    "peer-address",
    "route-server-endpoint-id",
    "route-server-id",
    "route-server-peer-id",
    "state",
    "subnet-id",
    "vpc-id",
  ],
  references: { RouteServerEndpointId: "route-server-endpoint" },
  settles: { member: "State", to: { pending: "available", deleting: "deleted" } },
});
