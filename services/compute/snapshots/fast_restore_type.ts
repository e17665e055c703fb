/** A fast snapshot restore: a snapshot whose content one account wants near, in one zone. */
import { kind } from "../../resources/kind.ts";
import type { Output, Shape } from "../../resources/wire.ts";

type Shown = NonNullable<Output<"DescribeFastSnapshotRestores">["FastSnapshotRestores"]>[number];

export type FastRestoreState = "enabling" | "optimizing" | "enabled" | "disabling" | "disabled";

export interface FastRestoreShape extends Omit<Shape<Shown>, "State"> {
  readonly SnapshotId: string;
  readonly AvailabilityZone: string;
  readonly State: FastRestoreState;
}

export const fastRestore = kind<FastRestoreShape>({
  name: "fast-snapshot-restore",
  idPrefix: "fsr-",
  // No answer has it: EC2 names one by its snapshot and zone.
  id: "FastSnapshotRestoreId",
  notFound: "InvalidFastSnapshotRestore.NotFound",
  filters: ["availability-zone", "availability-zone-id", "snapshot-id", "state"],
  indexed: ["SnapshotId"],
  unique: ["SnapshotId"],
  // EC2's own limit for an account in a region.
  quota: { most: 5, code: "FastSnapshotRestoreLimitExceeded" },
  page: { minimum: 1, maximum: 200, above: "refuse" },
  untagged: true,
});
