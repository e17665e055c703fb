/**
 * vCPUs and memory of the nodes: claimed by compare-and-set before a launch or start, given back
 * when the guest is gone. A claim names its instance, so claiming twice counts once and a claim whose
 * instance came to nothing can be swept.
 */
import { AwsError } from "../../aws/errors.ts";
import type { NodeConfig } from "../../config/node_config.ts";
import type { Table } from "../../state/table.ts";

export interface Need {
  readonly vcpus: number;
  readonly memory_mib: number;
}

export interface NodeClaims {
  readonly claims: Readonly<Record<string, Need & { readonly claimed_ms: number }>>;
}

/** KV bucket, one row per node. */
export const capacityBucket = "ec2_capacity";

/** An unrecorded instance's claim is kept this long: its launch may be under way. */
const claimGrace_ms = 10 * 60_000;

/**
 * An allowance for QEMU itself beside the guest's memory: its own heap, and under TCG translated code
 * as it fills up.
 */
export const overhead_mib = { kvm: 48, tcg: 160 } as const;

/** What this node may sell: the machine's own, less what is kept for the host. */
export function nodeTotal(
  compute: Pick<NodeConfig["compute"], "cpu_overcommit" | "reserve_memory_mib">,
  machine: Need,
): Need {
  return {
    vcpus: Math.floor(machine.vcpus * compute.cpu_overcommit),
    memory_mib: Math.max(0, machine.memory_mib - compute.reserve_memory_mib),
  };
}

export interface CapacityOptions {
  readonly table: Table<NodeClaims>;
  readonly node_id: string;
  readonly total: Need;
  /** Added to the memory of every claim. */
  readonly overhead_mib: number;
}

export class Capacity {
  readonly #options: CapacityOptions;

  constructor(options: CapacityOptions) {
    this.#options = options;
  }

  get total(): Need {
    return this.#options.total;
  }

  /** What is claimed now. */
  get used(): Need & { readonly guests: number } {
    return sum(Object.values(this.#options.table.get(this.#options.node_id)?.value.claims ?? {}));
  }

  /**
   * How many instances of this size find room now, `wanted` at most, and claims for that many.
   * @param instanceIds as many as are wanted; the first ones get the room
   * @param minimum fewer than this is refused and claims nothing
   * @throws AwsError `Unsupported` when the node is too small for even one,
   *   `InsufficientInstanceCapacity` when there is no room now
   */
  async claim(
    instanceIds: readonly string[],
    each: Need,
    minimum: number,
    typeName: string,
  ): Promise<readonly string[]> {
    const { table, node_id, total, overhead_mib } = this.#options;
    const need = { vcpus: each.vcpus, memory_mib: each.memory_mib + overhead_mib };
    if (need.vcpus > total.vcpus || need.memory_mib > total.memory_mib) {
      throw new AwsError(
        "Unsupported",
        `The instance type ${typeName} needs ${each.vcpus} vCPUs and ${each.memory_mib} MiB of memory; ` +
          `this node offers ${total.vcpus} vCPUs and ${total.memory_mib} MiB in all. Choose a smaller type.`,
      );
    }
    let granted: string[] = [];
    await table.modify(node_id, (row) => {
      const claims = { ...row?.claims };
      granted = [];
      let changed = false;
      for (const id of instanceIds) {
        if (claims[id] === undefined) {
          const now = sum(Object.values(claims));
          if (
            now.vcpus + need.vcpus > total.vcpus ||
            now.memory_mib + need.memory_mib > total.memory_mib
          ) break;
          claims[id] = { ...need, claimed_ms: Date.now() };
          changed = true;
        }
        granted.push(id);
      }
      if (granted.length < minimum) {
        const now = sum(Object.values(row?.claims ?? {}));
        throw new AwsError(
          "InsufficientInstanceCapacity",
          `There is not enough capacity for ${minimum} ${typeName}: ` +
            `${total.vcpus - now.vcpus} vCPUs and ${
              total.memory_mib - now.memory_mib
            } MiB of memory are free. ` +
            "Stop or terminate instances, or choose a smaller type.",
          { status: 500 },
        );
      }
      return changed || row === undefined ? { claims } : row;
    });
    return granted;
  }

  /** Gives the claims back; repeating it is no error. */
  async release(instanceIds: readonly string[]): Promise<void> {
    const { table, node_id } = this.#options;
    await table.modify(node_id, (row) => {
      const claims = { ...row?.claims };
      let changed = row === undefined;
      for (const id of instanceIds) {
        changed ||= id in claims;
        delete claims[id];
      }
      return changed || row === undefined ? { claims } : row;
    });
  }

  /** Gives back the claims of instances that hold none by right. */
  async sweep(holds: (instanceId: string) => boolean): Promise<void> {
    const claims = this.#options.table.get(this.#options.node_id)?.value.claims ?? {};
    const stale = Object.entries(claims)
      .filter(([id, claim]) => !holds(id) && Date.now() - claim.claimed_ms > claimGrace_ms)
      .map(([id]) => id);
    if (stale.length > 0) await this.release(stale);
  }
}

function sum(claims: readonly Need[]): Need & { readonly guests: number } {
  return {
    vcpus: claims.reduce((total, claim) => total + claim.vcpus, 0),
    memory_mib: claims.reduce((total, claim) => total + claim.memory_mib, 0),
    guests: claims.length,
  };
}
