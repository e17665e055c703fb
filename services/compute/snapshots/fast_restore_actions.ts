/**
 * EnableFastSnapshotRestores, DisableFastSnapshotRestores, DescribeFastSnapshotRestores. What cannot be done for one snapshot
 * in one zone is told in the answer's list; the others are done.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { incorrectState, invalidValue, missingParameter } from "../../resources/errors.ts";
import { checkId } from "../../resources/ids.ts";
import type { Operations } from "../../resources/operations.ts";
import { zoneId } from "../../resources/zone_names.ts";
import { snapshotType } from "../volumes/volume_type.ts";
import { fastRestore } from "./fast_restore_type.ts";
import { asked, type FastRestoreKeeper, type FastRestoreRecord } from "./fast_restores.ts";
import { usableSnapshot } from "./snapshot_permissions.ts";

/** Snapshots and zones of one request. */
const mostNamed = 100;
/** The largest snapshot that EC2 restores fast. */
const largest_gib = 16_384;

interface Request {
  readonly SourceSnapshotIds?: readonly string[] | undefined;
  readonly AvailabilityZones?: readonly string[] | undefined;
  readonly AvailabilityZoneIds?: readonly string[] | undefined;
}

export function fastRestoreActions(
  operations: Operations,
  keeper: FastRestoreKeeper,
  az: string,
) {
  const { records } = operations;
  const { state } = keeper;

  const zonesOf = (input: Request) => {
    if ((input.AvailabilityZones ?? []).length > 0 && input.AvailabilityZoneIds !== undefined) {
      throw new AwsError(
        "InvalidParameterCombination",
        "The parameters AvailabilityZone and AvailabilityZoneId cannot be used together.",
      );
    }
    return [...new Set([...input.AvailabilityZones ?? [], ...input.AvailabilityZoneIds ?? []])];
  };
  const check = (input: Request) => {
    const ids = input.SourceSnapshotIds ?? [];
    if (ids.length === 0) throw missingParameter("sourceSnapshotIds");
    const zones = zonesOf(input);
    if (zones.length === 0) throw missingParameter("availabilityZones");
    if (ids.length > mostNamed || zones.length > mostNamed) {
      throw invalidValue(`A request may name ${mostNamed} snapshots and zones at most.`);
    }
    for (const id of ids) checkId(snapshotType.idPrefix, id, snapshotType.errors);
  };
  const checkZone = (zone: string) => {
    if (zone !== az && zone !== zoneId(az)) {
      throw new AwsError("InvalidZone.NotFound", `The zone '${zone}' does not exist.`);
    }
  };
  /** What the account has of it; what has ended is no more than shown. */
  const present = (account: string, id: string): FastRestoreRecord | undefined =>
    records.find(fastRestore, account, id)[0];

  const enable = async (account: string, id: string): Promise<FastRestoreRecord> => {
    const snapshot = await usableSnapshot(state, account, id);
    if (snapshot.state === "error") {
      throw incorrectState(`The snapshot '${id}' is '${snapshot.state}'.`);
    }
    if (snapshot.size_gib > largest_gib) {
      throw invalidValue(`The snapshot '${id}' is larger than ${largest_gib} GiB.`);
    }
    const there = present(account, id);
    if (there?.shape.State === "disabling") {
      throw incorrectState(`Fast snapshot restores of '${id}' are being disabled. Try again.`);
    }
    if (there !== undefined) return there;
    for (const old of records.of(fastRestore).all(account)) {
      if (old.ended_ms !== undefined && old.shape.SnapshotId === id) {
        await records.remove(fastRestore, account, old.id);
      }
    }
    return await records.create(fastRestore, account, {
      SnapshotId: id,
      AvailabilityZone: az,
      AvailabilityZoneId: zoneId(az),
      State: "enabling",
      EnablingTime: new Date().toISOString(),
      StateTransitionReason: asked,
    });
  };
  const disable = async (account: string, id: string): Promise<FastRestoreRecord> => {
    const there = present(account, id);
    if (there !== undefined) return await keeper.disable(there, asked);
    await usableSnapshot(state, account, id);
    throw incorrectState(`Fast snapshot restores are not enabled for '${id}' in '${az}'.`);
  };

  /** Does it for each snapshot in each zone. */
  const each = async (
    input: Request,
    call: Call,
    work: (account: string, id: string) => Promise<FastRestoreRecord>,
  ) => {
    const successful: FastRestoreRecord[] = [];
    const unsuccessful = [];
    for (const id of new Set(input.SourceSnapshotIds)) {
      const errors = [];
      for (const zone of zonesOf(input)) {
        try {
          checkZone(zone);
          const record = await work(call.account_id, id);
          if (!successful.some((one) => one.id === record.id)) successful.push(record);
          keeper.drive(record);
        } catch (error) {
          if (!(error instanceof AwsError) || error.status >= 500) throw error;
          errors.push({
            ...(zone.includes("-az") ? { AvailabilityZoneId: zone } : { AvailabilityZone: zone }),
            Error: { Code: error.code, Message: error.message },
          });
        }
      }
      if (errors.length > 0) {
        unsuccessful.push({ SnapshotId: id, FastSnapshotRestoreStateErrors: errors });
      }
    }
    return {
      Successful: successful.map((record) => records.show(fastRestore, record)),
      Unsuccessful: unsuccessful,
    };
  };
  const resources = (input: Request, call: Call) =>
    (input.SourceSnapshotIds ?? []).map((id) => state.snapshots.arnOf(call, id));
  return {
    EnableFastSnapshotRestores: operations.custom({
      resources,
      check,
      run: (input, call) => each(input, call, enable),
    }),
    DisableFastSnapshotRestores: operations.custom({
      resources,
      check,
      run: (input, call) => each(input, call, disable),
    }),
    DescribeFastSnapshotRestores: operations.describes(fastRestore, {
      list: "FastSnapshotRestores",
    }),
  } satisfies ActionTable;
}
