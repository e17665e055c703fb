/** What VPC endpoints, the services that they lead to and the notifications of both are kept as. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";

export type EndpointShape = Shape<Ec2.VpcEndpoint> & {
  /** Account of the service and what it thinks of the connection. */
  readonly ServiceOwner?: string;
  readonly ConnectionId?: string;
};
export type EndpointRecord = KindRecord<EndpointShape>;

export const endpoint = kind<EndpointShape>({
  name: "vpc-endpoint",
  idPrefix: "vpce-",
  id: "VpcEndpointId",
  notFound: "InvalidVpcEndpointId.NotFound",
  filters: [
    "ip-address-type",
    "service-name",
    "vpc-endpoint-state=State",
    "vpc-endpoint-type",
    "vpc-endpoint-id",
    "vpc-id",
  ],
  references: {
    VpcId: "vpc",
    SubnetIds: "subnet",
    RouteTableIds: "route-table",
    "Groups.GroupId": "security-group",
  },
  unique: ["ServiceName"],
  settles: { member: "State", to: { Pending: "Available", Deleting: "Deleted" } },
  quota: { most: 1000, code: "VpcEndpointLimitExceeded" },
});

export type ServiceShape = Shape<Ec2.ServiceConfiguration> & {
  readonly Principals?: readonly string[];
};
export type ServiceRecord = KindRecord<ServiceShape>;
export const endpointService = kind<ServiceShape>({
  name: "vpc-endpoint-service",
  idPrefix: "vpce-svc-",
  id: "ServiceId",
  owner: null,
  notFound: "InvalidVpcEndpointServiceId.NotFound",
  filters: ["service-name", "service-id", "service-state", "supported-ip-address-types"],
  unique: ["ServiceName"],
});

export const notification = kind<Shape<Ec2.ConnectionNotification>>({
  name: "vpc-endpoint-connection-notification",
  idPrefix: "vpce-nfn-",
  id: "ConnectionNotificationId",
  owner: null,
  notFound: "InvalidConnectionNotification",
  malformed: "InvalidConnectionNotification",
  filters: [
    "connection-notification-arn",
    "connection-notification-id",
    "connection-notification-state",
    "connection-notification-type",
    "service-id",
    "vpc-endpoint-id",
  ],
  references: { ServiceId: "vpc-endpoint-service", VpcEndpointId: "vpc-endpoint" },
});
