/** Pools of public IPv4 addresses, from which elastic addresses may come. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  holds,
  overlaps,
  parseAddress,
  parseBlock,
  requireBlock,
  showAddress,
  showBlock,
  sizeOf,
} from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import type { KindRecord } from "../../resources/kind.ts";
import { elasticAddress, type PoolShape, publicPool } from "../kinds/elastic_addresses.ts";
import { type Network, within } from "../network.ts";

export const ranges = (pool: KindRecord<PoolShape>) =>
  (pool.shape.PoolAddressRanges ?? []).flatMap((one) => {
    const block = parseBlock(`${one.FirstAddress}/${rangeBits(one.AddressCount ?? 1)}`);
    return block === undefined ? [] : [block];
  });
const rangeBits = (count: number) => 32 - Math.round(Math.log2(count));

export const publicPoolActions = ({ operations: n, records, region }: Network) => {
  return {
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
