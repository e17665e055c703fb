/** Internet, egress-only and carrier gateways. A VPC has at most one internet gateway. */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable } from "../resources/actions.ts";
import { kind } from "../resources/kind.ts";
import type { Ec2, Shape } from "../resources/wire.ts";
import { mostVpcs } from "./contract.ts";
import type { Network } from "./network.ts";
import { elasticAddress } from "./elastic_addresses.ts";
import { networkInterface } from "./interfaces.ts";
import { vpc } from "./vpcs.ts";

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
