/** Virtual interfaces of local gateways, which come in groups. */
import type { ActionTable } from "../../resources/actions.ts";
import { overlaps, parseBlock } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { localGateway, localGroup, localInterface } from "../kinds/local_gateways.ts";
import { type Network, within } from "../network.ts";

export const localInterfaceActions = ({ operations: n, records }: Network) => {
  return {
    CreateLocalGatewayVirtualInterfaceGroup: n.creates(localGroup, {
      answer: "LocalGatewayVirtualInterfaceGroup",
      make: async (input, call) => {
        await records.require(localGateway, call.account_id, input.LocalGatewayId);
        return {
          ConfigurationState: "pending",
          LocalBgpAsn: within(input.LocalBgpAsn ?? 64_512, 1, 2_147_483_647, "localBgpAsn"),
          LocalGatewayVirtualInterfaceIds: [],
        };
      },
    }),
    DescribeLocalGatewayVirtualInterfaceGroups: n.describes(localGroup, {
      list: "LocalGatewayVirtualInterfaceGroups",
      ids: "LocalGatewayVirtualInterfaceGroupIds",
    }),
    DeleteLocalGatewayVirtualInterfaceGroup: n.deletes(localGroup, {
      id: "LocalGatewayVirtualInterfaceGroupId",
      passing: () => ({ ConfigurationState: "deleting" }),
      answer: "LocalGatewayVirtualInterfaceGroup",
    }),
    CreateLocalGatewayVirtualInterface: n.creates(localInterface, {
      answer: "LocalGatewayVirtualInterface",
      make: async (input, call) => {
        const group = await records.require(
          localGroup,
          call.account_id,
          input.LocalGatewayVirtualInterfaceGroupId,
        );
        const twice = records.find(localInterface, call.account_id, group.id)
          .some((one) => one.shape.Vlan === input.Vlan);
        if (twice) throw invalidParameter("vlan", input.Vlan, "The group has the VLAN already.");
        const [mine, theirs] = [input.LocalAddress, input.PeerAddress].map((text) =>
          parseBlock(text)
        );
        if (
          mine?.version !== 4 || theirs?.version !== 4 || !overlaps(mine, theirs) ||
          input.LocalAddress === input.PeerAddress
        ) {
          throw invalidParameter(
            "localAddress",
            input.LocalAddress,
            "Both ends must be different addresses of one IPv4 block, as 10.0.0.1/30.",
          );
        }
        return {
          ConfigurationState: "pending",
          LocalBgpAsn: group.shape.LocalBgpAsn,
          LocalGatewayId: group.shape.LocalGatewayId,
          Vlan: within(input.Vlan, 1, 4094, "vlan"),
        };
      },
      after: async (record, _input, call) => {
        await records.change(
          localGroup,
          call.account_id,
          record.shape.LocalGatewayVirtualInterfaceGroupId ?? "",
          (now) => ({
            LocalGatewayVirtualInterfaceIds: [
              ...new Set([...now.shape.LocalGatewayVirtualInterfaceIds ?? [], record.id]),
            ],
          }),
        );
      },
    }),
    DescribeLocalGatewayVirtualInterfaces: n.describes(localInterface, {
      list: "LocalGatewayVirtualInterfaces",
      ids: "LocalGatewayVirtualInterfaceIds",
    }),
    DeleteLocalGatewayVirtualInterface: n.deletes(localInterface, {
      id: "LocalGatewayVirtualInterfaceId",
      before: async (record, _input, call) => {
        await records.change(
          localGroup,
          call.account_id,
          record.shape.LocalGatewayVirtualInterfaceGroupId ?? "",
          (now) => ({
            LocalGatewayVirtualInterfaceIds:
              now.shape.LocalGatewayVirtualInterfaceIds?.filter((one) => one !== record.id) ?? [],
          }),
        );
      },
      passing: () => ({ ConfigurationState: "deleting" }),
      answer: "LocalGatewayVirtualInterface",
    }),
  } satisfies ActionTable;
};
