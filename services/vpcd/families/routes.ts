/** Routes of route tables: each goes to exactly one target, which must be there. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { parseBlock, showBlock } from "../../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import type { Records } from "../../resources/records.ts";
import type { Ec2, Input, Shape } from "../../resources/wire.ts";
import { networkInterface } from "../kinds/interfaces.ts";
import { internetGateway } from "../kinds/internet_gateways.ts";
import { requireList } from "../kinds/prefix_lists.ts";
import { routeTable, type TableRecord, targets } from "../kinds/route_tables.ts";
import { vpnGateway } from "../kinds/vpn.ts";
import { exactlyOne, type Network } from "../network.ts";
import { requirePeering } from "./peering.ts";

type Route = Shape<Ec2.Route>;

type Destination = Pick<
  Input<"CreateRoute">,
  "DestinationCidrBlock" | "DestinationIpv6CidrBlock" | "DestinationPrefixListId"
>;
const destinationNames = [
  "DestinationCidrBlock",
  "DestinationIpv6CidrBlock",
  "DestinationPrefixListId",
] as const;

const destinationOf = (route: Route | Destination) =>
  route.DestinationCidrBlock ?? route.DestinationIpv6CidrBlock ?? route.DestinationPrefixListId ??
    "";

/** @throws AwsError */
function readDestination(input: Destination): Destination {
  exactlyOne(input, destinationNames);
  if (input.DestinationPrefixListId !== undefined) {
    return { DestinationPrefixListId: input.DestinationPrefixListId };
  }
  const text = destinationOf(input);
  const block = parseBlock(text);
  const version = input.DestinationCidrBlock === undefined ? 6 : 4;
  if (block?.version !== version) {
    throw invalidParameter("destinationCidrBlock", text, "This is not a valid CIDR block.");
  }
  const shown = showBlock(block);
  return version === 4 ? { DestinationCidrBlock: shown } : { DestinationIpv6CidrBlock: shown };
}

const noRoute = (tableId: string, destination: string) =>
  new AwsError(
    "InvalidRoute.NotFound",
    `no route with destination-cidr-block ${destination} in route table ${tableId}`,
  );

/** @param attachments the gateway's. @throws AwsError where none is to the table's VPC */
export function requireSameNetwork(
  table: TableRecord,
  gateway: string,
  attachments: readonly { readonly VpcId?: string | undefined }[] | undefined,
): void {
  if (attachments?.some((one) => one.VpcId === table.shape.VpcId)) return;
  throw invalidParameter(
    "gatewayId",
    gateway,
    `route table ${table.id} and network gateway ${gateway} belong to different networks`,
  );
}

/** Unless the table has a route for the destination. */
export async function addRoute(
  records: Records,
  account: string,
  tableId: string,
  route: Route,
): Promise<void> {
  await records.change(routeTable, account, tableId, (now) => {
    const routes = now.shape.Routes ?? [];
    return routes.some((one) => destinationOf(one) === destinationOf(route))
      ? {}
      : { Routes: [...routes, route] };
  });
}

export const routeActions = ({ operations: n, records }: Network) => {
  /** The one target of a route, which must be there. */
  const readTarget = async (
    input: Input<"CreateRoute"> | Input<"ReplaceRoute">,
    table: TableRecord,
    call: Call,
  ): Promise<Partial<Route>> => {
    if ("VpcEndpointId" in input && input.VpcEndpointId !== undefined) {
      await records.require(
        records.kindNamed("vpc-endpoint"),
        call.account_id,
        input.VpcEndpointId,
      );
      return { GatewayId: input.VpcEndpointId };
    }
    const names = Object.keys(targets) as (keyof typeof targets)[];
    const givenNames = names.filter((name) => input[name] !== undefined);
    if (givenNames.length === 0) throw missingParameter("GatewayId or another target");
    exactlyOne(input, names);
    const [name = "GatewayId"] = givenNames;
    const id = String(input[name]);
    const kindName = targets[name];
    if (name === "VpcPeeringConnectionId") {
      requirePeering(records, call.account_id, id);
    } else if (kindName !== undefined) {
      await records.require(records.kindNamed(kindName), call.account_id, id);
    } else if (name === "GatewayId") {
      if (id === "local") return { GatewayId: "local" };
      if (id.startsWith("vgw-")) {
        await records.require(vpnGateway, call.account_id, id);
      } else {
        const gateway = await records.require(internetGateway, call.account_id, id).catch(
          (error) => {
            if (!(error instanceof AwsError) || error.status >= 500) throw error;
            throw new AwsError(
              "InvalidGatewayID.NotFound",
              `The gateway ID '${id}' does not exist`,
            );
          },
        );
        requireSameNetwork(table, id, gateway.shape.Attachments);
      }
    } else if (name === "InstanceId") {
      const path = "Attachment.InstanceId";
      const [eni] = records.findAt(networkInterface, call.account_id, path, id);
      if (eni === undefined) {
        throw new AwsError("InvalidInstanceID.NotFound", `The instance ID '${id}' does not exist`);
      }
      return { InstanceId: id, InstanceOwnerId: call.account_id, NetworkInterfaceId: eni.id };
    }
    return { [name]: id };
  };
  return {
    CreateRoute: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        const destination = readDestination(input);
        const list = destination.DestinationPrefixListId;
        if (list !== undefined) await requireList(records, call.account_id, list);
        const target = await readTarget(input, record, call);
        const routes = record.shape.Routes ?? [];
        if (routes.some((one) => destinationOf(one) === destinationOf(destination))) {
          throw new AwsError(
            "RouteAlreadyExists",
            `The route identified by ${destinationOf(destination)} already exists.`,
          );
        }
        if (routes.length >= 500) {
          throw new AwsError("RouteLimitExceeded", "A route table may have 500 routes.");
        }
        return {
          Routes: [...routes, {
            ...destination,
            ...target,
            Origin: "CreateRoute",
            State: "active",
          }],
        };
      },
    }),
    ReplaceRoute: n.changes(routeTable, {
      id: "RouteTableId",
      change: async (record, input, call) => {
        const destination = readDestination(input);
        const target = input.LocalTarget === true
          ? { GatewayId: "local" }
          : await readTarget(input, record, call);
        const routes = record.shape.Routes ?? [];
        const old = routes.find((one) => destinationOf(one) === destinationOf(destination));
        if (old === undefined) throw noRoute(record.id, destinationOf(destination));
        const fresh: Route = {
          ...destination,
          ...target,
          ...(old.Origin === undefined ? {} : { Origin: old.Origin }),
          State: "active",
        };
        return { Routes: routes.map((one) => one === old ? fresh : one) };
      },
    }),
    DeleteRoute: n.changes(routeTable, {
      id: "RouteTableId",
      change: (record, input) => {
        const destination = destinationOf(readDestination(input));
        const old = record.shape.Routes?.find((one) => destinationOf(one) === destination);
        if (old === undefined) throw noRoute(record.id, destination);
        if (old.GatewayId === "local") {
          throw invalidParameter(
            "destinationCidrBlock",
            destination,
            `cannot remove local route ${destination} in route table ${record.id}`,
          );
        }
        return { Routes: record.shape.Routes?.filter((one) => one !== old) };
      },
    }),
  } satisfies ActionTable;
};
