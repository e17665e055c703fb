/**
 * What every account has without asking: a default VPC with a subnet, an internet gateway and a route
 * to it. Made once, at the account's first call; ids follow from the account, so that a second try
 * completes the first. What its owner deletes stays deleted.
 */
import { idOf } from "../resources/ids.ts";
import { kind } from "../resources/kind.ts";
import { internetGateway } from "./internet_gateways.ts";
import { localGateway } from "./local_gateways.ts";
import type { Network } from "./network.ts";
import { addRoute } from "./route_tables.ts";
import { makeDefaultSubnet } from "./subnets.ts";
import { makeDefaultVpc } from "./vpcs.ts";

/** That an account has had its default network. Not shown by any action. */
export const accountNetwork = kind<{ readonly Settings: Readonly<Record<string, string>> }>({
  name: "account-network",
  idPrefix: "account-",
  id: "AccountNetworkId",
  owner: null,
  notFound: "InvalidAccount.NotFound",
});

/** The record of account-wide settings, of which there is one. */
export const settingsId = `account-${"0".repeat(17)}`;

export class Defaults {
  readonly #network: Network;
  readonly #cluster: string;
  readonly #making = new Map<string, Promise<void>>();

  constructor(network: Network, cluster: string) {
    this.#network = network;
    this.#cluster = cluster;
  }

  /** Returns when the account has had its default network. */
  async ready(account: string): Promise<void> {
    const { records } = this.#network;
    if (records.get(accountNetwork, account, settingsId) !== undefined) return;
    const making = this.#making.get(account) ??
      this.#make(account).finally(() => this.#making.delete(account));
    this.#making.set(account, making);
    await making;
  }

  async #make(account: string): Promise<void> {
    const { records, az } = this.#network;
    const vpcId = await idOf("vpc-", this.#cluster, account);
    await records.serialised(account, async () => {
      await makeDefaultVpc(records, account, vpcId);
      await makeDefaultParts(
        this.#network,
        account,
        vpcId,
        await idOf("subnet-", this.#cluster, account, az),
      );
      await records.create(localGateway, account, {
        OutpostArn: `arn:aws:outposts:${this.#network.region}:${account}:outpost/${await idOf(
          "op-",
          this.#cluster,
        )}`,
        State: "available",
      }, { id: await idOf("lgw-", this.#cluster, account) });
      await records.create(accountNetwork, account, { Settings: {} }, { id: settingsId });
    });
  }
}

/** The subnet, gateway and route of a default VPC. */
export async function makeDefaultParts(
  network: Network,
  account: string,
  vpcId: string,
  subnetId?: string,
): Promise<void> {
  const { records } = network;
  await makeDefaultSubnet(network, account, vpcId, subnetId ?? await idOf("subnet-", vpcId));
  const gateway = await records.create(internetGateway, account, {
    Attachments: [{ State: "available", VpcId: vpcId }],
  }, { id: await idOf("igw-", vpcId) });
  await addRoute(records, account, await idOf("rtb-", vpcId, "main"), {
    DestinationCidrBlock: "0.0.0.0/0",
    GatewayId: gateway.id,
    Origin: "CreateRoute",
    State: "active",
  });
}
