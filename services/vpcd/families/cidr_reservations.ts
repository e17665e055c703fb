/** Blocks of subnets that their owner keeps: no address of them is given without being asked for. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { contains, overlaps, parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { allBlocksOf, reservation, subnet } from "../kinds/subnets.ts";
import { type Network, oneOf } from "../network.ts";

export const cidrReservationActions = ({ operations: n, records }: Network) => {
  return {
    CreateSubnetCidrReservation: n.creates(reservation, {
      answer: "SubnetCidrReservation",
      make: async (input, call) => {
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        const block = parseBlock(input.Cidr);
        if (block === undefined || !allBlocksOf(of).some((one) => contains(one, block))) {
          throw invalidParameter("cidr", input.Cidr, "It must lie within the subnet.");
        }
        for (const other of records.find(reservation, call.account_id, of.id)) {
          const used = parseBlock(other.shape.Cidr ?? "");
          if (used !== undefined && overlaps(used, block)) {
            throw new AwsError(
              "InvalidCidr.InUse",
              `The CIDR '${input.Cidr}' overlaps the reservation '${other.id}'.`,
            );
          }
        }
        return {
          Cidr: showBlock(block),
          ReservationType: oneOf(
            input.ReservationType,
            ["prefix", "explicit"],
            "reservationType",
            "explicit",
          ),
        };
      },
    }),
    GetSubnetCidrReservations: n.custom({
      reads: true,
      check: async (input, call) => {
        await records.require(subnet, call.account_id, input.SubnetId);
      },
      run: async (input, call) => {
        const page = await records.of(reservation).describe({
          action: "GetSubnetCidrReservations",
          filters: input.Filters,
          page: input,
          parameters: input.SubnetId,
          where: (record) => record.shape.SubnetId === input.SubnetId,
        }, call);
        const shown = page.records.map((record) => records.show(reservation, record));
        const isSix = (one: { Cidr?: string | undefined }) => one.Cidr?.includes(":") === true;
        return {
          SubnetIpv4CidrReservations: shown.filter((one) => !isSix(one)),
          SubnetIpv6CidrReservations: shown.filter(isSix),
          NextToken: page.nextToken,
        };
      },
    }),
    DeleteSubnetCidrReservation: n.deletes(reservation, {
      id: "SubnetCidrReservationId",
      answer: "DeletedSubnetCidrReservation",
    }),
  } satisfies ActionTable;
};
