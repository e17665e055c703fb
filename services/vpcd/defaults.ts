/**
 * What every account has without asking: a default VPC with a subnet, an internet gateway and a route
 * to it. Made once, at the account's first call; ids follow from the account, so that a second try
 * completes the first. What its owner deletes stays deleted.
 */
import { idOf } from "../resources/ids.ts";
import { accountNetwork, settingsId } from "./kinds/account_networks.ts";
import { localGateway } from "./kinds/local_gateways.ts";
import type { Network } from "./network.ts";
import { makeDefaultVpc } from "./families/vpc_parts.ts";

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
      await makeDefaultVpc(
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
