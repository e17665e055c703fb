/**
 * Guests' networks behind one interface, and its first implementation: QEMU's user-mode network.
 *
 * Every guest gets a network of its own that holds its private address and 169.254.169.254. Nothing
 * is routed: `restrict` refuses all but the metadata address and the forwarding of one local port to
 * the guest's SSH. A guest therefore reaches neither the host, nor another guest, nor the internet.
 *
 * The network is as wide as 160.0.0.0/4, the smallest that contains both AWS's default VPC
 * (172.31.0.0/16) and the metadata address, since a restricted network gives its guest no gateway.
 *
 * Each connection to the metadata address starts one `socat` to the instance's own socket, so the
 * metadata service knows who asks by the socket and needs no trust in addresses.
 */
import { AwsError } from "../../aws/errors.ts";
import { freePorts } from "../../config/free_ports.ts";
import type { Paths } from "../../config/node_config.ts";
import { Conflict, type Table } from "../../state/table.ts";
import type { InstanceRecord } from "../contract.ts";
import { idOf } from "../../resources/ids.ts";
import type { InterfaceWish } from "../../vpcd/contract.ts";

export type InstanceNetwork = InstanceRecord["network"];

/** The VPC, subnet and group that every account has without asking. */
export interface DefaultNetwork {
  readonly vpc_id: string;
  readonly subnet_id: string;
  readonly security_group_id: string;
}

export interface GuestConnection {
  /** What the hypervisor is given. */
  readonly arguments: readonly string[];
  /** Port of this node's loopback that reaches the guest's port 22. */
  readonly ssh_port?: number;
}

export interface GuestNetwork {
  defaults(account: string, az: string): Promise<DefaultNetwork>;
  /** Claims an address for an instance, or answers the one that it has claimed already. */
  claim(instance: NetworkOwner, wishes?: readonly InterfaceWish[]): Promise<InstanceNetwork>;
  /** Whether that many instances could have such interfaces. @throws AwsError in EC2's codes */
  check(account: string, wishes: readonly InterfaceWish[], count: number): Promise<void>;
  /** Gives the address back; repeating it is no error. */
  release(instance: NetworkOwner, network: Pick<InstanceNetwork, "private_ip">): Promise<void>;
  /** Makes ready what a start of the guest needs. */
  connect(
    instanceId: string,
    network: InstanceNetwork,
    account?: string,
  ): Promise<GuestConnection>;
  /** Gives back claims of instances that came to nothing. */
  sweep(exists: (account: string, instanceId: string) => boolean): Promise<void>;
}

export interface NetworkOwner {
  readonly account_id: string;
  readonly instance_id: string;
  readonly az: string;
}

export interface AddressClaim {
  readonly instance_id: string;
  readonly claimed_ms: number;
}

/** KV bucket of claimed addresses: `<account>.<address with dashes>`. */
export const addressBucket = "ec2_addresses";

/** 172.31.0.0/20, as the first default subnet at AWS, which keeps the first four addresses and the last. */
export const subnetCidr = "172.31.0.0/20";
const subnetBase = 172 * 2 ** 24 + 31 * 2 ** 16;
const firstHost = 4;
const lastHost = 4094;
const hosts = lastHost - firstHost + 1;

/** An unrecorded instance's claim is kept this long: its launch may be under way. */
const claimGrace_ms = 10 * 60_000;

function addressOf(host: number): string {
  const value = subnetBase + host;
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join(".");
}

const keyOf = (account: string, address: string) => `${account}.${address.replaceAll(".", "-")}`;

/** A word for the shell-like parser that splits the forwarding's command. */
const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
/** socat ends its addresses' words at these. */
const socatPath = (path: string) => path.replace(/[\\,:!'"(){}[\]]/g, (sign) => `\\${sign}`);

export interface UserNetworkOptions {
  readonly claims: Table<AddressClaim>;
  readonly paths: Paths;
  readonly region: string;
  /** Makes the ids of the default VPC and its parts. */
  readonly cluster_id: string;
}

export class UserNetwork {
  readonly #options: UserNetworkOptions;

  constructor(options: UserNetworkOptions) {
    this.#options = options;
  }

  async defaults(account: string, az: string): Promise<DefaultNetwork> {
    const { cluster_id } = this.#options;
    const vpc_id = await idOf("vpc-", cluster_id, account);
    return {
      vpc_id,
      subnet_id: await idOf("subnet-", cluster_id, account, az),
      // The default group of a VPC is as old as the VPC; metadata derives its id in the same way.
      security_group_id: vpc_id.replace(/^vpc-/, "sg-"),
    };
  }

  async claim(instance: NetworkOwner): Promise<InstanceNetwork> {
    const { claims } = this.#options;
    // A launch that is repeated after a crash goes on with the address that it has.
    for (const row of claims.list(`${instance.account_id}.`)) {
      if (row.value.instance_id !== instance.instance_id) continue;
      const address = row.key.slice(row.key.indexOf(".") + 1).replaceAll("-", ".");
      return await this.#networkOf(instance, address);
    }
    const offset = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    for (let step = 0; step < hosts; step++) {
      const host = firstHost + (offset + step) % hosts;
      const address = addressOf(host);
      const key = keyOf(instance.account_id, address);
      if (claims.get(key) !== undefined) continue;
      try {
        await claims.create(key, {
          instance_id: instance.instance_id,
          claimed_ms: Date.now(),
        });
      } catch (error) {
        if (error instanceof Conflict) continue;
        throw error;
      }
      return await this.#networkOf(instance, address);
    }
    throw new AwsError(
      "InsufficientFreeAddressesInSubnet",
      `The subnet ${subnetCidr} has no free address left. Terminate instances to get some back.`,
    );
  }

  async #networkOf(instance: NetworkOwner, address: string): Promise<InstanceNetwork> {
    const { vpc_id, subnet_id } = await this.defaults(instance.account_id, instance.az);
    const name = `ip-${address.replaceAll(".", "-")}`;
    return {
      private_ip: address,
      private_dns_name: `${name}.${this.#options.region}.compute.internal`,
      mac: macOf(instance.instance_id),
      subnet_id,
      vpc_id,
      interface_id: await idOf("eni-", instance.instance_id),
    };
  }

  async release(
    instance: NetworkOwner,
    network: Pick<InstanceNetwork, "private_ip">,
  ): Promise<void> {
    const { claims } = this.#options;
    const row = await claims.read(keyOf(instance.account_id, network.private_ip));
    if (row?.value.instance_id !== instance.instance_id) return;
    await claims.delete(row.key, row.revision).catch((error) => {
      if (!(error instanceof Conflict)) throw error;
    });
  }

  /** @param forwardSsh whether a local port reaches the guest's port 22 */
  connect(instanceId: string, network: InstanceNetwork, forwardSsh = true): GuestConnection {
    const { paths } = this.#options;
    // Free now; who takes it before QEMU does makes the start fail, and be tried again.
    const [ssh_port = 0] = freePorts(1);
    const metadata = [
      "socat",
      // A guest that half-closes still gets its answer; one that says nothing is let go.
      ...["-t", "10", "-T", "75"],
      "-",
      quoted(`UNIX-CONNECT:${socatPath(paths.imds(instanceId))}`),
    ].join(" ");
    return {
      ...(forwardSsh ? { ssh_port } : {}),
      arguments: [
        "-netdev",
        JSON.stringify({
          type: "user",
          id: "net",
          ipv6: false,
          restrict: true,
          net: "160.0.0.0/4",
          host: "172.31.0.1",
          dns: "172.31.0.2",
          dhcpstart: network.private_ip,
          hostname: network.private_dns_name.split(".")[0],
          domainname: network.private_dns_name.split(".").slice(1).join("."),
          guestfwd: [{ str: `tcp:169.254.169.254:80-cmd:${metadata}` }],
          ...(forwardSsh
            ? { hostfwd: [{ str: `tcp:127.0.0.1:${ssh_port}-${network.private_ip}:22` }] }
            : {}),
        }),
        "-device",
        JSON.stringify({
          driver: "virtio-net-pci",
          netdev: "net",
          mac: network.mac,
          romfile: "",
          "disable-legacy": "on",
        }),
      ],
    };
  }

  async sweep(exists: (account: string, instanceId: string) => boolean): Promise<void> {
    for (const row of this.#options.claims.list()) {
      const account = row.key.split(".")[0] ?? "";
      if (Date.now() - row.value.claimed_ms < claimGrace_ms) continue;
      if (exists(account, row.value.instance_id)) continue;
      await this.#options.claims.delete(row.key, row.revision).catch((error) => {
        if (!(error instanceof Conflict)) throw error;
      });
    }
  }
}

/** Locally administered, unicast, begins with 06 as EC2's do, and follows from the instance's id. */
export function macOf(instanceId: string): string {
  const digits = instanceId.replace(/^i-/, "").padStart(10, "0").slice(0, 10);
  return `06:${digits.match(/../g)?.join(":")}`;
}
