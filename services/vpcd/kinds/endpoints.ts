/** What VPC endpoints, the services that they lead to and the notifications of both are kept as. */
import { kind, type KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { securityGroup } from "./security_groups.ts";

export type EndpointShape = Shape<Ec2.VpcEndpoint> & {
  /** Account of the service and what it thinks of the connection. */
  readonly ServiceOwner?: string;
  readonly ConnectionId?: string;
};
export type EndpointRecord = KindRecord<EndpointShape>;

/** As EC2 writes it: the SDKs' own names of the states begin with a capital, its answers do not. */
export const shownState = ({ shape: { State = "" } }: EndpointRecord): string =>
  State.charAt(0).toLowerCase() + State.slice(1);

export const endpoint = kind<EndpointShape>({
  name: "vpc-endpoint",
  idPrefix: "vpce-",
  id: "VpcEndpointId",
  notFound: "InvalidVpcEndpointId.NotFound",
  filters: [
    "ip-address-type",
    "service-name",
    "vpc-endpoint-type",
    "vpc-endpoint-id",
    "vpc-id",
  ],
  computed: { "vpc-endpoint-state": (record) => shownState(record) },
  shows: (record, others) => ({
    Groups: (record.shape.Groups ?? []).map(({ GroupId }) => ({
      GroupId,
      GroupName: others.get(securityGroup, record.account_id, GroupId ?? "")?.shape.GroupName ?? "",
    })),
    State: shownState(record) as EndpointShape["State"],
  }),
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
