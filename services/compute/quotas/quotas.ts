/**
 * What an account may have at most, and whether it may have more: counted as the tables change, so that a
 * check costs the same for one instance and for a hundred thousand. The operator sets an account's limits;
 * they are kept with its other settings.
 *
 * Two requests at once may both fit and together go beyond a limit by one of them: limits keep tenants
 * apart, capacity is claimed elsewhere.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ResourceRecord, Resources } from "../../resources/resource.ts";
import { invalidValue } from "../../resources/errors.ts";
import { mostVpcs } from "../../vpcd/contract.ts";
import { computeSettings, settingsId, settingsOf } from "../record_families/account_settings.ts";
import type { InstanceRecord } from "../contract.ts";
import { sizeOf } from "../instances/instance_types.ts";
import type { ComputeState } from "../state.ts";

export interface Quota {
  /** Whose page it is on in Service Quotas. */
  readonly service: "ec2" | "ebs" | "vpc";
  /** AWS's code of the same quota. */
  readonly code: string;
  readonly name: string;
  readonly unit: "None" | "Count" | "Terabytes";
  readonly usual: number;
  /** Whether the operator may set it for an account. */
  readonly adjustable: boolean;
}

export const quotas = {
  vcpus: {
    service: "ec2",
    code: "L-1216C47A",
    name: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    unit: "None",
    usual: 4096,
    adjustable: true,
  },
  storage_tib: {
    service: "ebs",
    code: "L-7A658B76",
    name: "Storage for General Purpose SSD (gp3) volumes, in TiB",
    unit: "Terabytes",
    usual: 10_000,
    adjustable: true,
  },
  snapshots: {
    service: "ebs",
    code: "L-309BACF6",
    name: "Snapshots per Region",
    unit: "Count",
    usual: 100_000,
    adjustable: true,
  },
  vpcs: {
    service: "vpc",
    code: "L-F678F1CE",
    name: "VPCs per Region",
    unit: "Count",
    usual: mostVpcs,
    adjustable: false,
  },
} as const satisfies Readonly<Record<string, Quota>>;

export const allQuotas: readonly Quota[] = Object.values(quotas);
const gibPerTib = 1024;
const keyOf = ({ code }: Quota) => `quota_${code}`;

/** Sums over the records of each account that follow a table. */
class Tally<R extends ResourceRecord> implements Disposable {
  readonly #sums = new Map<string, number>();
  readonly #weights = new Map<string, number>();
  readonly #unwatch: () => void;

  constructor(resources: Resources<R>, weigh: (record: R) => number) {
    const note = (key: string, record: R | undefined) => {
      const account = key.slice(0, key.indexOf("."));
      const weight = record === undefined ? 0 : weigh(record);
      const change = weight - (this.#weights.get(key) ?? 0);
      if (weight === 0) this.#weights.delete(key);
      else this.#weights.set(key, weight);
      this.#sums.set(account, this.of(account) + change);
    };
    this.#unwatch = resources.table.watch(({ key, row }) => note(key, row?.value));
    for (const row of resources.table.rows()) note(row.key, row.value);
  }

  of(account: string): number {
    return this.#sums.get(account) ?? 0;
  }

  [Symbol.dispose](): void {
    this.#unwatch();
  }
}

export class Quotas implements Disposable {
  readonly #state: ComputeState;
  readonly #vcpus: Tally<InstanceRecord>;
  readonly #gib;
  readonly #snapshots;

  constructor(state: ComputeState, instances: Resources<InstanceRecord>) {
    this.#state = state;
    this.#vcpus = new Tally(
      instances,
      ({ wanted, instance_type }) => wanted === "running" ? sizeOf(instance_type)?.vcpus ?? 0 : 0,
    );
    this.#gib = new Tally(
      state.volumes,
      ({ size_gib, modification }) =>
        modification?.state === "modifying" ? modification.target.size_gib : size_gib,
    );
    this.#snapshots = new Tally(state.snapshots, () => 1);
  }

  limit(account: string, quota: Quota): number {
    const set = settingsOf(this.#state.records, account)[keyOf(quota)];
    return set === undefined ? quota.usual : Number(set);
  }

  /** @throws AwsError `InvalidParameterValue` for what cannot be set */
  async set(account: string, code: string, value: number): Promise<void> {
    const quota = allQuotas.find((one) => one.code === code);
    if (quota === undefined || !quota.adjustable) {
      throw invalidValue(`The quota ${code} cannot be set.`);
    }
    if (!Number.isInteger(value) || value < 0 || value > 1e9) {
      throw invalidValue("A quota is a whole number from 0 to 1,000,000,000.");
    }
    const { records } = this.#state;
    await records.create(computeSettings, account, { Values: {} }, { id: settingsId });
    await records.change(computeSettings, account, settingsId, ({ shape }) => ({
      Values: { ...shape.Values, [keyOf(quota)]: String(value) },
    }));
  }

  /** @throws AwsError `VcpuLimitExceeded` */
  checkVcpus(account: string, more: number): void {
    const limit = this.limit(account, quotas.vcpus);
    if (this.#vcpus.of(account) + more <= limit) return;
    throw new AwsError(
      "VcpuLimitExceeded",
      `You have requested more vCPU capacity than your current vCPU limit of ${limit} allows for the instance bucket that the specified instance type belongs to. Ask the operator for more: hive admin quota.`,
    );
  }

  /** @throws AwsError `VolumeLimitExceeded` */
  checkStorage(account: string, more_gib: number): void {
    const limit = this.limit(account, quotas.storage_tib);
    if (this.#gib.of(account) + more_gib <= limit * gibPerTib) return;
    throw new AwsError(
      "VolumeLimitExceeded",
      `The volumes of this account may have ${limit} TiB together. Ask the operator for more: hive admin quota.`,
    );
  }

  /** @throws AwsError `SnapshotLimitExceeded` */
  checkSnapshots(account: string, more: number): void {
    const limit = this.limit(account, quotas.snapshots);
    if (this.#snapshots.of(account) + more <= limit) return;
    throw new AwsError(
      "SnapshotLimitExceeded",
      `This account may have ${limit} snapshots. Ask the operator for more: hive admin quota.`,
    );
  }

  [Symbol.dispose](): void {
    for (const one of [this.#vcpus, this.#gib, this.#snapshots]) one[Symbol.dispose]();
  }
}
