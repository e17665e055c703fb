/** NAT gateways: an interface in a subnet, public ones with elastic addresses. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidCombination, invalidParameter, missingParameter } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import { lead, leadingTo, letGo } from "./address_associations.ts";
import {
  checkAddress,
  freeAddresses,
  privateAddress,
  requireDistinct,
} from "./interface_addresses.ts";
import { interfaceShape } from "./new_interfaces.ts";
import { type AddressRecord, elasticAddress } from "../kinds/elastic_addresses.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { natGateway, type NatRecord } from "../kinds/nat_gateways.ts";
import { subnet } from "../kinds/subnets.ts";
import { type Network, oneOf, within } from "../network.ts";

type NatAddress = Shape<Ec2.NatGatewayAddress>;

const mostNatAddresses = 50;

/** What a gateway shows of the elastic address that leads to one of its own. */
const associated = (address: AddressRecord | undefined) =>
  address === undefined ? {} : {
    AllocationId: address.id,
    AssociationId: newId("eipassoc-"),
    PublicIp: address.shape.PublicIp,
  };

function requireDistinctAllocations(ids: readonly string[]): void {
  if (new Set(ids).size === ids.length) return;
  throw invalidParameter("allocationIds", ids.join(","), "The same one is given more than once.");
}

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
        ...associated(address),
        IsPrimary: (record.shape.NatGatewayAddresses ?? []).length === 0 && at === 0,
        NetworkInterfaceId: eniOf(record),
        PrivateIp,
        Status: "succeeded",
      });
    }
    return made;
  };
  /** The interface has the gateway's addresses, and the elastic ones lead to them and nowhere else. */
  const syncInterface = async (record: NatRecord) => {
    const account = record.account_id;
    const addresses = record.shape.NatGatewayAddresses ?? [];
    for (const led of leadingTo(records, account, eniOf(record))) {
      if (!addresses.some((one) => one.AllocationId === led.id)) await letGo(records, led);
    }
    const eni = await records.change(networkInterface, account, eniOf(record), ({ shape }) => ({
      PrivateIpAddresses: addresses.map((one) => ({
        ...shape.PrivateIpAddresses?.find((had) => had.PrivateIpAddress === one.PrivateIp),
        ...privateAddress(region, one.PrivateIp ?? "", one.IsPrimary === true),
      })),
    }));
    for (const one of addresses) {
      if (one.AllocationId === undefined) continue;
      const address = await records.require(elasticAddress, account, one.AllocationId);
      await lead(records, address, eni, one.PrivateIp ?? "", one.AssociationId);
    }
  };
  /** Private addresses for the gateway: those that are wanted, or as many as are needed. */
  const choose = async (
    record: NatRecord,
    wanted: readonly string[] | undefined,
    count: number,
  ): Promise<readonly string[]> => {
    const of = await records.require(subnet, record.account_id, record.shape.SubnetId ?? "");
    if (wanted === undefined || wanted.length === 0) return freeAddresses(records, of, count);
    requireDistinct(wanted);
    for (const address of wanted) checkAddress(records, of, address);
    return wanted;
  };
  const requireFew = (addresses: NatAddress[]) => {
    if (addresses.length <= mostNatAddresses) return addresses;
    throw new AwsError(
      "NatGatewayLimitExceeded",
      `A NAT gateway may have ${mostNatAddresses} addresses.`,
    );
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
          const allocations = [input.AllocationId, ...input.SecondaryAllocationIds ?? []];
          requireDistinctAllocations(allocations);
          for (const id of allocations) await checkAllocation(id, call);
        }
        // Decides whether the addresses may be had; they are taken in `after`.
        const shape = interfaceShape(network, {
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
                ...associated(address),
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
      completes: async (record) => {
        const account = record.account_id;
        const of = await records.require(subnet, account, record.shape.SubnetId ?? "");
        const addresses = record.shape.NatGatewayAddresses ?? [];
        if (records.get(networkInterface, account, eniOf(record)) !== undefined) {
          return await syncInterface(record);
        }
        const shape = interfaceShape(network, {
          subnet: of,
          groups: [],
          description: `Interface for NAT Gateway ${record.id}`,
          primary: addresses[0]?.PrivateIp,
          secondary: addresses.slice(1).flatMap((one) => one.PrivateIp ?? []),
          type: "nat_gateway",
        });
        await records.create(networkInterface, account, {
          ...shape,
          RequesterManaged: true,
          Status: "in-use",
        }, { id: eniOf(record) });
        await syncInterface(record);
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
        for (const led of leadingTo(records, call.account_id, eniOf(record))) {
          await letGo(records, led);
        }
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
        const { AllocationIds, PrivateIpAddresses } = input;
        const addresses = await choose(record, PrivateIpAddresses, AllocationIds.length);
        if (addresses.length !== AllocationIds.length) {
          throw invalidParameter(
            "privateIpAddresses",
            addresses.join(","),
            "Expected one for each allocation id.",
          );
        }
        requireDistinctAllocations(AllocationIds);
        const added = await addAddresses(record, addresses, AllocationIds, call);
        const present = record.shape.NatGatewayAddresses ?? [];
        return { NatGatewayAddresses: requireFew([...present, ...added]) };
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
        const addresses = await choose(record, input.PrivateIpAddresses, count);
        const added = await addAddresses(record, addresses, [], call);
        const present = record.shape.NatGatewayAddresses ?? [];
        return { NatGatewayAddresses: requireFew([...present, ...added]) };
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
