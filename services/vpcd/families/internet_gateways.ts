/** Internet, egress-only and carrier gateways. A VPC has at most one internet gateway. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { elasticAddress } from "../kinds/elastic_addresses.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { carrierGateway, egressOnlyGateway, internetGateway } from "../kinds/internet_gateways.ts";
import { vpc } from "../kinds/vpcs.ts";
import type { Network } from "../network.ts";

export const internetGatewayActions = ({ operations: n, records }: Network) => ({
  CreateInternetGateway: n.creates(internetGateway, {
    answer: "InternetGateway",
    make: () => ({ Attachments: [] }),
  }),
  DescribeInternetGateways: n.describes(internetGateway, {
    list: "InternetGateways",
    ids: "InternetGatewayIds",
  }),
  DeleteInternetGateway: n.deletes(internetGateway, {
    id: "InternetGatewayId",
    refuse: (record) => {
      if ((record.shape.Attachments ?? []).length > 0) {
        throw new AwsError(
          "DependencyViolation",
          `The internetGateway '${record.id}' has dependencies and cannot be deleted.`,
        );
      }
    },
  }),
  AttachInternetGateway: n.changes(internetGateway, {
    id: "InternetGatewayId",
    change: async (record, input, call) => {
      const of = await records.require(vpc, call.account_id, input.VpcId);
      const attached = record.shape.Attachments?.[0];
      if (attached !== undefined) {
        throw new AwsError(
          "Resource.AlreadyAssociated",
          `resource ${record.id} is already attached to network ${attached.VpcId}`,
        );
      }
      const [other] = records.find(internetGateway, call.account_id, of.id);
      if (other !== undefined) {
        throw new AwsError(
          "InvalidParameterValue",
          `Network ${of.id} already has an internet gateway attached`,
        );
      }
      return { Attachments: [{ State: "available", VpcId: of.id }] };
    },
  }),
  DetachInternetGateway: n.changes(internetGateway, {
    id: "InternetGatewayId",
    change: async (record, input, call) => {
      await records.require(vpc, call.account_id, input.VpcId);
      if (!record.shape.Attachments?.some((one) => one.VpcId === input.VpcId)) {
        throw new AwsError(
          "Gateway.NotAttached",
          `resource ${record.id} is not attached to network ${input.VpcId}`,
        );
      }
      for (const address of records.all(elasticAddress, call.account_id)) {
        const eni = address.shape.NetworkInterfaceId;
        const where = eni === undefined
          ? undefined
          : records.get(networkInterface, call.account_id, eni)?.shape.VpcId;
        if (where === input.VpcId) {
          throw new AwsError(
            "DependencyViolation",
            `Network ${input.VpcId} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.`,
          );
        }
      }
      return { Attachments: [] };
    },
  }),

  CreateEgressOnlyInternetGateway: n.creates(egressOnlyGateway, {
    without: ["VpcId"],
    make: (input) => ({ Attachments: [{ State: "attached", VpcId: input.VpcId }] }),
    answer: (record, input) => ({
      EgressOnlyInternetGateway: records.show(egressOnlyGateway, record),
      ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
    }),
  }),
  DescribeEgressOnlyInternetGateways: n.describes(egressOnlyGateway, {
    list: "EgressOnlyInternetGateways",
    ids: "EgressOnlyInternetGatewayIds",
  }),
  DeleteEgressOnlyInternetGateway: n.deletes(egressOnlyGateway, {
    id: "EgressOnlyInternetGatewayId",
    answer: () => ({ ReturnCode: true }),
  }),

  CreateCarrierGateway: n.creates(carrierGateway, {
    answer: "CarrierGateway",
    make: () => ({ State: "pending" }),
  }),
  DescribeCarrierGateways: n.describes(carrierGateway, {
    list: "CarrierGateways",
    ids: "CarrierGatewayIds",
  }),
  DeleteCarrierGateway: n.deletes(carrierGateway, {
    id: "CarrierGatewayId",
    passing: () => ({ State: "deleting" }),
    answer: "CarrierGateway",
  }),
} satisfies ActionTable);
