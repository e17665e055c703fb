/** Elastic addresses that go from one account to another: offered, taken back, accepted. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { idOf } from "../../resources/ids.ts";
import { type AddressRecord, elasticAddress } from "../kinds/elastic_addresses.ts";
import type { Network } from "../network.ts";

export const addressTransferActions = ({ operations: n, records, region }: Network) => {
  return {
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
      changesOf: (input, call) => offered(input.Address, call).account_id,
      check: (input, call) => {
        const record = offered(input.Address, call);
        if (record.shape.AssociationId !== undefined) {
          throw new AwsError(
            "InvalidTransfer.AddressAssociated",
            `The address ${input.Address} is associated and cannot be transferred.`,
          );
        }
        records.requireRoom(elasticAddress, call.account_id);
      },
      run: async (input, call) => {
        const record = offered(input.Address, call);
        // The new owner's id follows from the old one, so that repeating it after a crash completes it.
        const made = await records.create(elasticAddress, call.account_id, {
          Domain: "vpc",
          NetworkBorderGroup: region,
          PublicIp: record.shape.PublicIp,
          PublicIpv4Pool: "amazon",
        }, { id: await idOf("eipalloc-", record.id, call.account_id) });
        await records.remove(elasticAddress, record.account_id, record.id);
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
};
