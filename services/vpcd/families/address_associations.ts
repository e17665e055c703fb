/**
 * Which private address of which interface an elastic address leads to. Both records say so, and either
 * write may be the last before a crash: repeating one brings the other up to it.
 */
import { AwsError } from "../../aws/errors.ts";
import { newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import { type AddressRecord, elasticAddress, freeOf } from "../kinds/elastic_addresses.ts";
import { type InterfaceRecord, networkInterface } from "../kinds/interfaces.ts";

/** The elastic addresses that lead to an interface. */
export const leadingTo = (records: Records, account: string, eniId: string) =>
  records.findAt(elasticAddress, account, "NetworkInterfaceId", eniId);

/** The interface shows what leads to one of its addresses. */
async function show(
  records: Records,
  account: string,
  eniId: string | undefined,
  privateIp: string | undefined,
  address: AddressRecord | undefined,
): Promise<void> {
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
}

/** Lets the address lead to the interface's private address, and nowhere else; nothing else leads there. */
export async function lead(
  records: Records,
  address: AddressRecord,
  eni: InterfaceRecord,
  privateIp: string,
  associationId = newId("eipassoc-"),
): Promise<AddressRecord> {
  const account = address.account_id;
  const { NetworkInterfaceId, PrivateIpAddress } = address.shape;
  const isThere = NetworkInterfaceId === eni.id && PrivateIpAddress === privateIp;
  if (!isThere && NetworkInterfaceId !== undefined) await letGo(records, address);
  for (const other of leadingTo(records, account, eni.id)) {
    if (other.id !== address.id && other.shape.PrivateIpAddress === privateIp) {
      await letGo(records, other);
    }
  }
  const led = isThere ? address : await records.change(elasticAddress, account, address.id, () => ({
    AssociationId: associationId,
    NetworkInterfaceId: eni.id,
    NetworkInterfaceOwnerId: account,
    PrivateIpAddress: privateIp,
  }));
  await show(records, account, eni.id, privateIp, led);
  return led;
}

/** Lets the address lead nowhere. */
export async function letGo(records: Records, address: AddressRecord): Promise<AddressRecord> {
  const { NetworkInterfaceId, PrivateIpAddress } = address.shape;
  await show(records, address.account_id, NetworkInterfaceId, PrivateIpAddress, undefined);
  return await records.change(elasticAddress, address.account_id, address.id, () => freeOf);
}

/** @throws AwsError `AuthFailure` for what a service of the cloud has for itself, as a NAT gateway */
export function refuseManaged(records: Records, account: string, eniId: string | undefined): void {
  const eni = eniId === undefined ? undefined : records.get(networkInterface, account, eniId);
  if (eni?.shape.RequesterManaged !== true) return;
  throw new AwsError(
    "AuthFailure",
    "You do not have permission to access the specified resource.",
    { status: 403 },
  );
}
