/**
 * Elastic IP addresses: allocated, associated, let go. Without a pool of the account's own they
 * come from 100.64.0.0/10, the shared address space, in which an operator may route them.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { holds, parseAddress, parseBlock, showAddress, sizeOf } from "../../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import { type AddressRecord, elasticAddress, publicPool } from "../kinds/elastic_addresses.ts";
import { type InterfaceRecord, networkInterface } from "../kinds/interfaces.ts";
import { given, type Network, oneOf } from "../network.ts";
import { lead, letGo, refuseManaged } from "./address_associations.ts";
import { ofInstance } from "./interfaces.ts";
import { ranges } from "./public_pools.ts";

const shared = parseBlock("100.64.0.0/10")!;

export const elasticAddressActions = ({ operations: n, records, region }: Network) => {
  const isFree = (address: string) => records.findAnywhere(elasticAddress, address).length === 0;
  const choose = (call: Call, pool: string | undefined, wanted: string | undefined): string => {
    const own = pool === undefined || pool === "amazon"
      ? undefined
      : records.get(publicPool, call.account_id, pool);
    if (own === undefined && pool !== undefined && pool !== "amazon") {
      throw new AwsError(
        "InvalidPublicIpv4PoolID.NotFound",
        `The pool ID '${pool}' does not exist.`,
      );
    }
    const blocks = own === undefined ? [shared] : ranges(own);
    if (wanted !== undefined) {
      const parsed = parseAddress(wanted);
      if (
        parsed === undefined || !blocks.some((block) => holds(block, parsed)) || !isFree(wanted)
      ) {
        throw new AwsError("InvalidAddress.NotFound", `Address '${wanted}' not found.`);
      }
      return wanted;
    }
    for (const block of blocks) {
      const size = Number(sizeOf(block));
      const start = (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % size;
      for (let step = 0; step < Math.min(size, 100_000); step++) {
        const address = showAddress(4, block.base + BigInt((start + step) % size));
        if (isFree(address)) return address;
      }
    }
    throw new AwsError("InsufficientAddressCapacity", "The pool has no free address left.");
  };
  const named = async (
    input: { readonly AllocationId?: string | undefined; readonly PublicIp?: string | undefined },
    call: Call,
  ): Promise<AddressRecord> => {
    if (input.AllocationId !== undefined) {
      return await records.require(elasticAddress, call.account_id, input.AllocationId);
    }
    if (input.PublicIp === undefined) throw missingParameter("allocationId");
    const found = records.findAnywhere(elasticAddress, input.PublicIp)
      .find((one) => one.account_id === call.account_id);
    if (found === undefined) {
      throw new AwsError("InvalidAddress.NotFound", `Address '${input.PublicIp}' not found.`);
    }
    return found;
  };
  const associated = (id: string, call: Call): AddressRecord | undefined =>
    records.findAt(elasticAddress, call.account_id, "AssociationId", id)[0];
  const show = (record: AddressRecord) => records.show(elasticAddress, record);
  const interfaceOf = async (
    input: {
      readonly NetworkInterfaceId?: string | undefined;
      readonly InstanceId?: string | undefined;
    },
    call: Call,
  ): Promise<InterfaceRecord> => {
    if (input.NetworkInterfaceId !== undefined) {
      return await records.require(networkInterface, call.account_id, input.NetworkInterfaceId);
    }
    const id = given(input.InstanceId, "instanceId or networkInterfaceId");
    const [eni] = ofInstance(records, call.account_id, id)
      .filter((one) => one.shape.Attachment?.DeviceIndex === 0);
    if (eni === undefined) {
      throw new AwsError("InvalidInstanceID.NotFound", `The instance ID '${id}' does not exist`);
    }
    return eni;
  };
  return {
    AllocateAddress: n.creates(elasticAddress, {
      without: ["Address", "CustomerOwnedIpv4Pool", "IpamPoolId"],
      make: (input, call) => {
        oneOf(input.Domain, ["vpc", "standard"], "domain", "vpc");
        return {
          Domain: "vpc",
          NetworkBorderGroup: region,
          PublicIp: choose(call, input.PublicIpv4Pool, input.Address),
          PublicIpv4Pool: input.PublicIpv4Pool ?? "amazon",
        };
      },
      answer: (record) => show(record),
    }),
    ReleaseAddress: n.deletes(elasticAddress, {
      id: async (input, call) => (await named(input, call)).id,
      refuse: (record) => {
        if (record.shape.AssociationId !== undefined) {
          throw new AwsError(
            "InvalidIPAddress.InUse",
            `Address ${record.shape.PublicIp} is in use.`,
          );
        }
      },
    }),
    DescribeAddresses: n.custom({
      reads: true,
      run: async (input, call) => {
        const ids = [...input.AllocationIds ?? []];
        for (const PublicIp of input.PublicIps ?? []) {
          ids.push((await named({ PublicIp }, call)).id);
        }
        const page = await records.of(elasticAddress).describe({
          action: "DescribeAddresses",
          ids,
          filters: input.Filters,
        }, call);
        return { Addresses: page.records.map(show) };
      },
    }),
    AssociateAddress: n.custom({
      check: async (input, call) => {
        const address = await named(input, call);
        const eni = await interfaceOf(input, call);
        const privateIp = input.PrivateIpAddress ?? eni.shape.PrivateIpAddress;
        if (!eni.shape.PrivateIpAddresses?.some((one) => one.PrivateIpAddress === privateIp)) {
          throw invalidParameter("privateIpAddress", privateIp, `It is not assigned to ${eni.id}.`);
        }
        refuseManaged(records, call.account_id, address.shape.NetworkInterfaceId);
        refuseManaged(records, call.account_id, eni.id);
        const present = address.shape.AssociationId;
        if (present !== undefined && input.AllowReassociation === false) {
          throw new AwsError(
            "Resource.AlreadyAssociated",
            `resource ${address.id} is already associated with associate-id ${present}`,
          );
        }
      },
      run: async (input, call) => {
        const address = await named(input, call);
        const eni = await interfaceOf(input, call);
        const privateIp = input.PrivateIpAddress ?? eni.shape.PrivateIpAddress ?? "";
        const led = await lead(records, address, eni, privateIp);
        return { AssociationId: led.shape.AssociationId };
      },
    }),
    DisassociateAddress: n.custom({
      check: async (input, call) => {
        const record = input.AssociationId === undefined
          ? await named(input, call)
          : associated(input.AssociationId, call);
        if (record === undefined) {
          throw new AwsError(
            "InvalidAssociationID.NotFound",
            `The association ID '${input.AssociationId}' does not exist`,
          );
        }
        refuseManaged(records, call.account_id, record.shape.NetworkInterfaceId);
      },
      run: async (input, call) => {
        const record = input.AssociationId === undefined
          ? await named(input, call)
          : associated(input.AssociationId, call);
        if (record?.shape.AssociationId !== undefined) await letGo(records, record);
        return {};
      },
    }),

    DescribeAddressesAttribute: n.custom({
      reads: true,
      check: (input) => void oneOf(input.Attribute, ["domain-name"], "attribute", "domain-name"),
      run: async (input, call) => {
        const page = await records.of(elasticAddress).describe({
          action: "DescribeAddressesAttribute",
          ids: input.AllocationIds,
          page: input,
        }, call);
        return {
          Addresses: page.records.map((record) => ({
            AllocationId: record.id,
            PublicIp: record.shape.PublicIp,
            ...(record.shape.PtrRecord === undefined ? {} : { PtrRecord: record.shape.PtrRecord }),
          })),
          NextToken: page.nextToken,
        };
      },
    }),
    ModifyAddressAttribute: n.changes(elasticAddress, {
      id: "AllocationId",
      change: (_record, input) => {
        const name = given(input.DomainName, "domainName");
        if (
          name.length > 255 || !/^(?=.{1,255}$)([a-z0-9-]{1,63}\.)+[a-z0-9-]{1,63}\.?$/i.test(name)
        ) {
          throw invalidParameter("domainName", name, "Expected a domain name.");
        }
        return { PtrRecord: name.endsWith(".") ? name : `${name}.` };
      },
      answer: (record) => ({
        Address: {
          AllocationId: record.id,
          PublicIp: record.shape.PublicIp,
          PtrRecord: record.shape.PtrRecord,
        },
      }),
    }),
    ResetAddressAttribute: n.changes(elasticAddress, {
      id: "AllocationId",
      change: (_record, input) => {
        oneOf(input.Attribute, ["domain-name"], "attribute", "domain-name");
        return { PtrRecord: undefined };
      },
      answer: (record) => ({
        Address: { AllocationId: record.id, PublicIp: record.shape.PublicIp },
      }),
    }),
  } satisfies ActionTable;
};
