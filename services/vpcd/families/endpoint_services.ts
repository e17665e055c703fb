/**
 * Endpoint services: this cloud's own S3 and EC2, and what accounts offer to others, with who may
 * connect to it.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { compileFilters } from "../../resources/filters.ts";
import { idOf, newId } from "../../resources/ids.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Records } from "../../resources/records.ts";
import { zoneId } from "../../resources/zone_names.ts";
import { endpoint, endpointService, notification, type ServiceRecord } from "../kinds/endpoints.ts";
import { exactlyOne, merged, type Network, oneOf, pick, unsuccessful } from "../network.ts";

/** Services of the cloud itself. */
export const cloudServices = (region: string) => [
  { ServiceName: `com.amazonaws.${region}.s3`, types: ["Gateway", "Interface"] },
  { ServiceName: `com.amazonaws.${region}.ec2`, types: ["Interface"] },
  { ServiceName: `com.amazonaws.${region}.ebs`, types: ["Interface"] },
  { ServiceName: `com.amazonaws.${region}.sts`, types: ["Interface"] },
];

/** The service of an account that has this name and that the caller may connect to. */
export const offeredTo = (
  records: Records,
  name: string,
  account: string,
): ServiceRecord | undefined =>
  records.findAnywhere(endpointService, name).find((one) =>
    one.account_id === account ||
    one.shape.Principals?.some((principal) =>
      principal === "*" || principal.split(":")[4] === account
    )
  );

export const endpointServiceActions = ({ operations: n, records, region, az }: Network) => {
  const details = (call: Call) => {
    const mine = cloudServices(region).map(({ ServiceName, types }) => ({
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
      offeredTo(records, one.shape.ServiceName ?? "", call.account_id)?.id === one.id
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
  const requireService = async (input: { readonly ServiceId: string }, call: Call) => {
    await records.require(endpointService, call.account_id, input.ServiceId);
  };
  return {
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
        const page = pageOf(found, (one) => one.ServiceName, {
          action: "DescribeVpcEndpointServices",
          input,
          call,
        });
        return {
          ServiceNames: page.items.map((one) => one.ServiceName),
          ServiceDetails: page.items,
          NextToken: page.nextToken,
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
        const page = pageOf(found, (one) => one, {
          action: "DescribeVpcEndpointServicePermissions",
          input,
          call,
        });
        return {
          AllowedPrincipals: await Promise.all(
            page.items.map((one) => showPrincipal(record.id, one)),
          ),
          NextToken: page.nextToken,
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
  } satisfies ActionTable;
};

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
