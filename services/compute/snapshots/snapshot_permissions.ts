/**
 * Who besides its owner may make volumes and copies of a snapshot: DescribeSnapshotAttribute,
 * ModifySnapshotAttribute and ResetSnapshotAttribute.
 *
 * A permission is part of the snapshot's record, so that it goes with it. Encrypted snapshots stay with their
 * account, as those do that EC2 encrypts by an account's default key. What an account has said of
 * public snapshots (EnableSnapshotBlockPublicAccess) holds for the snapshots that it owns.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable } from "../../resources/actions.ts";
import {
  incorrectState,
  invalidParameter,
  invalidValue,
  missingParameter,
} from "../../resources/errors.ts";
import { notFound } from "../../resources/ids.ts";
import type { Input, Output } from "../../resources/wire.ts";
import type { SnapshotRecord } from "../contract.ts";
import { settingsOf } from "../record_families/account_settings.ts";
import type { ComputeState } from "../state.ts";
import { snapshotType } from "../volumes/volume_type.ts";

/** Accounts that one snapshot may be shared with. */
const mostAccounts = 1000;

const createVolumePermission = "createVolumePermission";

type Permissions = Output<"DescribeSnapshotAttribute">["CreateVolumePermissions"];

/** Whether it counts as public by what its owner's account says of such. */
export function isPublic({ records }: ComputeState, snapshot: SnapshotRecord): boolean {
  return snapshot.public === true &&
    settingsOf(records, snapshot.account_id)["snapshot_block"] !== "block-all-sharing";
}

/** Whether the account may make a volume of it. */
export function mayRestore(
  state: ComputeState,
  account: string,
  snapshot: SnapshotRecord,
): boolean {
  return snapshot.account_id === account || isGrantedTo(snapshot, account) ||
    isPublic(state, snapshot);
}

/** Whether its owner named the account. */
export const isGrantedTo = ({ shared_with }: SnapshotRecord, account: string): boolean =>
  shared_with?.includes(account) === true;

/**
 * A snapshot that the account may use: its own, or one that is shared with it.
 * @throws AwsError malformed or not found
 */
export async function usableSnapshot(
  state: ComputeState,
  account: string,
  id: string,
): Promise<SnapshotRecord> {
  const shared = state.snapshots.visible(account, id);
  if (shared === undefined || shared.account_id === account) {
    return await state.snapshots.require(account, id);
  }
  if (!mayRestore(state, account, shared)) throw notFound([id], snapshotType.errors);
  return shared;
}

/** @throws AwsError unless all of it is stored */
export function requireCompleted(snapshot: SnapshotRecord): void {
  if (snapshot.state === "completed") return;
  throw incorrectState(`Snapshot is in invalid state - ${snapshot.state}`);
}

/** An account or a group that is none: EC2 has the same words for images and snapshots. */
export const invalidItem = (value: string, type: "userId" | "userGroup") =>
  new AwsError(
    "InvalidAMIAttributeItemValue",
    `Invalid attribute item value "${value}" for ${type} item type.`,
  );

interface Change {
  readonly add: ReadonlySet<string>;
  readonly remove: ReadonlySet<string>;
}

/** Accounts and the group `all`, in either of the two ways of asking. @throws AwsError */
function changeOf(input: Input<"ModifySnapshotAttribute">): Change {
  const { CreateVolumePermission: permission, OperationType, UserIds, GroupNames } = input;
  const names = (list: readonly { UserId?: string | undefined; Group?: string | undefined }[]) =>
    list.flatMap(({ UserId, Group }) => {
      if (UserId !== undefined && !/^\d{12}$/.test(UserId)) throw invalidItem(UserId, "userId");
      if (Group !== undefined && Group !== "all") throw invalidItem(Group, "userGroup");
      return [UserId, Group].filter((name) => name !== undefined);
    });
  const [add, remove] = [names(permission?.Add ?? []), names(permission?.Remove ?? [])];
  const named = names([
    ...(UserIds ?? []).map((UserId) => ({ UserId })),
    ...(GroupNames ?? []).map((Group) => ({ Group })),
  ]);
  // Some clients name the same accounts in both ways, and say what is to be done with them in one.
  if (named.length > 0 && (permission === undefined || OperationType !== undefined)) {
    if (OperationType !== "add" && OperationType !== "remove") {
      throw invalidParameter("operationType", OperationType ?? "", "Expected: add or remove.");
    }
    (OperationType === "add" ? add : remove).push(...named);
  }
  if (add.length + remove.length === 0) throw missingParameter("createVolumePermission");
  return { add: new Set(add), remove: new Set(remove) };
}

function checkAttribute(attribute: string | undefined): void {
  if (attribute === createVolumePermission) return;
  throw invalidParameter("attribute", attribute ?? "", `Expected: ${createVolumePermission}.`);
}

/** @throws AwsError when its owner may not give it to these */
function checkSharing(state: ComputeState, snapshot: SnapshotRecord, { add }: Change): void {
  if (add.size === 0) return;
  if (snapshot.encrypted === true) {
    throw new AwsError(
      "OperationNotPermitted",
      "Encrypted snapshots with EBS default key cannot be shared",
    );
  }
  const block = settingsOf(state.records, snapshot.account_id)["snapshot_block"];
  if (add.has("all") && block !== undefined && snapshot.public !== true) {
    throw new AwsError(
      "OperationNotPermitted",
      "You can't publicly share the snapshot because block public access for snapshots is enabled for your account.",
    );
  }
}

function changed(snapshot: SnapshotRecord, { add, remove }: Change): SnapshotRecord {
  const { public: wasPublic, shared_with, ...rest } = snapshot;
  const accounts = new Set(shared_with);
  for (const name of add) accounts.add(name);
  if (wasPublic === true) accounts.add("all");
  for (const name of remove) accounts.delete(name);
  const isPublic = accounts.delete("all");
  accounts.delete(snapshot.account_id);
  if (accounts.size > mostAccounts) {
    throw invalidValue(`A snapshot may be shared with ${mostAccounts} accounts at most`);
  }
  return {
    ...rest,
    ...(isPublic ? { public: isPublic } : {}),
    ...(accounts.size === 0 ? {} : { shared_with: [...accounts].sort() }),
  };
}

/** @throws AwsError `AuthFailure` for what the account may use and does not own, else not found */
async function ownSnapshot(
  { snapshots }: ComputeState,
  account: string,
  id: string,
): Promise<SnapshotRecord> {
  const seen = snapshots.visible(account, id);
  if (seen !== undefined && seen.account_id !== account) {
    throw new AwsError("AuthFailure", `Not authorized for snapshot:${id}`, { status: 403 });
  }
  return await snapshots.require(account, id);
}

export function snapshotPermissionActions(state: ComputeState) {
  const { snapshots } = state;
  return {
    DescribeSnapshotAttribute: {
      resources: (input, call) => [snapshots.arnOf(call, input.SnapshotId)],
      check: async (input, call) => {
        if (input.Attribute !== "productCodes") checkAttribute(input.Attribute);
        await ownSnapshot(state, call.account_id, input.SnapshotId);
      },
      run: async (input, call) => {
        const { snapshot_id: SnapshotId, shared_with, public: toAll } = await ownSnapshot(
          state,
          call.account_id,
          input.SnapshotId,
        );
        if (input.Attribute === "productCodes") return { SnapshotId, ProductCodes: [] };
        const CreateVolumePermissions: Permissions = [
          ...(toAll === true ? [{ Group: "all" as const }] : []),
          ...(shared_with ?? []).map((UserId) => ({ UserId })),
        ];
        return { SnapshotId, CreateVolumePermissions };
      },
    },

    ModifySnapshotAttribute: {
      resources: (input, call) => [snapshots.arnOf(call, input.SnapshotId)],
      check: async (input, call) => {
        if (input.Attribute !== undefined) checkAttribute(input.Attribute);
        const snapshot = await ownSnapshot(state, call.account_id, input.SnapshotId);
        checkSharing(state, snapshot, changeOf(input));
      },
      run: async (input, call) => {
        const change = changeOf(input);
        await snapshots.modify(call.account_id, input.SnapshotId, (now) => {
          checkSharing(state, now, change);
          return changed(now, change);
        });
        return {};
      },
    },

    ResetSnapshotAttribute: {
      resources: (input, call) => [snapshots.arnOf(call, input.SnapshotId)],
      check: async (input, call) => {
        checkAttribute(input.Attribute);
        await ownSnapshot(state, call.account_id, input.SnapshotId);
      },
      run: async (input, call) => {
        await snapshots.modify(
          call.account_id,
          input.SnapshotId,
          ({ public: _, shared_with: __, ...rest }) => rest,
        );
        return {};
      },
    },
  } satisfies ActionTable;
}
