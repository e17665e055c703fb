/** EC2 Instance Connect endpoints: a way into a VPC through an interface in one of its subnets. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { missingParameter } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { KindRecord } from "../../resources/kind.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { checkGroups, makeServiceInterface, removeServiceInterfaces } from "./new_interfaces.ts";
import { connectEndpoint } from "../kinds/connect_endpoints.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { subnet } from "../kinds/subnets.ts";
import { arn, type Network, oneOf, pick } from "../network.ts";

export const connectEndpointActions = (network: Network) => {
  const { operations: n, records, region, az } = network;
  return {
    CreateInstanceConnectEndpoint: n.creates(connectEndpoint, {
      id: () => newId("eice-"),
      make: async (input, call) => {
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        await checkGroups(records, call.account_id, of.shape.VpcId, input.SecurityGroupIds ?? []);
        const inVpc = [...records.all(connectEndpoint, call.account_id)]
          .some((one) => one.shape.VpcId === of.shape.VpcId);
        if (inVpc) {
          throw new AwsError(
            "InstanceConnectEndpointLimitExceeded",
            `${of.shape.VpcId} has an endpoint already.`,
          );
        }
        return {
          AvailabilityZone: of.shape.AvailabilityZone ?? az,
          CreatedAt: new Date().toISOString(),
          IpAddressType: input.IpAddressType ?? "ipv4",
          NetworkInterfaceIds: [],
          PreserveClientIp: input.PreserveClientIp ?? false,
          SecurityGroupIds: input.SecurityGroupIds ??
            [(of.shape.VpcId ?? "").replace("vpc-", "sg-")],
          State: "create-in-progress",
          StateMessage: "",
          VpcId: of.shape.VpcId,
        };
      },
      after: async (record, input, call) => {
        const eni = await makeServiceInterface(
          network,
          call.account_id,
          record.id,
          input.SubnetId,
          {
            groups: record.shape.SecurityGroupIds ?? [],
            description: `EC2 Instance Connect Endpoint ${record.id}`,
            type: "interface",
          },
        );
        await records.change(connectEndpoint, call.account_id, record.id, () => ({
          DnsName: `${record.id}.ec2-instance-connect-endpoint.${region}.internal`,
          InstanceConnectEndpointArn: arn(
            region,
            call.account_id,
            "instance-connect-endpoint",
            record.id,
          ),
          NetworkInterfaceIds: [eni.id],
        }));
      },
      answer: (record, input) => ({
        InstanceConnectEndpoint: records.show(connectEndpoint, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeInstanceConnectEndpoints: n.describes(connectEndpoint, {
      list: "InstanceConnectEndpoints",
      ids: "InstanceConnectEndpointIds",
    }),
    ModifyInstanceConnectEndpoint: n.changes(connectEndpoint, {
      id: "InstanceConnectEndpointId",
      change: async (record, input, call) => {
        await checkGroups(
          records,
          call.account_id,
          record.shape.VpcId,
          input.SecurityGroupIds ?? [],
        );
        if (input.SecurityGroupIds?.length === 0) throw missingParameter("securityGroupIds");
        return {
          ...pick(input, ["SecurityGroupIds", "PreserveClientIp"]) as Partial<
            Pick<
              KindRecord<Shape<Ec2.Ec2InstanceConnectEndpoint>>["shape"],
              "SecurityGroupIds" | "PreserveClientIp"
            >
          >,
          IpAddressType: oneOf(
            input.IpAddressType,
            ["ipv4", "dualstack", "ipv6"],
            "ipAddressType",
            "ipv4",
          ),
          State: "update-in-progress",
        };
      },
      after: async (record, input, call) => {
        if (input.SecurityGroupIds === undefined) return;
        for (const id of record.shape.NetworkInterfaceIds ?? []) {
          await records.change(networkInterface, call.account_id, id, () => ({
            Groups: (input.SecurityGroupIds ?? []).map((GroupId) => ({ GroupId, GroupName: "" })),
          }));
        }
      },
    }),
    DeleteInstanceConnectEndpoint: n.deletes(connectEndpoint, {
      id: "InstanceConnectEndpointId",
      before: async (record, _input, call) => {
        await removeServiceInterfaces(network, call.account_id, record.id, [
          record.shape.SubnetId ?? "",
        ]);
      },
      passing: () => ({ State: "delete-in-progress", SecurityGroupIds: [] }),
      answer: "InstanceConnectEndpoint",
    }),
  } satisfies ActionTable;
};
