/**
 * What a VPC is made with: the main route table, the default ACL and the default group, and for a default
 * VPC the subnet, the gateway and the route to it. Ids follow from the VPC's, so that a creation that was
 * cut off is completed by repeating it.
 */
import { idOf, newId } from "../../resources/ids.ts";
import type { Records } from "../../resources/records.ts";
import { internetGateway } from "../kinds/internet_gateways.ts";
import { subnet } from "../kinds/subnets.ts";
import { vpc, type VpcRecord, type VpcShape } from "../kinds/vpcs.ts";
import type { Network } from "../network.ts";
import { makeDefaultAcl } from "./network_acls.ts";
import { makeMainTable } from "./route_tables.ts";
import { addRoute } from "./routes.ts";
import { makeDefaultGroup } from "./security_groups.ts";
import { makeDefaultSubnet } from "./subnets.ts";

export const associatedBlock = (block: string) => ({
  AssociationId: newId("vpc-cidr-assoc-"),
  CidrBlock: block,
  CidrBlockState: { State: "associated" as const },
});

export const vpcShape = (block: string, isDefault: boolean): VpcShape => ({
  CidrBlock: block,
  CidrBlockAssociationSet: [associatedBlock(block)],
  DhcpOptionsId: "default",
  EnableDnsHostnames: isDefault,
  EnableDnsSupport: true,
  InstanceTenancy: "default",
  Ipv6CidrBlockAssociationSet: [],
  IsDefault: isDefault,
  State: "pending",
});

/** Main route table, default ACL and default group; repeating it changes nothing. */
export async function makeParts(records: Records, record: VpcRecord): Promise<void> {
  await makeMainTable(records, record.account_id, record.id, record.shape.CidrBlock ?? "");
  await makeDefaultAcl(records, record.account_id, record.id);
  await makeDefaultGroup(records, record.account_id, record.id);
}

/** Makes a default VPC with this id, and its subnet, gateway and route. */
export async function makeDefaultVpc(
  network: Network,
  account: string,
  id: string,
  subnetId?: string,
): Promise<VpcRecord> {
  const { records } = network;
  const record = await records.create(vpc, account, vpcShape("172.31.0.0/16", true), { id });
  await makeDefaultParts(network, record, subnetId);
  return record;
}

/** What any VPC has, and a default subnet, a gateway and a route to it; repeating it changes nothing. */
export async function makeDefaultParts(
  network: Network,
  record: VpcRecord,
  subnetId?: string,
): Promise<void> {
  const { records } = network;
  const { account_id: account, id } = record;
  await makeParts(records, record);
  const subnets = records.find(subnet, account, id);
  if (!subnets.some((one) => one.shape.DefaultForAz === true)) {
    await makeDefaultSubnet(network, account, id, subnetId ?? await idOf("subnet-", id));
  }
  const gateway = await records.create(internetGateway, account, {
    Attachments: [{ State: "available", VpcId: id }],
  }, { id: await idOf("igw-", id) });
  await addRoute(records, account, await idOf("rtb-", id, "main"), {
    DestinationCidrBlock: "0.0.0.0/0",
    GatewayId: gateway.id,
    Origin: "CreateRoute",
    State: "active",
  });
}
