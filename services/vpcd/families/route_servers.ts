/**
 * Route servers with their endpoints, peers and propagations. No peer is spoken to: sessions stay down
 * and the routing database holds what peers have said, which is nothing.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { parseAddress } from "../../resources/addresses.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import { makeServiceInterface, removeServiceInterfaces } from "./new_interfaces.ts";
import {
  routeServer,
  routeServerEndpoint,
  routeServerPeer,
  type ServerShape,
} from "../kinds/route_servers.ts";
import { routeTable } from "../kinds/route_tables.ts";
import { subnet } from "../kinds/subnets.ts";
import { vpc } from "../kinds/vpcs.ts";
import { type Network, oneOf, within } from "../network.ts";

const persistence = { enable: "enabled", disable: "disabled", reset: "disabled" } as const;

function readPersistence(
  action: string | undefined,
  minutes: number | undefined,
): Pick<ServerShape, "PersistRoutesState" | "PersistRoutesDuration"> {
  if (action === undefined && minutes === undefined) return {};
  const chosen = oneOf(action, ["enable", "disable", "reset"] as const, "persistRoutes", "disable");
  if (chosen !== "enable") {
    if (minutes !== undefined) {
      throw invalidParameter(
        "persistRoutesDuration",
        minutes,
        "Only persisted routes have a duration.",
      );
    }
    return { PersistRoutesState: persistence[chosen], PersistRoutesDuration: undefined };
  }
  return {
    PersistRoutesState: "enabled",
    PersistRoutesDuration: within(minutes ?? 1, 1, 5, "persistRoutesDuration"),
  };
}

export const routeServerActions = (network: Network) => {
  const { operations: n, records } = network;
  const required = (input: { readonly RouteServerId: string }, call: Call) =>
    records.require(routeServer, call.account_id, input.RouteServerId);
  const notAssociated = (id: string) =>
    new AwsError(
      "InvalidRouteServerAssociation.NotFound",
      `The route server '${id}' is not associated with the VPC.`,
    );
  return {
    CreateRouteServer: n.creates(routeServer, {
      answer: "RouteServer",
      without: ["PersistRoutes"],
      make: (input) => ({
        AmazonSideAsn: within(input.AmazonSideAsn, 1, 4_294_967_294, "amazonSideAsn"),
        PersistRoutesState: "disabled",
        ...readPersistence(input.PersistRoutes, input.PersistRoutesDuration),
        Propagations: [],
        SnsNotificationsEnabled: input.SnsNotificationsEnabled ?? false,
        State: "pending",
      }),
    }),
    DescribeRouteServers: n.describes(routeServer, { list: "RouteServers", ids: "RouteServerIds" }),
    ModifyRouteServer: n.changes(routeServer, {
      id: "RouteServerId",
      change: (record, input) => ({
        ...readPersistence(input.PersistRoutes, input.PersistRoutesDuration),
        SnsNotificationsEnabled: input.SnsNotificationsEnabled ??
          record.shape.SnsNotificationsEnabled,
        State: "modifying",
      }),
      answer: "RouteServer",
    }),
    DeleteRouteServer: n.deletes(routeServer, {
      id: "RouteServerId",
      inUse: "IncorrectState",
      refuse: (record) => {
        if (record.shape.VpcId !== undefined) {
          throw new AwsError(
            "IncorrectState",
            `The route server '${record.id}' is associated with a VPC.`,
          );
        }
      },
      passing: () => ({ State: "deleting" }),
      answer: "RouteServer",
    }),

    AssociateRouteServer: n.changes(routeServer, {
      id: "RouteServerId",
      change: async (record, input, call) => {
        const of = await records.require(vpc, call.account_id, input.VpcId);
        if (record.shape.VpcId !== undefined) {
          throw new AwsError(
            "Resource.AlreadyAssociated",
            `${record.id} is associated with ${record.shape.VpcId}.`,
          );
        }
        return { VpcId: of.id };
      },
      answer: (record) => ({
        RouteServerAssociation: {
          RouteServerId: record.id,
          VpcId: record.shape.VpcId,
          State: "associating",
        },
      }),
    }),
    DisassociateRouteServer: n.changes(routeServer, {
      id: "RouteServerId",
      change: (record, input, call) => {
        if (record.shape.VpcId !== input.VpcId) throw notAssociated(record.id);
        if (records.find(routeServerEndpoint, call.account_id, record.id).length > 0) {
          throw new AwsError(
            "DependencyViolation",
            `The route server '${record.id}' has endpoints.`,
          );
        }
        return { VpcId: undefined, Propagations: [] };
      },
      answer: (record, input) => ({
        RouteServerAssociation: {
          RouteServerId: record.id,
          VpcId: input.VpcId,
          State: "disassociating",
        },
      }),
    }),
    GetRouteServerAssociations: n.custom({
      reads: true,
      run: async (input, call) => {
        const { id, shape } = await required(input, call);
        return {
          RouteServerAssociations: shape.VpcId === undefined
            ? []
            : [{ RouteServerId: id, VpcId: shape.VpcId, State: "associated" }],
        };
      },
    }),

    CreateRouteServerEndpoint: n.creates(routeServerEndpoint, {
      answer: "RouteServerEndpoint",
      id: () => newId("rse-"),
      make: async (input, call) => {
        const server = await required(input, call);
        const of = await records.require(subnet, call.account_id, input.SubnetId);
        if (server.shape.VpcId === undefined || of.shape.VpcId !== server.shape.VpcId) {
          throw invalidParameter("subnetId", of.id, `${server.id} is not associated with its VPC.`);
        }
        return { State: "pending", VpcId: of.shape.VpcId };
      },
      after: async (record, input, call) => {
        const eni = await makeServiceInterface(
          network,
          call.account_id,
          record.id,
          input.SubnetId,
          {
            groups: [],
            description: `Route server endpoint ${record.id}`,
            type: "interface",
          },
        );
        await records.change(routeServerEndpoint, call.account_id, record.id, () => ({
          EniId: eni.id,
          EniAddress: eni.shape.PrivateIpAddress,
        }));
      },
    }),
    DescribeRouteServerEndpoints: n.describes(routeServerEndpoint, {
      list: "RouteServerEndpoints",
      ids: "RouteServerEndpointIds",
    }),
    DeleteRouteServerEndpoint: n.deletes(routeServerEndpoint, {
      id: "RouteServerEndpointId",
      before: async (record, _input, call) => {
        await removeServiceInterfaces(network, call.account_id, record.id, [
          record.shape.SubnetId ?? "",
        ]);
      },
      passing: () => ({ State: "deleting" }),
      answer: "RouteServerEndpoint",
    }),

    CreateRouteServerPeer: n.creates(routeServerPeer, {
      answer: "RouteServerPeer",
      make: async (input, call) => {
        const endpoint = await records.require(
          routeServerEndpoint,
          call.account_id,
          input.RouteServerEndpointId,
        );
        if (parseAddress(input.PeerAddress)?.version !== 4) {
          throw invalidParameter("peerAddress", input.PeerAddress, "Expected an IPv4 address.");
        }
        const twice = records.find(routeServerPeer, call.account_id, endpoint.id)
          .some((one) => one.shape.PeerAddress === input.PeerAddress);
        if (twice) {
          throw invalidParameter("peerAddress", input.PeerAddress, "The endpoint has this peer.");
        }
        const detection = oneOf(
          input.BgpOptions.PeerLivenessDetection,
          ["bfd", "bgp-keepalive"],
          "peerLivenessDetection",
          "bgp-keepalive",
        );
        return {
          BfdStatus: { Status: "down" },
          BgpOptions: {
            PeerAsn: within(input.BgpOptions.PeerAsn, 1, 4_294_967_294, "peerAsn"),
            PeerLivenessDetection: detection,
          },
          BgpStatus: { Status: "down" },
          EndpointEniAddress: endpoint.shape.EniAddress,
          EndpointEniId: endpoint.shape.EniId,
          RouteServerId: endpoint.shape.RouteServerId,
          State: "pending",
          SubnetId: endpoint.shape.SubnetId,
          VpcId: endpoint.shape.VpcId,
        };
      },
    }),
    DescribeRouteServerPeers: n.describes(routeServerPeer, {
      list: "RouteServerPeers",
      ids: "RouteServerPeerIds",
    }),
    DeleteRouteServerPeer: n.deletes(routeServerPeer, {
      id: "RouteServerPeerId",
      passing: () => ({ State: "deleting" }),
      answer: "RouteServerPeer",
    }),

    EnableRouteServerPropagation: n.changes(routeServer, {
      id: "RouteServerId",
      change: async (record, input, call) => {
        const table = await records.require(routeTable, call.account_id, input.RouteTableId);
        if (record.shape.VpcId === undefined || table.shape.VpcId !== record.shape.VpcId) {
          throw notAssociated(record.id);
        }
        return { Propagations: [...new Set([...record.shape.Propagations ?? [], table.id])] };
      },
      answer: (record, input) => ({
        RouteServerPropagation: {
          RouteServerId: record.id,
          RouteTableId: input.RouteTableId,
          State: "available",
        },
      }),
    }),
    DisableRouteServerPropagation: n.changes(routeServer, {
      id: "RouteServerId",
      change: (record, input) => {
        if (!record.shape.Propagations?.includes(input.RouteTableId)) {
          throw new AwsError(
            "InvalidRouteServerPropagation.NotFound",
            `${record.id} does not propagate to ${input.RouteTableId}.`,
          );
        }
        return {
          Propagations: record.shape.Propagations.filter((one) => one !== input.RouteTableId),
        };
      },
      answer: (record, input) => ({
        RouteServerPropagation: {
          RouteServerId: record.id,
          RouteTableId: input.RouteTableId,
          State: "deleting",
        },
      }),
    }),
    GetRouteServerPropagations: n.custom({
      reads: true,
      run: async (input, call) => {
        const { id, shape } = await required(input, call);
        return {
          RouteServerPropagations: (shape.Propagations ?? [])
            .filter((one) => input.RouteTableId === undefined || one === input.RouteTableId)
            .map((RouteTableId) => ({ RouteServerId: id, RouteTableId, State: "available" })),
        };
      },
    }),
    GetRouteServerRoutingDatabase: n.custom({
      reads: true,
      run: async (input, call) => {
        const { shape } = await required(input, call);
        return { AreRoutesPersisted: shape.PersistRoutesState === "enabled", Routes: [] };
      },
    }),
  } satisfies ActionTable;
};
