/**
 * The network of guests as vpcd keeps it: a launch claims interfaces there, and the user-mode network
 * carries what it can of them. An address outside the block that QEMU's network may span stays in the
 * records and in metadata; the guest is given one of its own, which nobody else sees.
 *
 * SSH is forwarded when a rule of the instance's groups lets port 22 in from somewhere. An instance
 * that has no group but its VPC's default one is reached by its operator in any case: that group lets
 * nobody in, and a new cloud would have no way to a first guest.
 */
import type { Bus } from "../../bus/bus.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { Resources } from "../../resources/resource.ts";
import {
  claimInterfaces,
  type InstanceInterface,
  instanceInterfaces,
  type InterfacesChanged,
  interfacesChanged,
  type InterfaceWish,
  portIsOpen,
  releaseInterfaces,
  sweepInterfaces,
} from "../../vpcd/contract.ts";
import type { InstanceRecord } from "../contract.ts";
import type {
  DefaultNetwork,
  GuestConnection,
  GuestNetwork,
  InstanceNetwork,
  NetworkOwner,
  UserNetwork,
} from "./network.ts";

export interface VpcNetworkOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly inner: UserNetwork;
}

/** 160.0.0.0/4, which QEMU's network spans. */
const isCarried = (address: string) => {
  const first = Number(address.split(".")[0]);
  return first >= 160 && first < 176;
};
/** What a guest is given whose address is not carried; each guest has a network to itself. */
const wireAddress = "172.31.255.250";

const primaryWish: InterfaceWish = { device_index: 0, delete_on_termination: true };

function networkOf(interfaces: readonly InstanceInterface[]): InstanceNetwork {
  const [primary] = interfaces;
  if (primary === undefined) throw new Error("vpcd answered no interface");
  return {
    private_ip: primary.private_ip,
    private_dns_name: primary.private_dns_name,
    mac: primary.mac,
    subnet_id: primary.subnet_id,
    vpc_id: primary.vpc_id,
    interface_id: primary.interface_id,
    interfaces,
  };
}

export class VpcNetwork implements GuestNetwork {
  readonly #options: VpcNetworkOptions;

  constructor(options: VpcNetworkOptions) {
    this.#options = options;
  }

  defaults(account: string, az: string): Promise<DefaultNetwork> {
    return this.#options.inner.defaults(account, az);
  }

  async check(account_id: string, wishes: readonly InterfaceWish[], count: number): Promise<void> {
    const request = { account_id, instance_id: "", check_only: true, count, wishes };
    await this.#options.bus.ask(claimInterfaces, request);
  }

  async claim(
    { account_id, instance_id }: NetworkOwner,
    wishes: readonly InterfaceWish[] = [primaryWish],
  ): Promise<InstanceNetwork> {
    const request = { account_id, instance_id, wishes };
    return networkOf(await this.#options.bus.ask(claimInterfaces, request));
  }

  async release(
    owner: NetworkOwner,
    network: Pick<InstanceNetwork, "private_ip">,
  ): Promise<void> {
    const { account_id, instance_id } = owner;
    await this.#options.bus.ask(releaseInterfaces, { account_id, instance_id });
    // An instance from before vpcd has a claim here.
    await this.#options.inner.release(owner, network);
  }

  async connect(
    instanceId: string,
    network: InstanceNetwork,
    account?: string,
  ): Promise<GuestConnection> {
    const carried = isCarried(network.private_ip)
      ? network
      : { ...network, private_ip: wireAddress };
    const groups = (network.interfaces ?? []).flatMap((one) => one.groups);
    const chosen = groups.filter((one) => one.name !== "default").length > 0;
    const { open } = !chosen || account === undefined
      ? { open: true }
      : await this.#options.bus.ask(portIsOpen, {
        account_id: account,
        group_ids: groups.map((one) => one.id),
        port: 22,
      });
    return this.#options.inner.connect(instanceId, carried, open);
  }

  async sweep(exists: (account: string, instanceId: string) => boolean): Promise<void> {
    await this.#options.inner.sweep(exists);
    const { bus } = this.#options;
    for (const { account_id, instance_id } of await bus.ask(sweepInterfaces, null)) {
      if (exists(account_id, instance_id)) continue;
      await bus.ask(releaseInterfaces, { account_id, instance_id });
    }
  }

  /** Keeps what instances show of their interfaces as vpcd has it. */
  follow(instances: Resources<InstanceRecord>): { close(): Promise<void> } {
    const { bus, log } = this.#options;
    return bus.listen<InterfacesChanged>(interfacesChanged, async ({ account_id, instance_id }) => {
      if (instances.get(account_id, instance_id)?.network.interfaces === undefined) return;
      const interfaces = await bus.ask(instanceInterfaces, { account_id, instance_id });
      if (interfaces.length === 0) return;
      await instances.modify(account_id, instance_id, (now) => {
        const network = { ...now.network, interfaces };
        return JSON.stringify(network) === JSON.stringify(now.network) ? now : { ...now, network };
      }).catch((error) =>
        log.warn("interfaces_follow_failed", { instance_id, ...errorFields(error) })
      );
    });
  }
}
