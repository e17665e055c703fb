/**
 * VPC endpoints, and the services that they lead to: this cloud's own S3 and EC2, and what accounts
 * offer as endpoint services, with their permissions, connections and notifications.
 */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable, Call } from "../resources/actions.ts";
import { invalidParameter, missingParameter } from "../resources/errors.ts";
import { compileFilters } from "../resources/filters.ts";
import { idOf, newId } from "../resources/ids.ts";
import { kind, type KindRecord } from "../resources/kind.ts";
import { pageOf, pageSize } from "../resources/paging.ts";
import { zoneId } from "../resources/zone_names.ts";
import type { Ec2, Shape } from "../resources/wire.ts";
import { checkGroups, makeServiceInterface, removeServiceInterfaces } from "./interfaces.ts";
import { exactlyOne, merged, type Network, oneOf, pick } from "./network.ts";
import { addRoute, routeTable } from "./route_tables.ts";
import { subnet } from "./subnets.ts";

type EndpointShape = Shape<Ec2.VpcEndpoint> & {
  /** Account of the service and what it thinks of the connection. */
  readonly ServiceOwner?: string;
  readonly ConnectionId?: string;
};
type EndpointRecord = KindRecord<EndpointShape>;

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

type ServiceShape = Shape<Ec2.ServiceConfiguration> & { readonly Principals?: readonly string[] };
type ServiceRecord = KindRecord<ServiceShape>;
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

const events = ["Accept", "Connect", "Delete", "Reject"];
const limits = { minimum: 5, maximum: 1000, above: "refuse" } as const;
const fullPolicy = JSON.stringify({
  Version: "2008-10-17",
  Statement: [{ Effect: "Allow", Principal: "*", Action: "*", Resource: "*" }],
});

function checkPolicy(text: string | undefined): string {
  if (text === undefined) return fullPolicy;
  try {
    const parsed: unknown = JSON.parse(text);
    if (parsed !== null && typeof parsed === "object" && "Statement" in parsed) return text;
  } catch {
    // Said below, in EC2's words.
  }
  throw new AwsError("InvalidPolicyDocument", "The policy is not a JSON document with statements.");
}

export const endpointActions = (network: Network) => {
  const { operations: n, records, region, az } = network;
  /** Services of the cloud itself. */
  const own = [
    { ServiceName: `com.amazonaws.${region}.s3`, types: ["Gateway", "Interface"] },
    { ServiceName: `com.amazonaws.${region}.ec2`, types: ["Interface"] },
    { ServiceName: `com.amazonaws.${region}.ebs`, types: ["Interface"] },
    { ServiceName: `com.amazonaws.${region}.sts`, types: ["Interface"] },
  ];
  const offeredTo = (name: string, call: Call): ServiceRecord | undefined =>
    records.findAnywhere(endpointService, name).find((one) =>
      one.account_id === call.account_id ||
      one.shape.Principals?.some((principal) =>
        principal === "*" || principal.split(":")[4] === call.account_id
      )
    );
  const details = (call: Call) => {
    const mine = own.map(({ ServiceName, types }) => ({
      AcceptanceRequired: false,
      AvailabilityZones: [az],
      AvailabilityZoneIds: [zoneId(az)],
      BaseEndpointDnsNames: [`${ServiceName.split(".").at(-1)}.${region}.vpce.internal`],
      ManagesVpcEndpoints: false,
      Owner: "amazon",
      ServiceId: `vpce-svc-${ServiceName.length.toString(16).padStart(17, "0")}`,
      ServiceName,
      ServiceRegion: region,
      ServiceType: types.map((ServiceType) => ({ ServiceType })),
      SupportedIpAddressTypes: ["ipv4"],
      VpcEndpointPolicySupported: true,
    }));
    const others = [...records.all(endpointService)].filter((one) =>
      offeredTo(one.shape.ServiceName ?? "", call)?.id === one.id
    ).map((one) => ({
      AcceptanceRequired: one.shape.AcceptanceRequired ?? false,
      AvailabilityZones: [az],
      AvailabilityZoneIds: [zoneId(az)],
      BaseEndpointDnsNames: one.shape.BaseEndpointDnsNames ?? [],
      ManagesVpcEndpoints: false,
      Owner: one.account_id,
      ServiceId: one.id,
      ServiceName: one.shape.ServiceName ?? "",
      ServiceRegion: region,
      ServiceType: one.shape.ServiceType ?? [],
      SupportedIpAddressTypes: one.shape.SupportedIpAddressTypes ?? ["ipv4"],
      VpcEndpointPolicySupported: false,
    }));
    return [...mine, ...others];
  };
  /** A gateway endpoint is a route to the service's prefix list in each of its tables. */
  const routeTo = async (record: EndpointRecord, tables: readonly string[]) => {
    for (const one of tables) {
      await addRoute(records, record.account_id, one, {
        DestinationPrefixListId: "pl-00000000",
        GatewayId: record.id,
        Origin: "CreateRoute",
        State: "active",
      });
    }
  };
  const unroute = async (record: EndpointRecord, tables: readonly string[]) => {
    for (const one of tables) {
      await records.change(routeTable, record.account_id, one, (now) => ({
        Routes: now.shape.Routes?.filter((route) => route.GatewayId !== record.id),
      }));
    }
  };
  const groupsOf = (ids: readonly string[]) => ids.map((GroupId) => ({ GroupId, GroupName: "" }));
  const interfacesIn = async (record: EndpointRecord, subnets: readonly string[]) => {
    const ids: string[] = [];
    for (const one of subnets) {
      const made = await makeServiceInterface(network, record.account_id, record.id, one, {
        groups: (record.shape.Groups ?? []).flatMap((group) => group.GroupId ?? []),
        description: `VPC Endpoint Interface ${record.id}`,
        type: "vpc_endpoint",
      });
      ids.push(made.id);
    }
    return ids;
  };
  const unsuccessful = async (
    ids: readonly string[],
    work: (id: string) => Promise<void>,
  ) => {
    const failed: { Error: { Code: string; Message: string }; ResourceId: string }[] = [];
    for (const ResourceId of ids) {
      try {
        await work(ResourceId);
      } catch (error) {
        if (!(error instanceof AwsError) || error.status >= 500) throw error;
        failed.push({ Error: { Code: error.code, Message: error.message }, ResourceId });
      }
    }
    return { Unsuccessful: failed };
  };
  const connectionsOf = (account: string): EndpointRecord[] =>
    [...records.all(endpointService, account)].flatMap((service) =>
      records.findAnywhere(endpoint, service.shape.ServiceName ?? "")
    );
  /** Accepts or rejects connections to a service of the caller's. */
  const decideOn = async (
    input: { readonly ServiceId: string; readonly VpcEndpointIds: readonly string[] },
    call: Call,
    State: string,
  ) => {
    const service = await records.require(endpointService, call.account_id, input.ServiceId);
    const waiting = records.findAnywhere(endpoint, service.shape.ServiceName ?? "");
    return await unsuccessful(input.VpcEndpointIds, async (id) => {
      const found = waiting.find((one) => one.id === id);
      if (found === undefined) {
        throw new AwsError(
          "InvalidVpcEndpointId.NotFound",
          `The Vpc Endpoint Id '${id}' does not exist`,
        );
      }
      if (found.shape.State !== "PendingAcceptance") {
        throw new AwsError("InvalidState", `The endpoint '${id}' is ${found.shape.State}.`);
      }
      await records.change(endpoint, found.account_id, id, () => ({ State }));
    });
  };
  const requireService = async (input: { readonly ServiceId: string }, call: Call) => {
    await records.require(endpointService, call.account_id, input.ServiceId);
  };
  return {
    CreateVpcEndpoint: n.creates(endpoint, {
      without: ["SecurityGroupIds", "SubnetConfigurations", "DnsOptions"],
      make: async (input, call) => {
        const name = input.ServiceName;
        if (name === undefined) throw missingParameter("serviceName");
        const type = oneOf(
          input.VpcEndpointType,
          ["Gateway", "Interface", "GatewayLoadBalancer"],
          "vpcEndpointType",
          "Gateway",
        );
        const mine = own.find((one) => one.ServiceName === name);
        const theirs = mine === undefined ? offeredTo(name, call) : undefined;
        if (mine === undefined && theirs === undefined) {
          throw new AwsError(
            "InvalidServiceName",
            `The Vpc Endpoint Service '${name}' does not exist`,
          );
        }
        if (mine !== undefined && !mine.types.includes(type)) {
          throw invalidParameter(
            "vpcEndpointType",
            type,
            `${name} has ${mine.types.join(" and ")} endpoints.`,
          );
        }
        if (
          type === "Gateway" &&
          ((input.SubnetIds ?? []).length > 0 || (input.SecurityGroupIds ?? []).length > 0)
        ) {
          throw invalidParameter(
            "subnetIds",
            input.SubnetIds,
            "A gateway endpoint lies in route tables.",
          );
        }
        if (type !== "Gateway" && (input.RouteTableIds ?? []).length > 0) {
          throw invalidParameter(
            "routeTableIds",
            input.RouteTableIds,
            "Only a gateway endpoint lies in route tables.",
          );
        }
        for (const id of input.SubnetIds ?? []) {
          const of = await records.require(subnet, call.account_id, id);
          if (of.shape.VpcId !== input.VpcId) {
            throw invalidParameter("subnetIds", id, `It is not in ${input.VpcId}.`);
          }
        }
        await checkGroups(records, call.account_id, input.VpcId, input.SecurityGroupIds ?? []);
        const groups = type === "Interface" && (input.SecurityGroupIds ?? []).length === 0
          ? [input.VpcId.replace("vpc-", "sg-")]
          : input.SecurityGroupIds ?? [];
        return {
          CreationTimestamp: new Date().toISOString(),
          DnsEntries: [],
          Groups: groupsOf(groups),
          IpAddressType: input.IpAddressType ?? "ipv4",
          NetworkInterfaceIds: [],
          PolicyDocument: checkPolicy(input.PolicyDocument),
          PrivateDnsEnabled: input.PrivateDnsEnabled ?? false,
          RequesterManaged: false,
          RouteTableIds: input.RouteTableIds ?? [],
          ServiceOwner: theirs?.account_id ?? "amazon",
          ServiceRegion: region,
          State: theirs?.shape.AcceptanceRequired === true ? "PendingAcceptance" : "Pending",
          SubnetIds: input.SubnetIds ?? [],
          VpcEndpointType: type,
        };
      },
      after: async (record, _input, call) => {
        await routeTo(record, record.shape.RouteTableIds ?? []);
        const subnets = record.shape.SubnetIds ?? [];
        if (subnets.length === 0 || (record.shape.NetworkInterfaceIds ?? []).length > 0) return;
        const NetworkInterfaceIds = await interfacesIn(record, subnets);
        const service = record.shape.ServiceName?.split(".").at(-1);
        await records.change(endpoint, call.account_id, record.id, () => ({
          NetworkInterfaceIds,
          DnsEntries: [{
            DnsName: `${record.id}.${service}.${region}.vpce.internal`,
            HostedZoneId: "Z00000000",
          }],
        }));
      },
      answer: (record, input) => ({
        VpcEndpoint: records.show(endpoint, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeVpcEndpoints: n.describes(endpoint, { list: "VpcEndpoints", ids: "VpcEndpointIds" }),
    ModifyVpcEndpoint: n.changes(endpoint, {
      id: "VpcEndpointId",
      change: async (record, input, call) => {
        const groups = (record.shape.Groups ?? []).flatMap((one) => one.GroupId ?? []);
        const now = merged(groups, input.AddSecurityGroupIds, input.RemoveSecurityGroupIds);
        await checkGroups(
          records,
          call.account_id,
          record.shape.VpcId,
          input.AddSecurityGroupIds ?? [],
        );
        if (record.shape.VpcEndpointType === "Interface" && now.length === 0) {
          throw invalidParameter("removeSecurityGroupIds", groups.join(","), "One must stay.");
        }
        return {
          ...pick(input, ["PrivateDnsEnabled", "IpAddressType"]),
          Groups: groupsOf(now),
          ...(input.ResetPolicy === true
            ? { PolicyDocument: fullPolicy }
            : input.PolicyDocument === undefined
            ? {}
            : { PolicyDocument: checkPolicy(input.PolicyDocument) }),
          RouteTableIds: merged(
            record.shape.RouteTableIds,
            input.AddRouteTableIds,
            input.RemoveRouteTableIds,
          ),
          SubnetIds: merged(record.shape.SubnetIds, input.AddSubnetIds, input.RemoveSubnetIds),
        };
      },
      after: async (record, input, call) => {
        await unroute(record, input.RemoveRouteTableIds ?? []);
        await routeTo(record, input.AddRouteTableIds ?? []);
        await removeServiceInterfaces(
          network,
          call.account_id,
          record.id,
          input.RemoveSubnetIds ?? [],
        );
        if (record.shape.VpcEndpointType === "Gateway") return;
        const NetworkInterfaceIds = await interfacesIn(record, record.shape.SubnetIds ?? []);
        await records.change(endpoint, call.account_id, record.id, () => ({ NetworkInterfaceIds }));
      },
    }),
    DeleteVpcEndpoints: n.custom({
      run: (input, call) =>
        unsuccessful(input.VpcEndpointIds, async (id) => {
          const record = await records.require(endpoint, call.account_id, id);
          await unroute(record, record.shape.RouteTableIds ?? []);
          await removeServiceInterfaces(network, call.account_id, id, record.shape.SubnetIds ?? []);
          for (const one of records.find(notification, call.account_id, id)) {
            await records.remove(notification, call.account_id, one.id);
          }
          await records.change(endpoint, call.account_id, id, () => ({
            State: "Deleting",
            RouteTableIds: [],
            SubnetIds: [],
            NetworkInterfaceIds: [],
          }));
        }),
    }),
    DescribeVpcEndpointServices: n.custom({
      reads: true,
      run: (input, call) => {
        const all = details(call);
        const missing = input.ServiceNames?.find((name) =>
          !all.some((one) => one.ServiceName === name)
        );
        if (missing !== undefined) {
          throw new AwsError(
            "InvalidServiceName",
            `The Vpc Endpoint Service '${missing}' does not exist`,
          );
        }
        const matches = compileFilters<(typeof all)[number]>(input.Filters, {
          "owner": (one) => one.Owner,
          "service-name": (one) => one.ServiceName,
          "service-region": (one) => one.ServiceRegion,
          "service-type": (one) => one.ServiceType.map((type) => type.ServiceType),
          "supported-ip-address-types": (one) => one.SupportedIpAddressTypes,
        });
        const found = all.filter((one) =>
          matches(one) &&
          (input.ServiceNames === undefined || input.ServiceNames.includes(one.ServiceName))
        );
        const query = {
          account: call.account_id,
          action: "DescribeVpcEndpointServices",
          parameters: [input.ServiceNames, input.Filters],
        };
        const page = pageOf(
          found,
          (one) => one.ServiceName,
          query,
          pageSize(input.MaxResults, limits, false),
          input.NextToken,
        );
        return {
          ServiceNames: page.items.map((one) => one.ServiceName),
          ServiceDetails: page.items,
          ...(page.nextToken === undefined ? {} : { NextToken: page.nextToken }),
        };
      },
    }),

    CreateVpcEndpointServiceConfiguration: n.creates(endpointService, {
      id: () => newId("vpce-svc-"),
      without: ["SupportedRegions"],
      make: (input) => {
        exactlyOne(input, ["NetworkLoadBalancerArns", "GatewayLoadBalancerArns"]);
        const arns = input.NetworkLoadBalancerArns ?? input.GatewayLoadBalancerArns ?? [];
        const wrong = arns.find((one) =>
          !/^arn:aws:elasticloadbalancing:[\w-]+:\d{12}:loadbalancer\/(?:net|gwy)\//.test(one)
        );
        if (wrong !== undefined || arns.length === 0) {
          throw invalidParameter("loadBalancerArns", wrong, "Expected ARNs of load balancers.");
        }
        return {
          AcceptanceRequired: input.AcceptanceRequired ?? true,
          AvailabilityZones: [az],
          AvailabilityZoneIds: [zoneId(az)],
          ManagesVpcEndpoints: false,
          Principals: [],
          RemoteAccessEnabled: false,
          ServiceState: "Available",
          ServiceType: [{
            ServiceType: input.NetworkLoadBalancerArns === undefined
              ? "GatewayLoadBalancer"
              : "Interface",
          }],
          SupportedIpAddressTypes: input.SupportedIpAddressTypes ?? ["ipv4"],
          ...(input.PrivateDnsName === undefined ? {} : {
            PrivateDnsNameConfiguration: {
              State: "pendingVerification",
              Type: "TXT",
              Name: `_${crypto.randomUUID()}`,
              Value: `vpce:${crypto.randomUUID()}`,
            },
          }),
        };
      },
      after: async (record, _input, call) => {
        const ServiceName = `com.amazonaws.vpce.${region}.${record.id}`;
        if (record.shape.ServiceName === ServiceName) return;
        await records.change(endpointService, call.account_id, record.id, () => ({
          ServiceName,
          BaseEndpointDnsNames: [`${record.id}.${region}.vpce.internal`],
        }));
      },
      answer: (record, input) => ({
        ServiceConfiguration: records.show(endpointService, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeVpcEndpointServiceConfigurations: n.describes(endpointService, {
      list: "ServiceConfigurations",
      ids: "ServiceIds",
    }),
    ModifyVpcEndpointServiceConfiguration: n.changes(endpointService, {
      id: "ServiceId",
      change: ({ shape }, input) => ({
        ...pick(input, ["AcceptanceRequired"]),
        ...(input.RemovePrivateDnsName === true
          ? { PrivateDnsName: undefined, PrivateDnsNameConfiguration: undefined }
          : pick(input, ["PrivateDnsName"])),
        NetworkLoadBalancerArns: merged(
          shape.NetworkLoadBalancerArns,
          input.AddNetworkLoadBalancerArns,
          input.RemoveNetworkLoadBalancerArns,
        ),
        GatewayLoadBalancerArns: merged(
          shape.GatewayLoadBalancerArns,
          input.AddGatewayLoadBalancerArns,
          input.RemoveGatewayLoadBalancerArns,
        ),
        SupportedIpAddressTypes: merged(
          shape.SupportedIpAddressTypes,
          input.AddSupportedIpAddressTypes,
          input.RemoveSupportedIpAddressTypes,
        ),
      }),
    }),
    DeleteVpcEndpointServiceConfigurations: n.custom({
      run: (input, call) =>
        unsuccessful(input.ServiceIds, async (id) => {
          const record = await records.require(endpointService, call.account_id, id);
          if (
            records.findAnywhere(endpoint, record.shape.ServiceName ?? "").some((one) =>
              one.shape.State !== "Rejected"
            )
          ) {
            throw new AwsError(
              "ExistingVpcEndpointConnections",
              `Service ${id} has existing active VPC Endpoint connections.`,
            );
          }
          for (const one of records.find(notification, call.account_id, id)) {
            await records.remove(notification, call.account_id, one.id);
          }
          await records.remove(endpointService, call.account_id, id);
        }),
    }),
    DescribeVpcEndpointServicePermissions: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await records.require(endpointService, call.account_id, input.ServiceId);
        const matches = compileFilters<string>(input.Filters, {
          "principal": (one) => one,
          "principal-type": (one) => principalType(one),
        });
        const found = (record.shape.Principals ?? []).filter(matches);
        const query = {
          account: call.account_id,
          action: "DescribeVpcEndpointServicePermissions",
          parameters: [record.id, input.Filters],
        };
        const page = pageOf(
          found,
          (one) => one,
          query,
          pageSize(input.MaxResults, limits, false),
          input.NextToken,
        );
        return {
          AllowedPrincipals: await Promise.all(
            page.items.map((one) => showPrincipal(record.id, one)),
          ),
          ...(page.nextToken === undefined ? {} : { NextToken: page.nextToken }),
        };
      },
    }),
    ModifyVpcEndpointServicePermissions: n.custom({
      check: async (input, call) => {
        await requireService(input, call);
        for (
          const one of [...input.AddAllowedPrincipals ?? [], ...input.RemoveAllowedPrincipals ?? []]
        ) {
          if (one !== "*" && !/^arn:aws:iam::\d{12}:(?:root|user\/|role\/)/.test(one)) {
            throw new AwsError("InvalidPrincipal", `The principal '${one}' is not valid.`);
          }
        }
      },
      run: async (input, call) => {
        await records.change(endpointService, call.account_id, input.ServiceId, ({ shape }) => ({
          Principals: merged(
            shape.Principals,
            input.AddAllowedPrincipals,
            input.RemoveAllowedPrincipals,
          ),
        }));
        return {
          AddedPrincipals: await Promise.all(
            (input.AddAllowedPrincipals ?? []).map((one) => showPrincipal(input.ServiceId, one)),
          ),
          ReturnValue: true,
        };
      },
    }),
    ModifyVpcEndpointServicePayerResponsibility: n.changes(endpointService, {
      id: "ServiceId",
      change: (_record, input) => ({
        PayerResponsibility: oneOf(
          input.PayerResponsibility,
          ["ServiceOwner"],
          "payerResponsibility",
          "ServiceOwner",
        ),
      }),
      answer: () => ({ ReturnValue: true }),
    }),
    StartVpcEndpointServicePrivateDnsVerification: n.changes(endpointService, {
      id: "ServiceId",
      change: (record) => {
        if (record.shape.PrivateDnsNameConfiguration === undefined) {
          throw new AwsError("InvalidState", `The service '${record.id}' has no private DNS name.`);
        }
        // Without a resolver of the outside nobody can confirm the record.
        return {
          PrivateDnsNameConfiguration: {
            ...record.shape.PrivateDnsNameConfiguration,
            State: "failed",
          },
        };
      },
      answer: () => ({ ReturnValue: true }),
    }),
    DescribeVpcEndpointConnections: n.custom({
      reads: true,
      run: (input, call) => {
        const matches = compileFilters<EndpointRecord>(input.Filters, {
          "ip-address-type": (one) => one.shape.IpAddressType,
          "service-id": (one) => serviceOf(one)?.id,
          "vpc-endpoint-id": (one) => one.id,
          "vpc-endpoint-owner": (one) => one.account_id,
          "vpc-endpoint-state": (one) => one.shape.State,
        });
        const found = connectionsOf(call.account_id).filter(matches);
        const query = {
          account: call.account_id,
          action: "DescribeVpcEndpointConnections",
          parameters: input.Filters,
        };
        const page = pageOf(
          found,
          (one) => one.id,
          query,
          pageSize(input.MaxResults, limits, false),
          input.NextToken,
        );
        return {
          VpcEndpointConnections: page.items.map((one) => ({
            CreationTimestamp: one.created,
            DnsEntries: one.shape.DnsEntries,
            IpAddressType: one.shape.IpAddressType,
            NetworkLoadBalancerArns: serviceOf(one)?.shape.NetworkLoadBalancerArns,
            ServiceId: serviceOf(one)?.id,
            VpcEndpointConnectionId: one.id.replace("vpce-", "vpce-con-"),
            VpcEndpointId: one.id,
            VpcEndpointOwner: one.account_id,
            VpcEndpointRegion: region,
            VpcEndpointState: one.shape.State,
          })),
          ...(page.nextToken === undefined ? {} : { NextToken: page.nextToken }),
        };
      },
    }),
    AcceptVpcEndpointConnections: n.custom({
      check: requireService,
      run: (input, call) => decideOn(input, call, "Pending"),
    }),
    RejectVpcEndpointConnections: n.custom({
      check: requireService,
      run: (input, call) => decideOn(input, call, "Rejected"),
    }),

    CreateVpcEndpointConnectionNotification: n.creates(notification, {
      make: (input) => {
        exactlyOne(input, ["ServiceId", "VpcEndpointId"]);
        checkNotification(input.ConnectionNotificationArn, input.ConnectionEvents);
        return {
          ConnectionNotificationState: "Enabled",
          ConnectionNotificationType: "Topic",
          ServiceRegion: region,
        };
      },
      answer: (record, input) => ({
        ConnectionNotification: records.show(notification, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeVpcEndpointConnectionNotifications: n.describes(notification, {
      list: "ConnectionNotificationSet",
      where: (input) => (record) =>
        input.ConnectionNotificationId === undefined ||
        record.id === input.ConnectionNotificationId,
      before: async (input, call) => {
        if (input.ConnectionNotificationId === undefined) return;
        await records.require(notification, call.account_id, input.ConnectionNotificationId);
      },
    }),
    ModifyVpcEndpointConnectionNotification: n.changes(notification, {
      id: "ConnectionNotificationId",
      change: (record, input) => {
        checkNotification(
          input.ConnectionNotificationArn ?? record.shape.ConnectionNotificationArn ?? "",
          input.ConnectionEvents ?? record.shape.ConnectionEvents ?? [],
        );
        return { ...pick(input, ["ConnectionNotificationArn", "ConnectionEvents"]) } as Partial<
          Shape<Ec2.ConnectionNotification>
        >;
      },
      answer: () => ({ ReturnValue: true }),
    }),
    DeleteVpcEndpointConnectionNotifications: n.custom({
      run: (input, call) =>
        unsuccessful(input.ConnectionNotificationIds, async (id) => {
          await records.require(notification, call.account_id, id);
          await records.remove(notification, call.account_id, id);
        }),
    }),
    DescribeVpcEndpointAssociations: n.custom({
      reads: true,
      run: async (input, call) => {
        const ids = input.VpcEndpointIds ?? [];
        for (const id of ids) await records.require(endpoint, call.account_id, id);
        const page = await records.of(endpoint).describe({
          action: "DescribeVpcEndpointAssociations",
          ids,
          filters: input.Filters,
          maxResults: input.MaxResults,
          nextToken: input.NextToken,
          attributes: {
            "vpc-endpoint-id": (one) => one.id,
            "associated-resource-accessibility": () => "accessible",
            "association-id": (one) => one.id.replace("vpce-", "vpce-rsc-asc-"),
            "associated-resource-id": (one) => one.shape.ResourceConfigurationArn,
            "service-network-arn": (one) => one.shape.ServiceNetworkArn,
            "resource-configuration-group-arn": () => undefined,
            "service-network-resource-association-id": () => undefined,
          },
          // Only endpoints to resources and service networks have associations.
          where: (one) =>
            one.shape.ResourceConfigurationArn !== undefined ||
            one.shape.ServiceNetworkArn !== undefined,
        }, call);
        return {
          VpcEndpointAssociations: page.records.map((one) => ({
            Id: one.id.replace("vpce-", "vpce-rsc-asc-"),
            VpcEndpointId: one.id,
            AssociatedResourceAccessibility: "accessible",
            AssociatedResourceArn: one.shape.ResourceConfigurationArn,
            ServiceNetworkArn: one.shape.ServiceNetworkArn,
          })),
          ...(page.nextToken === undefined ? {} : { NextToken: page.nextToken }),
        };
      },
    }),
  } satisfies ActionTable;

  function serviceOf(record: EndpointRecord): ServiceRecord | undefined {
    return records.findAnywhere(endpointService, record.shape.ServiceName ?? "")[0];
  }
};

function checkNotification(arn: string, chosen: readonly string[]): void {
  if (!/^arn:aws:sns:[\w-]+:\d{12}:[\w-]{1,256}$/.test(arn)) {
    throw invalidParameter("connectionNotificationArn", arn, "Expected the ARN of a topic.");
  }
  const wrong = chosen.find((one) => !events.includes(one));
  if (wrong !== undefined || chosen.length === 0) {
    throw invalidParameter("connectionEvents", wrong, `Expected some of ${events.join(", ")}.`);
  }
}

const principalType = (one: string) =>
  one === "*"
    ? "All"
    : one.endsWith(":root")
    ? "Account"
    : one.includes(":role/")
    ? "Role"
    : "User";

const showPrincipal = async (ServiceId: string, Principal: string) => ({
  Principal,
  PrincipalType: principalType(Principal),
  ServiceId,
  ServicePermissionId: await idOf("vpce-svc-perm-", ServiceId, Principal),
});
