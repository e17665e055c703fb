/** Pools of customer-owned addresses, which a local gateway would translate to. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { overlaps, parseBlock, requireBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { coipPool } from "../kinds/local_gateways.ts";
import type { Network } from "../network.ts";

export const coipPoolActions = ({ operations: n, records }: Network) => {
  return {
    CreateCoipPool: n.creates(coipPool, {
      answer: "CoipPool",
      make: () => ({ PoolCidrs: [] }),
    }),
    DescribeCoipPools: n.describes(coipPool, { list: "CoipPools", ids: "PoolIds" }),
    DeleteCoipPool: n.deletes(coipPool, {
      id: "CoipPoolId",
      refuse: (record) => {
        if ((record.shape.PoolCidrs ?? []).length > 0) {
          throw new AwsError(
            "DependencyViolation",
            `The pool '${record.id}' has CIDRs; delete them first.`,
          );
        }
      },
      answer: "CoipPool",
    }),
    CreateCoipCidr: n.changes(coipPool, {
      id: "CoipPoolId",
      change: (record, input) => {
        const block = requireBlock(input.Cidr, 4, "cidr");
        for (
          const other of [...records.all(coipPool)].flatMap((one) => one.shape.PoolCidrs ?? [])
        ) {
          const used = parseBlock(other);
          if (used !== undefined && overlaps(used, block)) {
            throw invalidParameter("cidr", input.Cidr, `It overlaps ${other}, which is in a pool.`);
          }
        }
        return { PoolCidrs: [...record.shape.PoolCidrs ?? [], showBlock(block)] };
      },
      answer: (record) => ({
        CoipCidr: {
          Cidr: record.shape.PoolCidrs?.at(-1),
          CoipPoolId: record.id,
          LocalGatewayRouteTableId: record.shape.LocalGatewayRouteTableId,
        },
      }),
    }),
    DeleteCoipCidr: n.changes(coipPool, {
      id: "CoipPoolId",
      change: (record, input) => {
        const block = showBlock(requireBlock(input.Cidr, 4, "cidr"));
        if (!record.shape.PoolCidrs?.includes(block)) {
          throw invalidParameter("cidr", input.Cidr, "The pool has no such CIDR.");
        }
        return { PoolCidrs: record.shape.PoolCidrs.filter((one) => one !== block) };
      },
      answer: (record, input) => ({
        CoipCidr: {
          Cidr: input.Cidr,
          CoipPoolId: record.id,
          LocalGatewayRouteTableId: record.shape.LocalGatewayRouteTableId,
        },
      }),
    }),
    GetCoipPoolUsage: n.custom({
      reads: true,
      run: async (input, call) => {
        const record = await records.require(coipPool, call.account_id, input.PoolId);
        return {
          CoipPoolId: record.id,
          CoipAddressUsages: [],
          LocalGatewayRouteTableId: record.shape.LocalGatewayRouteTableId,
        };
      },
    }),
  } satisfies ActionTable;
};
