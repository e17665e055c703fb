/**
 * The addresses of network interfaces. Addresses of a subnet are given once; EC2 keeps its first four and
 * its last.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  type Block,
  contains,
  holds,
  parseAddress,
  parseBlock,
  showAddress,
  sizeOf,
} from "../../resources/addresses.ts";
import { invalidCombination, invalidParameter, invalidValue } from "../../resources/errors.ts";
import type { Records } from "../../resources/records.ts";
import type { Input } from "../../resources/wire.ts";
import { type InterfaceRecord, networkInterface } from "../kinds/interfaces.ts";
import { reservation, subnet, type SubnetRecord } from "../kinds/subnets.ts";
import { type Network, within } from "../network.ts";
import { lead, leadingTo, letGo, refuseManaged } from "./address_associations.ts";

/** Private addresses of one interface, of each kind. */
export const mostAddresses = 50;

/** The interface of the subnet that has the address. */
const holderOf = (records: Records, of: SubnetRecord, address: string) =>
  records.find(networkInterface, of.account_id, address)
    .find((one) => one.shape.SubnetId === of.id);

const isTaken = (records: Records, of: SubnetRecord, address: string) =>
  holderOf(records, of, address) !== undefined;

/** @throws AwsError when it is outside, kept by EC2, or somebody's */
export function checkAddress(records: Records, of: SubnetRecord, address: string): void {
  const block = parseBlock(of.shape.CidrBlock ?? "");
  const parsed = parseAddress(address);
  if (block === undefined || parsed === undefined || !holds(block, parsed)) {
    throw invalidParameter(
      "address",
      address,
      "Address does not fall within the subnet's address range",
    );
  }
  const at = parsed.value - block.base;
  if (at < 4n || at === sizeOf(block) - 1n) {
    throw invalidParameter("address", address, "Address is in subnet's reserved address range");
  }
  if (isTaken(records, of, address)) {
    throw new AwsError("InvalidIPAddress.InUse", `Address ${address} is in use.`);
  }
}

/** @throws AwsError where an address is given twice */
export function requireDistinct(addresses: readonly string[]): void {
  if (new Set(addresses).size === addresses.length) return;
  throw invalidValue("The same private address is given more than once.");
}

/** The address as it is kept. @throws AwsError when it is outside of the subnet, or somebody's */
export function checkIpv6(records: Records, of: SubnetRecord, address: string): string {
  const block = ipv6Block(of);
  const parsed = parseAddress(address);
  if (block === undefined || parsed === undefined || !holds(block, parsed)) {
    throw invalidParameter("ipv6Addresses", address, "It does not lie in the subnet's IPv6 block.");
  }
  const shown = showAddress(6, parsed.value);
  if (isTaken(records, of, shown)) {
    throw new AwsError("InvalidIPAddress.InUse", `Address ${address} is in use.`);
  }
  return shown;
}

const ipv6Block = (of: SubnetRecord) =>
  parseBlock(of.shape.Ipv6CidrBlockAssociationSet?.[0]?.Ipv6CidrBlock ?? "");

/** Places in the subnet's block that its owner keeps for addresses of his own choice. */
function reservedIn(records: Records, of: SubnetRecord, block: Block): Set<number> {
  const places = new Set<number>();
  for (const one of records.find(reservation, of.account_id, of.id)) {
    const kept = parseBlock(one.shape.Cidr ?? "");
    if (kept === undefined || !contains(block, kept)) continue;
    const first = Number(kept.base - block.base);
    for (let at = 0; at < Number(sizeOf(kept)); at++) places.add(first + at);
  }
  return places;
}

/** Addresses that nobody has, from a random place on. @throws AwsError */
export function freeAddresses(
  records: Records,
  of: SubnetRecord,
  count: number,
  besides: readonly string[] = [],
): string[] {
  const block = parseBlock(of.shape.CidrBlock ?? "");
  if (block === undefined) throw invalidValue("The subnet has no IPv4 block.");
  const usable = Number(sizeOf(block)) - 5;
  const start = (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % usable;
  const reserved = reservedIn(records, of, block);
  const found: string[] = [];
  // More than there can be is not looked for.
  for (let step = 0; count <= usable && step < usable && found.length < count; step++) {
    const place = 4 + (start + step) % usable;
    if (reserved.has(place)) continue;
    const address = showAddress(4, block.base + BigInt(place));
    if (!isTaken(records, of, address) && !besides.includes(address)) found.push(address);
  }
  if (found.length < count) {
    throw new AwsError(
      "InsufficientFreeAddressesInSubnet",
      `The specified subnet does not have enough free addresses to satisfy the request: ${of.id}.`,
    );
  }
  return found;
}

export function freeIpv6(
  records: Records,
  of: SubnetRecord,
  count: number,
  besides: readonly string[] = [],
): string[] {
  const block = ipv6Block(of);
  if (block === undefined) {
    throw new AwsError(
      "InvalidSubnet.Range",
      `The subnet ${of.id} has no IPv6 block to take addresses from.`,
    );
  }
  const found: string[] = [];
  while (found.length < count) {
    const host = crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
    const address = showAddress(6, block.base + (host | 0x10n));
    if (isTaken(records, of, address) || [...found, ...besides].includes(address)) continue;
    found.push(address);
  }
  return found;
}

export const dnsName = (region: string, address: string) =>
  `ip-${address.replaceAll(".", "-")}.${region}.compute.internal`;

export const privateAddress = (region: string, address: string, primary: boolean) => ({
  Primary: primary,
  PrivateDnsName: dnsName(region, address),
  PrivateIpAddress: address,
});

export const interfaceAddressActions = (network: Network) => {
  const { operations: n, records, region } = network;
  const subnetOf = async (record: InterfaceRecord) =>
    await records.require(subnet, record.account_id, record.shape.SubnetId ?? "");
  const assign = async (record: InterfaceRecord, input: Input<"AssignPrivateIpAddresses">) => {
    const of = await subnetOf(record);
    const present = record.shape.PrivateIpAddresses ?? [];
    const wanted = input.PrivateIpAddresses ?? [];
    if ((wanted.length > 0) === (input.SecondaryPrivateIpAddressCount !== undefined)) {
      if (input.Ipv4PrefixCount !== undefined || input.Ipv4Prefixes !== undefined) {
        throw invalidValue("Prefixes cannot be delegated to this interface.");
      }
      throw invalidCombination("Give either privateIpAddresses or secondaryPrivateIpAddressCount.");
    }
    requireDistinct(wanted);
    for (const address of wanted) {
      if (present.some((one) => one.PrivateIpAddress === address)) continue;
      const holder = input.AllowReassignment === true ? holderOf(records, of, address) : undefined;
      if (holder === undefined) checkAddress(records, of, address);
      else if (holder.shape.PrivateIpAddress === address) {
        throw invalidParameter("privateIpAddress", address, "A primary address stays where it is.");
      }
    }
    const added = wanted.length > 0
      ? wanted.filter((one) => !present.some((has) => has.PrivateIpAddress === one))
      : freeAddresses(
        records,
        of,
        within(
          input.SecondaryPrivateIpAddressCount ?? 0,
          1,
          mostAddresses - 1,
          "secondaryPrivateIpAddressCount",
        ),
      );
    if (present.length + added.length > mostAddresses) {
      throw new AwsError(
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.",
      );
    }
    return [...present, ...added.map((one) => privateAddress(region, one, false))];
  };
  return {
    AssignPrivateIpAddresses: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: async (record, input) => {
        refuseManaged(records, record.account_id, record.id);
        return { PrivateIpAddresses: await assign(record, input) };
      },
      after: async (record, input, call) => {
        // Who had a reassigned address loses it, with the elastic address that leads to it.
        for (const address of input.PrivateIpAddresses ?? []) {
          for (const other of records.find(networkInterface, call.account_id, address)) {
            if (other.id === record.id || other.shape.SubnetId !== record.shape.SubnetId) continue;
            await records.change(networkInterface, call.account_id, other.id, (now) => ({
              PrivateIpAddresses: now.shape.PrivateIpAddresses?.filter((one) =>
                one.PrivateIpAddress !== address
              ),
            }));
            for (const led of leadingTo(records, call.account_id, other.id)) {
              if (led.shape.PrivateIpAddress !== address) continue;
              await lead(records, led, record, address, led.shape.AssociationId);
            }
          }
        }
      },
      answer: (record, input) => {
        const count = input.SecondaryPrivateIpAddressCount ?? 0;
        const added = (record.shape.PrivateIpAddresses ?? []).slice(-count)
          .flatMap((one) => one.PrivateIpAddress ?? []);
        return {
          NetworkInterfaceId: record.id,
          AssignedPrivateIpAddresses: (count > 0 ? added : input.PrivateIpAddresses ?? [])
            .map((PrivateIpAddress) => ({ PrivateIpAddress })),
        };
      },
    }),
    UnassignPrivateIpAddresses: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: (record, input) => {
        refuseManaged(records, record.account_id, record.id);
        const present = record.shape.PrivateIpAddresses ?? [];
        for (const address of input.PrivateIpAddresses ?? []) {
          const found = present.find((one) => one.PrivateIpAddress === address);
          if (found === undefined || found.Primary === true) {
            throw invalidParameter(
              "privateIpAddress",
              address,
              "Some of the addresses are not assigned to interface as secondary ones.",
            );
          }
        }
        return {
          PrivateIpAddresses: present.filter((one) =>
            !input.PrivateIpAddresses?.includes(one.PrivateIpAddress ?? "")
          ),
        };
      },
      after: async (record, input) => {
        for (const address of leadingTo(records, record.account_id, record.id)) {
          if (input.PrivateIpAddresses?.includes(address.shape.PrivateIpAddress ?? "")) {
            await letGo(records, address);
          }
        }
      },
    }),
    AssignIpv6Addresses: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: async (record, input) => {
        const of = await subnetOf(record);
        const wanted = input.Ipv6Addresses?.map((one) => checkIpv6(records, of, one)) ?? [];
        requireDistinct(wanted);
        const added = wanted.length > 0 ? wanted : freeIpv6(
          records,
          of,
          within(input.Ipv6AddressCount ?? 1, 1, mostAddresses, "ipv6AddressCount"),
        );
        const present = record.shape.Ipv6Addresses ?? [];
        within(present.length + added.length, 1, mostAddresses, "ipv6AddressCount");
        return {
          Ipv6Addresses: [
            ...present,
            ...added.map((Ipv6Address) => ({ Ipv6Address })),
          ],
        };
      },
      answer: (record, input) => ({
        NetworkInterfaceId: record.id,
        AssignedIpv6Addresses: (record.shape.Ipv6Addresses ?? [])
          .slice(-(input.Ipv6Addresses?.length ?? input.Ipv6AddressCount ?? 1))
          .map((one) => one.Ipv6Address ?? ""),
      }),
    }),
    UnassignIpv6Addresses: n.changes(networkInterface, {
      id: "NetworkInterfaceId",
      change: (record, input) => {
        for (const address of input.Ipv6Addresses ?? []) {
          if (!record.shape.Ipv6Addresses?.some((one) => one.Ipv6Address === address)) {
            throw invalidParameter(
              "ipv6Addresses",
              address,
              "It is not assigned to the interface.",
            );
          }
        }
        return {
          Ipv6Addresses: record.shape.Ipv6Addresses?.filter((one) =>
            !input.Ipv6Addresses?.includes(one.Ipv6Address ?? "")
          ),
        };
      },
      answer: (record, input) => ({
        NetworkInterfaceId: record.id,
        UnassignedIpv6Addresses: [...input.Ipv6Addresses ?? []],
      }),
    }),
  } satisfies ActionTable;
};
