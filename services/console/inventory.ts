/**
 * What the page shows of instances, volumes and images: read from compute's tables, never written.
 *
 * Records are another service's and may be older or newer than this release: what is missing or of
 * another form is shown as nothing, and never breaks the page.
 */
import type { Bus } from "../bus/bus.ts";
import {
  buckets,
  type ImageRecord,
  type InstanceRecord,
  type VolumeRecord,
} from "../compute/contract.ts";
import type { Log } from "../log/log.ts";
import { Table } from "../state/table.ts";

/** A record as it may turn out to be. */
export type Loose<T> = T extends readonly (infer Element)[] ? readonly Loose<Element>[]
  : T extends object ? { readonly [Member in keyof T]?: Loose<T[Member]> | undefined }
  : T;

export interface Inventory {
  readonly instances: readonly Loose<InstanceRecord>[];
  readonly volumes: readonly Loose<VolumeRecord>[];
  readonly images: readonly Loose<ImageRecord>[];
}

function newestFirst<T>(table: Table<T>, dateOf: (record: T) => unknown): T[] {
  const dated = table.list().map(({ value }) => ({ value, date: String(dateOf(value) ?? "") }));
  return dated.sort((a, b) => a.date < b.date ? 1 : a.date > b.date ? -1 : 0)
    .map(({ value }) => value);
}

export class Tables implements AsyncDisposable {
  private constructor(
    readonly instances: Table<Loose<InstanceRecord>>,
    readonly volumes: Table<Loose<VolumeRecord>>,
    readonly images: Table<Loose<ImageRecord>>,
  ) {}

  static async open(bus: Bus, log: Log): Promise<Tables> {
    const [instances, volumes, images] = await Promise.all([
      Table.follow<Loose<InstanceRecord>>(bus, buckets.instances, log),
      Table.follow<Loose<VolumeRecord>>(bus, buckets.volumes, log),
      Table.follow<Loose<ImageRecord>>(bus, buckets.images, log),
    ]);
    return new Tables(instances, volumes, images);
  }

  read(): Inventory {
    return {
      instances: newestFirst(this.instances, (instance) => instance.launch_time),
      volumes: newestFirst(this.volumes, (volume) => volume.create_time),
      images: newestFirst(this.images, (image) => image.creation_date)
        .filter((image) => image.state !== "deregistered"),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const table of [this.instances, this.volumes, this.images]) {
      await table[Symbol.asyncDispose]();
    }
  }
}
