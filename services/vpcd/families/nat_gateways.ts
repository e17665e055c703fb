/** NAT gateways: an interface in a subnet, public ones with elastic addresses. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { freeAddresses, privateAddress } from "./interface_addresses.ts";
import { interfaceShape } from "./interfaces.ts";
import { elasticAddress } from "../kinds/elastic_addresses.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { natGateway, type NatRecord } from "../kinds/nat_gateways.ts";
import { subnet } from "../kinds/subnets.ts";
import { type Network, oneOf, within } from "../network.ts";

type NatAddress = Shape<Ec2.NatGatewayAddress>;

export const natGatewayActions = (network: Network) => {
  const { operations: n, records, region } = network;
  const checkAllocation = async (id: string, call: Call) => {
    const address = await records.require(elasticAddress, call.account_id, id);
    if (address.shape.AssociationId !== undefined) {
      throw new AwsError(
        "Resource.AlreadyAssociated",
        `resource ${id} is already associated with associate-id ${address.shape.AssociationId}`,
      );
    }
    const [other] = records.find(natGateway, call.account_id, id);
    if (other !== undefined) {
      throw new AwsError("Resource.AlreadyAssociated", `${id} is used by ${other.id}`);
    }
    return address;
  };
  const eniOf = (record: NatRecord) =>
    record.shape.NatGatewayAddresses?.[0]?.NetworkInterfaceId ?? "";
  const addAddresses = async (
    record: NatRecord,
    addresses: readonly string[],
    allocations: readonly string[],
    call: Call,
  ): Promise<NatAddress[]> => {
    const made: NatAddress[] = [];
    for (const [at, PrivateIp] of addresses.entries()) {
      const id = allocations[at];
      const address = id === undefined ? undefined : await checkAllocation(id, call);
      made.push({
        ...(address === undefined ? {} : {
          AllocationId: address.id,
          AssociationId: newId("eipassoc-"),
          PublicIp: address.shape.PublicIp,
        }),
        IsPrimary: (record.shape.NatGatewayAddresses ?? []).length === 0 && at === 0,
        NetworkInterfaceId: eniOf(record),
        PrivateIp,
        Status: "succeeded",
      });
    }
    return made;
  };
  /** The interface holds the addresses that the gateway has. */
  const syncInterface = async (record: NatRecord) => {
    const addresses = record.shape.NatGatewayAddresses ?? [];
    await records.change(networkInterface, record.account_id, eniOf(record), () => ({
      PrivateIpAddresses: addresses.map((one) =>
        privateAddress(region, one.PrivateIp ?? "", one.IsPrimary === true)
      ),
    }));
  };
  const free = async (record: NatRecord, wanted: readonly string[], count: number) => {
    if (wanted.length > 0) return [...wanted];
    const of = await records.require(subnet, record.account_id, record.shape.SubnetId ?? "");
    return freeAddresses(records, of, count);
  };
  const answer = (record: NatRecord) => ({
    NatGatewayId: record.id,
    NatGatewayAddresses: record.shape.NatGatewayAddresses ?? [],
  });
  return {
    CreateNatGateway: n.creates(natGateway, {
      without: [
        "AllocationId",
        "SecondaryAllocationIds",
        "SecondaryPrivateIpAddresses",
        "PrivateIpAddress",
        "SecondaryPrivateIpAddressCount",
      ],
      make: async (input, call) => {
        const type = oneOf(
          input.ConnectivityType,
          ["public", "private"],
          "connectivityType",
          "public",
        );
        if (input.SubnetId === undefined) throw missingParameter("subnetId");
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        if (type === "private" && input.AllocationId !== undefined) {
          throw invalidCombination("A private NAT gateway has no allocation id.");
        }
        if (type === "public") {
          if (input.AllocationId === undefined) throw missingParameter("allocationId");
          for (const id of [input.AllocationId, ...input.SecondaryAllocationIds ?? []]) {
            await checkAllocation(id, call);
          }
        }
        // Decides whether the addresses may be had; they are taken in `after`.
        const shape = interfaceShape(network, call.account_id, {
          subnet: of,
          groups: [],
          description: "",
          primary: input.PrivateIpAddress,
          secondary: input.SecondaryPrivateIpAddresses ?? [],
          secondaryCount: input.SecondaryPrivateIpAddressCount ??
            (input.SecondaryPrivateIpAddresses === undefined
              ? input.SecondaryAllocationIds?.length ?? 0
              : 0),
        });
        const ids = [input.AllocationId, ...input.SecondaryAllocationIds ?? []];
        const eni = newId("eni-");
        return {
          ConnectivityType: type,
          CreateTime: new Date().toISOString(),
          NatGatewayAddresses: await Promise.all(
            (shape.PrivateIpAddresses ?? []).map(async (one, at): Promise<NatAddress> => {
              const id = ids[at];
              const address = id === undefined
                ? undefined
                : await records.require(elasticAddress, call.account_id, id);
              return {
                ...(address === undefined ? {} : {
                  AllocationId: address.id,
                  AssociationId: newId("eipassoc-"),
                  PublicIp: address.shape.PublicIp,
                }),
                IsPrimary: one.Primary,
                NetworkInterfaceId: eni,
                PrivateIp: one.PrivateIpAddress,
                Status: "succeeded",
              };
            }),
          ),
          State: "pending",
          VpcId: of.shape.VpcId,
        };
      },
      after: async (record, _input, call) => {
        const of = await records.require(subnet, call.account_id, record.shape.SubnetId ?? "");
        const addresses = record.shape.NatGatewayAddresses ?? [];
        if (records.get(networkInterface, call.account_id, eniOf(record)) !== undefined) return;
        const shape = interfaceShape(network, call.account_id, {
          subnet: of,
          groups: [],
          description: `Interface for NAT Gateway ${record.id}`,
          primary: addresses[0]?.PrivateIp,
          secondary: addresses.slice(1).flatMap((one) => one.PrivateIp ?? []),
          type: "nat_gateway",
        });
        await records.create(networkInterface, call.account_id, {
          ...shape,
          RequesterManaged: true,
          Status: "in-use",
        }, { id: eniOf(record) });
      },
      answer: (record, input) => ({
        NatGateway: records.show(natGateway, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeNatGateways: n.describes(natGateway, { list: "NatGateways", ids: "NatGatewayIds" }),
    DeleteNatGateway: n.deletes(natGateway, {
      id: "NatGatewayId",
      passing: () => ({ State: "deleting", DeleteTime: new Date().toISOString() }),
      before: async (record, _input, call) => {
        await records.remove(networkInterface, call.account_id, eniOf(record));
      },
      answer: ([record]) => ({ NatGatewayId: record?.id }),
    }),
    AssociateNatGatewayAddress: n.changes(natGateway, {
      id: "NatGatewayId",
      change: async (record, input, call) => {
        if (record.shape.ConnectivityType !== "public") {
          throw invalidParameter("natGatewayId", record.id, "It is a private NAT gateway.");
        }
        const addresses = await free(
          record,
          input.PrivateIpAddresses ?? [],
          input.AllocationIds.length,
        );
        const added = await addAddresses(record, addresses, input.AllocationIds, call);
        return { NatGatewayAddresses: [...record.shape.NatGatewayAddresses ?? [], ...added] };
      },
      after: syncInterface,
      answer,
    }),
    DisassociateNatGatewayAddress: n.changes(natGateway, {
      id: "NatGatewayId",
      change: (record, input) => {
        const present = record.shape.NatGatewayAddresses ?? [];
        for (const id of input.AssociationIds) {
          const found = present.find((one) => one.AssociationId === id);
          if (found === undefined || found.IsPrimary === true) {
            throw new AwsError(
              "InvalidAssociationID.NotFound",
              `The association ID '${id}' does not exist or is the primary one.`,
            );
          }
        }
        return {
          NatGatewayAddresses: present.filter((one) =>
            !input.AssociationIds.includes(one.AssociationId ?? "")
          ),
        };
      },
      after: syncInterface,
      answer,
    }),
    AssignPrivateNatGatewayAddress: n.changes(natGateway, {
      id: "NatGatewayId",
      change: async (record, input, call) => {
        if (record.shape.ConnectivityType !== "private") {
          throw invalidParameter("natGatewayId", record.id, "It is a public NAT gateway.");
        }
        const count = within(input.PrivateIpAddressCount ?? 1, 1, 31, "privateIpAddressCount");
        const addresses = await free(record, input.PrivateIpAddresses ?? [], count);
        const added = await addAddresses(record, addresses, [], call);
        return { NatGatewayAddresses: [...record.shape.NatGatewayAddresses ?? [], ...added] };
      },
      after: syncInterface,
      answer,
    }),
    UnassignPrivateNatGatewayAddress: n.changes(natGateway, {
      id: "NatGatewayId",
      change: (record, input) => {
        const present = record.shape.NatGatewayAddresses ?? [];
        for (const address of input.PrivateIpAddresses) {
          const found = present.find((one) => one.PrivateIp === address);
          if (found === undefined || found.IsPrimary === true) {
            throw invalidParameter("privateIpAddresses", address, "It is not a secondary address.");
          }
        }
        return {
          NatGatewayAddresses: present.filter((one) =>
            !input.PrivateIpAddresses.includes(one.PrivateIp ?? "")
          ),
        };
      },
      after: syncInterface,
      answer,
    }),
  } satisfies ActionTable;
};
