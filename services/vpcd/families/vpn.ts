/** Site-to-site VPN: customer gateways, virtual private gateways, and the connections between them. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import { parseAddress, parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidCombination, invalidParameter } from "../../resources/errors.ts";
import type { KindRecord } from "../../resources/kind.ts";
import type { Ec2, Input, Shape } from "../../resources/wire.ts";
import { transitGateway } from "../kinds/transit_gateways.ts";
import { vpc } from "../kinds/vpcs.ts";
import { type ConnectionShape, customerGateway, vpnConnection, vpnGateway } from "../kinds/vpn.ts";
import { exactlyOne, given, type Network, oneOf, within } from "../network.ts";

const privateAsn = (asn: number, name: string) => {
  const sixteen = asn >= 64_512 && asn <= 65_534;
  const thirtyTwo = asn >= 4_200_000_000 && asn <= 4_294_967_294;
  if (!sixteen && !thirtyTwo) throw invalidParameter(name, asn, "Expected a private ASN.");
  return asn;
};

/** A tunnel end inside 169.254.0.0/16 and a key, chosen here where the caller gives none. */
function tunnel(
  at: number,
  given_: {
    readonly TunnelInsideCidr?: string | undefined;
    readonly PreSharedKey?: string | undefined;
  } = {},
) {
  const random = crypto.getRandomValues(new Uint8Array(2));
  const inside = given_.TunnelInsideCidr ??
    `169.254.${64 + (random[0] ?? 0) % 128}.${(random[1] ?? 0) & 252}/30`;
  const block = parseBlock(inside);
  if (block?.version !== 4 || block.bits !== 30 || !inside.startsWith("169.254.")) {
    throw invalidParameter("tunnelInsideCidr", inside, "Expected a /30 block of 169.254.0.0/16.");
  }
  const key = given_.PreSharedKey ??
    crypto.getRandomValues(new Uint8Array(24)).toBase64({ alphabet: "base64url" }).replaceAll(
      "-",
      ".",
    );
  if (key.length < 8 || key.length > 64 || !/^[\w.]+$/.test(key) || key.startsWith("0")) {
    if (given_.PreSharedKey !== undefined) {
      throw invalidParameter("preSharedKey", "****", "Expected 8 to 64 letters, digits, . or _.");
    }
    return tunnelOf(at, showBlock(block), `k${key.slice(1)}`);
  }
  return tunnelOf(at, showBlock(block), key);
}
const tunnelOf = (at: number, inside: string, key: string) => ({
  // Ends of the shared address space: this cloud has no public ones of its own.
  OutsideIpAddress: `100.127.255.${10 + at}`,
  TunnelInsideCidr: inside,
  PreSharedKey: key,
});

const now = () => new Date().toISOString();

export const vpnActions = ({ operations: n, records }: Network) => {
  const withTunnel = (
    record: KindRecord<ConnectionShape>,
    outside: string,
    change: (options: Shape<Ec2.TunnelOption>) => Shape<Ec2.TunnelOption>,
  ): Partial<ConnectionShape> => {
    const tunnels = record.shape.Options?.TunnelOptions ?? [];
    if (!tunnels.some((one) => one.OutsideIpAddress === outside)) {
      throw invalidParameter(
        "vpnTunnelOutsideIpAddress",
        outside,
        "The connection has no such tunnel.",
      );
    }
    return {
      Options: {
        ...record.shape.Options,
        TunnelOptions: tunnels.map((one) => one.OutsideIpAddress === outside ? change(one) : one),
      },
      State: "modifying",
    };
  };
  return {
    CreateCustomerGateway: n.creates(customerGateway, {
      answer: "CustomerGateway",
      without: ["PublicIp", "BgpAsn", "BgpAsnExtended", "IpAddress"],
      make: (input) => {
        oneOf(input.Type, ["ipsec.1"], "type", "ipsec.1");
        const address = input.IpAddress ?? input.PublicIp;
        if (address === undefined && input.CertificateArn === undefined) {
          throw invalidCombination("Give ipAddress or certificateArn.");
        }
        if (address !== undefined && parseAddress(address) === undefined) {
          throw invalidParameter("ipAddress", address, "Invalid format for IP address.");
        }
        const asn = within(input.BgpAsn ?? 65_000, 1, 2_147_483_647, "bgpAsn");
        return {
          BgpAsn: String(asn),
          ...(address === undefined ? {} : { IpAddress: address }),
          State: "available",
        };
      },
    }),
    DescribeCustomerGateways: n.describes(customerGateway, {
      list: "CustomerGateways",
      ids: "CustomerGatewayIds",
    }),
    DeleteCustomerGateway: n.deletes(customerGateway, {
      id: "CustomerGatewayId",
      inUse: "IncorrectState",
      last: () => ({ State: "deleted" }),
    }),

    CreateVpnGateway: n.creates(vpnGateway, {
      answer: "VpnGateway",
      make: (input) => ({
        AmazonSideAsn: privateAsn(input.AmazonSideAsn ?? 64_512, "amazonSideAsn"),
        State: "available",
        Type: oneOf(input.Type, ["ipsec.1"], "type", "ipsec.1"),
        VpcAttachments: [],
      }),
    }),
    DescribeVpnGateways: n.describes(vpnGateway, { list: "VpnGateways", ids: "VpnGatewayIds" }),
    DeleteVpnGateway: n.deletes(vpnGateway, {
      id: "VpnGatewayId",
      inUse: "IncorrectState",
      refuse: (record) => {
        if (record.shape.VpcAttachments?.some((one) => one.State === "attached")) {
          throw new AwsError(
            "IncorrectState",
            `The vpnGateway '${record.id}' is attached to a VPC.`,
          );
        }
      },
      last: () => ({ State: "deleted" }),
    }),
    AttachVpnGateway: n.changes(vpnGateway, {
      id: "VpnGatewayId",
      change: async (record, input, call) => {
        const of = await records.require(vpc, call.account_id, input.VpcId);
        if ((record.shape.VpcAttachments ?? []).length > 0) {
          throw new AwsError("IncorrectState", `${record.id} is attached to a VPC already.`);
        }
        if (records.find(vpnGateway, call.account_id, of.id).length > 0) {
          throw invalidParameter("vpcId", of.id, "The VPC has a virtual private gateway already.");
        }
        return { VpcAttachments: [{ State: "attached", VpcId: of.id }] };
      },
      answer: (record) => ({ VpcAttachment: record.shape.VpcAttachments?.[0] }),
    }),
    DetachVpnGateway: n.changes(vpnGateway, {
      id: "VpnGatewayId",
      change: async (record, input, call) => {
        await records.require(vpc, call.account_id, input.VpcId);
        if (!record.shape.VpcAttachments?.some((one) => one.VpcId === input.VpcId)) {
          throw new AwsError(
            "InvalidVpnGatewayAttachment.NotFound",
            `The attachment of ${record.id} to ${input.VpcId} does not exist`,
          );
        }
        return { VpcAttachments: [] };
      },
    }),

    CreateVpnConnection: n.creates(vpnConnection, {
      answer: "VpnConnection",
      without: ["Options"],
      make: async (input, call) => {
        oneOf(input.Type, ["ipsec.1"], "type", "ipsec.1");
        if (input.VpnGatewayId !== undefined && input.TransitGatewayId !== undefined) {
          throw invalidCombination("Give either vpnGatewayId or transitGatewayId.");
        }
        await records.require(customerGateway, call.account_id, input.CustomerGatewayId);
        const tunnels = input.Options?.TunnelOptions ?? [];
        if (tunnels.length > 2) {
          throw invalidParameter("tunnelOptions", tunnels.length, "There are two.");
        }
        return {
          Category: "VPN",
          Options: {
            EnableAcceleration: input.Options?.EnableAcceleration ?? false,
            LocalIpv4NetworkCidr: input.Options?.LocalIpv4NetworkCidr ?? "0.0.0.0/0",
            RemoteIpv4NetworkCidr: input.Options?.RemoteIpv4NetworkCidr ?? "0.0.0.0/0",
            OutsideIpAddressType: "PublicIpv4",
            StaticRoutesOnly: input.Options?.StaticRoutesOnly ?? false,
            TunnelInsideIpVersion: "ipv4",
            TunnelOptions: [tunnel(1, tunnels[0]), tunnel(2, tunnels[1])],
          },
          Routes: [],
          State: "pending",
          VgwTelemetry: [1, 2].map((at) => ({
            AcceptedRouteCount: 0,
            LastStatusChange: now(),
            OutsideIpAddress: tunnelOf(at, "", "").OutsideIpAddress,
            Status: "DOWN",
            StatusMessage: "The peer does not answer.",
          })),
        };
      },
    }),
    DescribeVpnConnections: n.describes(vpnConnection, {
      list: "VpnConnections",
      ids: "VpnConnectionIds",
    }),
    DeleteVpnConnection: n.deletes(vpnConnection, {
      id: "VpnConnectionId",
      passing: () => ({ State: "deleting" }),
    }),
    ModifyVpnConnection: n.changes(vpnConnection, {
      id: "VpnConnectionId",
      change: async (record, input, call) => {
        exactlyOne(input, ["VpnGatewayId", "TransitGatewayId", "CustomerGatewayId"]);
        if (input.VpnGatewayId !== undefined) {
          await records.require(vpnGateway, call.account_id, input.VpnGatewayId);
          return {
            VpnGatewayId: input.VpnGatewayId,
            TransitGatewayId: undefined,
            State: "modifying",
          };
        }
        if (input.TransitGatewayId !== undefined) {
          await records.require(transitGateway, call.account_id, input.TransitGatewayId);
          return {
            TransitGatewayId: input.TransitGatewayId,
            VpnGatewayId: undefined,
            State: "modifying",
          };
        }
        const gateway = input.CustomerGatewayId ?? record.shape.CustomerGatewayId ?? "";
        await records.require(customerGateway, call.account_id, gateway);
        return { CustomerGatewayId: gateway, State: "modifying" };
      },
      answer: "VpnConnection",
    }),
    ModifyVpnConnectionOptions: n.changes(vpnConnection, {
      id: "VpnConnectionId",
      change: (record, input) => {
        const options = { ...record.shape.Options };
        const blocks = [
          ["LocalIpv4NetworkCidr", 4],
          ["RemoteIpv4NetworkCidr", 4],
          ["LocalIpv6NetworkCidr", 6],
          ["RemoteIpv6NetworkCidr", 6],
        ] as const;
        for (const [name, version] of blocks) {
          const text = input[name];
          if (text === undefined) continue;
          const block = parseBlock(text);
          if (block?.version !== version) {
            throw invalidParameter(name, text, "This is not a valid CIDR block.");
          }
          options[name] = showBlock(block);
        }
        return { Options: options, State: "modifying" };
      },
      answer: "VpnConnection",
    }),
    ModifyVpnTunnelOptions: n.changes(vpnConnection, {
      id: "VpnConnectionId",
      change: (record, input) =>
        withTunnel(record, input.VpnTunnelOutsideIpAddress, (one) => {
          const checked = tunnel(1, { ...one, ...input.TunnelOptions });
          return {
            ...one,
            ...(input.TunnelOptions as Partial<Shape<Ec2.TunnelOption>>),
            PreSharedKey: checked.PreSharedKey,
            TunnelInsideCidr: checked.TunnelInsideCidr,
          };
        }),
      answer: "VpnConnection",
    }),
    ModifyVpnTunnelCertificate: n.changes(vpnConnection, {
      id: "VpnConnectionId",
      change: (record, input) => withTunnel(record, input.VpnTunnelOutsideIpAddress, (one) => one),
      answer: "VpnConnection",
    }),
    CreateVpnConnectionRoute: n.changes(vpnConnection, {
      id: "VpnConnectionId",
      change: (record, input) => ({ Routes: [...staticRoutes(record, input), route(input)] }),
    }),
    DeleteVpnConnectionRoute: n.changes(vpnConnection, {
      id: "VpnConnectionId",
      change: (record, input) => {
        const left = staticRoutes(record, input);
        if (left.length === (record.shape.Routes ?? []).length) {
          throw new AwsError(
            "InvalidRoute.NotFound",
            `There is no route to ${input.DestinationCidrBlock} in ${record.id}.`,
          );
        }
        return { Routes: left };
      },
    }),
  } satisfies ActionTable;
};

type RouteInput = Input<"CreateVpnConnectionRoute">;
function route(input: RouteInput) {
  const block = parseBlock(given(input.DestinationCidrBlock, "destinationCidrBlock"));
  if (block === undefined) {
    throw invalidParameter(
      "destinationCidrBlock",
      input.DestinationCidrBlock,
      "This is not a valid CIDR block.",
    );
  }
  return {
    DestinationCidrBlock: showBlock(block),
    Source: "Static",
    State: "available",
  };
}

/** The routes without the one that the request names. */
function staticRoutes(record: KindRecord<ConnectionShape>, input: RouteInput) {
  if (record.shape.Options?.StaticRoutesOnly !== true) {
    throw new AwsError(
      "InvalidVpnConnection.InvalidType",
      "The connection does not use static routes.",
    );
  }
  const wanted = route(input).DestinationCidrBlock;
  return (record.shape.Routes ?? []).filter((one) => one.DestinationCidrBlock !== wanted);
}
