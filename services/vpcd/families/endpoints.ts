/** VPC endpoints: gateways and interfaces of a VPC that lead to a service. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import type { Kind } from "../../resources/kind.ts";
import { cloudServices, offeredTo } from "./endpoint_services.ts";
import { checkGroups, makeServiceInterface, removeServiceInterfaces } from "./new_interfaces.ts";
import { endpoint, type EndpointRecord, notification } from "../kinds/endpoints.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { cloudListId } from "../kinds/prefix_lists.ts";
import { routeTable } from "../kinds/route_tables.ts";
import { subnet } from "../kinds/subnets.ts";
import { merged, type Network, oneOf, pick, unsuccessful } from "../network.ts";
import { addRoute } from "./routes.ts";

const fullPolicy = JSON.stringify({
  Version: "2008-10-17",
  Statement: [{ Effect: "Allow", Principal: "*", Action: "*", Resource: "*" }],
});

/** Characters that EC2 takes. */
const longestPolicy = 20_480;

function checkPolicy(text: string | undefined): string {
  if (text === undefined) return fullPolicy;
  try {
    const parsed: unknown = text.length > longestPolicy ? undefined : JSON.parse(text);
    if (parsed !== null && typeof parsed === "object" && "Statement" in parsed) return text;
  } catch {
    // Said below, in EC2's words.
  }
  throw new AwsError("InvalidPolicyDocument", "The policy is not a JSON document with statements.");
}

export const endpointActions = (network: Network) => {
  const { operations: n, records, region } = network;
  /** A gateway endpoint is a route to the service's prefix list in each of its tables. */
  const routeTo = async (record: EndpointRecord, tables: readonly string[]) => {
    for (const one of tables) {
      await addRoute(records, record.account_id, one, {
        DestinationPrefixListId: cloudListId,
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
  /** What an endpoint of that type may lie in, which is in its VPC. @throws AwsError */
  const checkMembers = async (
    type: string,
    vpcId: string,
    members: {
      readonly subnets: readonly string[] | undefined;
      readonly tables: readonly string[] | undefined;
      readonly groups: readonly string[] | undefined;
    },
    call: Call,
  ) => {
    const { subnets = [], tables = [], groups = [] } = members;
    if (type === "Gateway" && subnets.length + groups.length > 0) {
      throw invalidParameter("subnetIds", subnets, "A gateway endpoint lies in route tables.");
    }
    if (type !== "Gateway" && tables.length > 0) {
      throw invalidParameter(
        "routeTableIds",
        tables,
        "Only a gateway endpoint lies in route tables.",
      );
    }
    for (
      const [name, one, ids] of [
        ["subnetIds", subnet, subnets],
        ["routeTableIds", routeTable, tables],
      ] as const
    ) {
      for (const id of ids) {
        const of = await records.require(one as Kind<{ VpcId?: string }>, call.account_id, id);
        if (of.shape.VpcId !== vpcId) throw invalidParameter(name, id, `It is not in ${vpcId}.`);
      }
    }
    await checkGroups(records, call.account_id, vpcId, groups);
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
        const mine = cloudServices(region).find((one) => one.ServiceName === name);
        const theirs = mine === undefined ? offeredTo(records, name, call.account_id) : undefined;
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
        await checkMembers(type, input.VpcId, {
          subnets: input.SubnetIds,
          tables: input.RouteTableIds,
          groups: input.SecurityGroupIds,
        }, call);
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
      completes: async (record) => {
        await routeTo(record, record.shape.RouteTableIds ?? []);
        const subnets = record.shape.SubnetIds ?? [];
        if (subnets.length === 0 || (record.shape.NetworkInterfaceIds ?? []).length > 0) return;
        const NetworkInterfaceIds = await interfacesIn(record, subnets);
        const service = record.shape.ServiceName?.split(".").at(-1);
        await records.change(endpoint, record.account_id, record.id, () => ({
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
        await checkMembers(record.shape.VpcEndpointType ?? "Gateway", record.shape.VpcId ?? "", {
          subnets: input.AddSubnetIds,
          tables: input.AddRouteTableIds,
          groups: input.AddSecurityGroupIds,
        }, call);
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
        const Groups = groupsOf((record.shape.Groups ?? []).flatMap((one) => one.GroupId ?? []));
        for (const id of NetworkInterfaceIds) {
          await records.change(networkInterface, call.account_id, id, () => ({ Groups }));
        }
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
    DescribeVpcEndpointAssociations: n.custom({
      reads: true,
      run: async (input, call) => {
        const ids = input.VpcEndpointIds ?? [];
        for (const id of ids) await records.require(endpoint, call.account_id, id);
        const page = await records.of(endpoint).describe({
          action: "DescribeVpcEndpointAssociations",
          ids,
          filters: input.Filters,
          page: input,
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
          NextToken: page.nextToken,
        };
      },
    }),
  } satisfies ActionTable;
};
