/**
 * Elastic IP addresses and the pools that they come from. Without a pool of the account's own they
 * come from 100.64.0.0/10, the shared address space, in which an operator may route them.
 */
import { AwsError } from "../aws/errors.ts";
import type { ActionTable, Call } from "../resources/actions.ts";
import {
  holds,
  overlaps,
  parseAddress,
  parseBlock,
  requireBlock,
  showAddress,
  showBlock,
  sizeOf,
} from "../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../resources/errors.ts";
import { newId } from "../resources/ids.ts";
import type { KindRecord } from "../resources/kind.ts";
import {
  type AddressRecord,
  elasticAddress,
  freeOf,
  type PoolShape,
  publicPool,
} from "./kinds/elastic_addresses.ts";
import { type InterfaceRecord, networkInterface } from "./kinds/interfaces.ts";
import { given, type Network, oneOf, within } from "./network.ts";

const shared = parseBlock("100.64.0.0/10")!;

const ranges = (pool: KindRecord<PoolShape>) =>
  (pool.shape.PoolAddressRanges ?? []).flatMap((one) => {
    const block = parseBlock(`${one.FirstAddress}/${rangeBits(one.AddressCount ?? 1)}`);
    return block === undefined ? [] : [block];
  });
const rangeBits = (count: number) => 32 - Math.round(Math.log2(count));

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
  const show = (record: AddressRecord) => records.show(elasticAddress, record);
  const setAssociation = async (
    account: string,
    eniId: string | undefined,
    privateIp: string | undefined,
    address: AddressRecord | undefined,
  ) => {
    if (eniId === undefined || records.get(networkInterface, account, eniId) === undefined) return;
    await records.change(networkInterface, account, eniId, (now) => {
      const association = address === undefined ? undefined : {
        AllocationId: address.id,
        AssociationId: address.shape.AssociationId,
        IpOwnerId: account,
        PublicDnsName: "",
        PublicIp: address.shape.PublicIp,
      };
      const addresses = (now.shape.PrivateIpAddresses ?? []).map((one) =>
        one.PrivateIpAddress === privateIp ? { ...one, Association: association } : one
      );
      return {
        PrivateIpAddresses: addresses,
        Association: addresses.find((one) => one.Primary === true)?.Association,
      };
    });
  };
  const release = async (record: AddressRecord) => {
    const { NetworkInterfaceId, PrivateIpAddress } = record.shape;
    await setAssociation(record.account_id, NetworkInterfaceId, PrivateIpAddress, undefined);
    return await records.change(elasticAddress, record.account_id, record.id, () => freeOf);
  };
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
    const [eni] = records.find(networkInterface, call.account_id, id)
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
        if (
          address.shape.NetworkInterfaceId === eni.id &&
          address.shape.PrivateIpAddress === privateIp
        ) return { AssociationId: address.shape.AssociationId };
        if (address.shape.AssociationId !== undefined) await release(address);
        for (const other of records.find(elasticAddress, call.account_id, eni.id)) {
          if (other.shape.PrivateIpAddress === privateIp) await release(other);
        }
        const changed = await records.change(elasticAddress, call.account_id, address.id, () => ({
          AssociationId: newId("eipassoc-"),
          InstanceId: eni.shape.Attachment?.InstanceId,
          NetworkInterfaceId: eni.id,
          NetworkInterfaceOwnerId: call.account_id,
          PrivateIpAddress: privateIp,
        }));
        await setAssociation(call.account_id, eni.id, privateIp, changed);
        return { AssociationId: changed.shape.AssociationId };
      },
    }),
    DisassociateAddress: n.custom({
      check: async (input, call) => {
        if (input.AssociationId === undefined) await named(input, call);
        else if (records.find(elasticAddress, call.account_id, input.AssociationId).length === 0) {
          throw new AwsError(
            "InvalidAssociationID.NotFound",
            `The association ID '${input.AssociationId}' does not exist`,
          );
        }
      },
      run: async (input, call) => {
        const record = input.AssociationId === undefined
          ? await named(input, call)
          : records.find(elasticAddress, call.account_id, input.AssociationId)[0];
        if (record?.shape.AssociationId !== undefined) await release(record);
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

    EnableAddressTransfer: n.changes(elasticAddress, {
      id: "AllocationId",
      change: (record, input, call) => {
        if (
          !/^\d{12}$/.test(input.TransferAccountId) || input.TransferAccountId === call.account_id
        ) {
          throw invalidParameter(
            "transferAccountId",
            input.TransferAccountId,
            "Expected another account.",
          );
        }
        if (record.shape.AssociationId !== undefined) {
          throw new AwsError(
            "InvalidIPAddress.InUse",
            `Address ${record.shape.PublicIp} is in use.`,
          );
        }
        return {
          Transfer: {
            AddressTransferStatus: "pending" as const,
            AllocationId: record.id,
            PublicIp: record.shape.PublicIp,
            TransferAccountId: input.TransferAccountId,
            TransferOfferExpirationTimestamp: new Date(Date.now() + 7 * 86_400_000).toISOString(),
          },
        };
      },
      answer: (record) => ({ AddressTransfer: record.shape.Transfer }),
    }),
    DisableAddressTransfer: n.changes(elasticAddress, {
      id: "AllocationId",
      change: (record) => {
        if (record.shape.Transfer === undefined) {
          throw new AwsError(
            "AddressTransferNotFound",
            `There is no transfer of ${record.id} to disable.`,
          );
        }
        return { Transfer: undefined };
      },
      answer: (record) => ({
        AddressTransfer: {
          AddressTransferStatus: "disabled",
          AllocationId: record.id,
          PublicIp: record.shape.PublicIp,
        },
      }),
    }),
    DescribeAddressTransfers: n.custom({
      reads: true,
      run: async (input, call) => {
        const page = await records.of(elasticAddress).describe({
          action: "DescribeAddressTransfers",
          ids: input.AllocationIds,
          page: input,
          where: (record) => record.shape.Transfer !== undefined,
        }, call);
        return {
          AddressTransfers: page.records.flatMap((record) => record.shape.Transfer ?? []),
          NextToken: page.nextToken,
        };
      },
    }),
    AcceptAddressTransfer: n.custom({
      check: (input, call) => void offered(input.Address, call),
      run: async (input, call) => {
        const record = offered(input.Address, call);
        await records.remove(elasticAddress, record.account_id, record.id);
        const made = await records.create(elasticAddress, call.account_id, {
          Domain: "vpc",
          NetworkBorderGroup: region,
          PublicIp: record.shape.PublicIp,
          PublicIpv4Pool: "amazon",
        });
        return {
          AddressTransfer: {
            ...record.shape.Transfer,
            AllocationId: made.id,
            AddressTransferStatus: "accepted",
            TransferOfferAcceptedTimestamp: new Date().toISOString(),
          },
        };
      },
    }),

    CreatePublicIpv4Pool: n.creates(publicPool, {
      make: () => ({
        Description: "",
        NetworkBorderGroup: region,
        PoolAddressRanges: [],
        TotalAddressCount: 0,
        TotalAvailableAddressCount: 0,
      }),
      answer: (record) => ({ PoolId: record.id }),
    }),
    DescribePublicIpv4Pools: n.describes(publicPool, {
      list: "PublicIpv4Pools",
      ids: "PoolIds",
      show: (record) => {
        const used = records.find(elasticAddress, record.account_id, record.id).length;
        const total = record.shape.TotalAddressCount ?? 0;
        return { ...records.show(publicPool, record), TotalAvailableAddressCount: total - used };
      },
    }),
    ProvisionPublicIpv4PoolCidr: n.changes(publicPool, {
      id: "PoolId",
      change: (record, input) => {
        within(input.NetmaskLength, 24, 32, "netmaskLength");
        const block = requireBlock(`${nextBase(record)}/${input.NetmaskLength}`, 4, "cidr");
        const count = Number(sizeOf(block));
        const range = {
          AddressCount: count,
          AvailableAddressCount: count,
          FirstAddress: showAddress(4, block.base),
          LastAddress: showAddress(4, block.base + sizeOf(block) - 1n),
        };
        return {
          PoolAddressRanges: [...record.shape.PoolAddressRanges ?? [], range],
          TotalAddressCount: (record.shape.TotalAddressCount ?? 0) + count,
        };
      },
      answer: (record) => ({
        PoolId: record.id,
        PoolAddressRange: record.shape.PoolAddressRanges?.at(-1),
      }),
    }),
    DeprovisionPublicIpv4PoolCidr: n.changes(publicPool, {
      id: "PoolId",
      change: (record, input) => {
        const block = parseBlock(input.Cidr);
        const found = ranges(record).find((one) =>
          block !== undefined && showBlock(one) === showBlock(block)
        );
        if (found === undefined) {
          throw invalidParameter("cidr", input.Cidr, "It is not provisioned to the pool.");
        }
        for (const one of records.find(elasticAddress, record.account_id, record.id)) {
          const address = parseAddress(one.shape.PublicIp ?? "");
          if (address !== undefined && holds(found, address)) {
            throw new AwsError(
              "InvalidIPAddress.InUse",
              `Address ${one.shape.PublicIp} is in use.`,
            );
          }
        }
        const left = record.shape.PoolAddressRanges?.filter((one) =>
          one.FirstAddress !== showAddress(4, found.base)
        ) ?? [];
        return {
          PoolAddressRanges: left,
          TotalAddressCount: left.reduce((sum, one) =>
            sum + (one.AddressCount ?? 0), 0),
        };
      },
      answer: (record, input) => ({ PoolId: record.id, DeprovisionedAddresses: [input.Cidr] }),
    }),
    DeletePublicIpv4Pool: n.deletes(publicPool, {
      id: "PoolId",
      refuse: (record) => {
        if ((record.shape.PoolAddressRanges ?? []).length > 0) {
          throw new AwsError(
            "DependencyViolation",
            `The pool '${record.id}' has provisioned CIDRs; deprovision them first.`,
          );
        }
      },
      answer: () => ({ ReturnValue: true }),
    }),
  } satisfies ActionTable;

  function offered(address: string, call: Call): AddressRecord {
    const found = records.findAnywhere(elasticAddress, address).find((one) =>
      one.shape.Transfer?.TransferAccountId === call.account_id &&
      Date.parse(one.shape.Transfer.TransferOfferExpirationTimestamp ?? "") > Date.now()
    );
    if (found === undefined) {
      throw new AwsError(
        "InvalidTransfer.AddressNotFound",
        `There is no transfer of ${address} to this account.`,
      );
    }
    return found;
  }

  /** A free place of 198.18.0.0/15, which nobody routes, for what is provisioned next. */
  function nextBase(record: KindRecord<PoolShape>): string {
    const used = [...records.all(publicPool)].flatMap(ranges);
    const base = parseBlock("198.18.0.0/15")!;
    for (let at = 0n; at < 512n; at++) {
      const block = parseBlock(`${showAddress(4, base.base + (at << 8n))}/24`)!;
      if (!used.some((one) => overlaps(one, block))) return showAddress(4, block.base);
    }
    throw new AwsError("PublicIpv4PoolLimitExceeded", `There is no free block for ${record.id}.`);
  }
};
