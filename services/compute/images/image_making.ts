/**
 * The order in which an image comes to be with snapshots of its own, so that none is left over wherever it is cut off:
 *
 * 1. The record: `pending`, with the snapshots that will be its own and the time that its maker has.
 * 2. The snapshots, each in its own order (`snapshots/snapshot_making.ts`).
 * 3. The record without that time. Only then does it count for its name, and a caller hears of it.
 * 4. `available` when the last of its snapshots is stored, or `failed` with one.
 *
 * When a maker's time is over nobody has heard of the image: whoever looks removes its snapshots, and then the record that
 * names them. A maker that comes back too late takes back what it has made meanwhile. An image that is deregistered ends in
 * the same way, with a time that was over long ago.
 */
import { unavailable } from "../../aws/errors.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { Conflict } from "../../state/table.ts";
import type { ImageBlockDevice, ImageRecord, SnapshotRecord } from "../contract.ts";
import { makingUntil } from "../snapshots/snapshot_making.ts";
import type { ComputeState } from "../state.ts";
import { checkNameIsFree, holderOfName } from "./image_names.ts";

/** What an image's making and its end need of whoever keeps the snapshots. */
export interface SnapshotRemoval {
  readonly state: ComputeState;
  readonly log: Log;
  readonly clock: () => number;
  /** @returns false when an image still needs the snapshot, or there is none */
  remove(account: string, snapshot_id: string): Promise<boolean>;
}

const longAgo = new Date(0).toISOString();

const isLeft = ({ making }: ImageRecord, now_ms: number): boolean =>
  making !== undefined && Date.parse(making.until) <= now_ms;

/**
 * Makes an image and what it stands on. Repeating it is no error.
 * @param snapshot_ids those that `work` makes, and that go with the image when it comes to nothing
 * @throws AwsError and leaves nothing
 */
export async function makeImage(
  keeper: SnapshotRemoval,
  image: Omit<ImageRecord, "state" | "awaits_snapshots" | "making">,
  snapshot_ids: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  const { images } = keeper.state;
  const { account_id, image_id, name } = image;
  const making = { until: makingUntil(keeper.clock()), snapshot_ids };
  const begun = await images.ensure({
    ...image,
    state: "pending",
    awaits_snapshots: true,
    making,
  });
  if (begun.making === undefined) return;
  if (begun.making.until !== making.until) {
    // An earlier try has not come to its end.
    await images.modify(account_id, image_id, (now) => now.making ? { ...now, making } : now);
  }
  try {
    await work();
    await images.modify(account_id, image_id, (now) => {
      if (isLeft(now, keeper.clock())) throw unavailable(`The image ${image_id}, made too late,`);
      const { making: _, ...made } = now;
      return made;
    });
    checkNameIsFree(keeper.state, account_id, name, image_id);
  } catch (error) {
    await takeBack(keeper, account_id, image_id, snapshot_ids);
    throw error;
  }
  // It is made, whatever becomes of this: the next sweep settles what stays pending.
  try {
    await settleImages(keeper.state, image_id);
  } catch (error) {
    keeper.log.warn("image_settled_later", { image_id, ...errorFields(error) });
  }
}

/** What fails is done by the next sweep. */
async function takeBack(
  keeper: SnapshotRemoval,
  account: string,
  image_id: string,
  snapshot_ids: readonly string[],
): Promise<void> {
  const { images } = keeper.state;
  try {
    const making = { until: longAgo, snapshot_ids };
    if (await images.find(account, image_id) !== undefined) {
      await removeLeft(
        keeper,
        await images.modify(account, image_id, (now) => ({ ...now, making })),
      );
    } else await removeSnapshots(keeper, account, snapshot_ids);
  } catch (cause) {
    keeper.log.warn("image_cleanup_delayed", { image_id, ...errorFields(cause) });
  }
}

/** @returns those that went; others stay with an image that needs them, or were not there */
async function removeSnapshots(
  keeper: SnapshotRemoval,
  account: string,
  snapshot_ids: readonly string[],
): Promise<ReadonlySet<string>> {
  const removed = new Set<string>();
  for (const id of snapshot_ids) if (await keeper.remove(account, id)) removed.add(id);
  return removed;
}

/**
 * Ends an image and the snapshots that are to go with it. From the first step on nobody sees it; where the rest is cut
 * off, it is done like that of an image whose maker has not come back.
 * @returns the snapshots that went
 * @throws AwsError not found
 */
export async function deregister(
  keeper: SnapshotRemoval,
  { account_id, image_id }: ImageRecord,
  snapshot_ids: readonly string[],
): Promise<ReadonlySet<string>> {
  const image = await keeper.state.images.modify(account_id, image_id, (now) => ({
    ...now,
    state: "deregistered",
    making: { until: longAgo, snapshot_ids },
  }));
  return await removeLeft(keeper, image);
}

/** The record goes last: as long as it is there, somebody knows of the snapshots. */
async function removeLeft(
  keeper: SnapshotRemoval,
  { account_id, image_id }: ImageRecord,
): Promise<ReadonlySet<string>> {
  const { table } = keeper.state.images;
  const key = keeper.state.images.keyOf(account_id, image_id);
  const row = await table.read(key);
  if (row?.value.making === undefined || !isLeft(row.value, keeper.clock())) return new Set();
  const removed = await removeSnapshots(keeper, account_id, row.value.making.snapshot_ids);
  try {
    await table.delete(key, row.revision);
  } catch (error) {
    // Somebody begins it again.
    if (!(error instanceof Conflict)) throw error;
  }
  return removed;
}

/** Removes images whose makers have not come back. What fails is done by the next sweep. */
export async function removeLeftImages(keeper: SnapshotRemoval): Promise<void> {
  for (const image of keeper.state.images.all()) {
    if (!isLeft(image, keeper.clock())) continue;
    try {
      await removeLeft(keeper, image);
    } catch (error) {
      const { image_id } = image;
      keeper.log.warn("image_cleanup_delayed", { image_id, ...errorFields(error) });
    }
  }
}

/**
 * Images become available with the last of the snapshots that they await, or fail with one.
 * @param only the one that is looked at; all unless given
 * @throws the first of the failures, when all were looked at
 */
export async function settleImages(state: ComputeState, only?: string): Promise<void> {
  const failures: unknown[] = [];
  for (const image of state.images.all()) {
    if (!isAwaiting(image) || (only ?? image.image_id) !== image.image_id) continue;
    try {
      await settleImage(state, image);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function settleImage(state: ComputeState, image: ImageRecord): Promise<void> {
  const { images, snapshots } = state;
  const { account_id, image_id, name } = image;
  // One that this node has not heard of yet is no reason to fail: that is for good.
  const found = new Map<string, SnapshotRecord | undefined>();
  for (const { snapshot_id: id } of image.block_devices) {
    if (id !== undefined) found.set(id, await snapshots.find(account_id, id));
  }
  const snapshotOf = ({ snapshot_id }: ImageBlockDevice) => found.get(snapshot_id ?? "");
  const states = image.block_devices.map((device) =>
    device.snapshot_id === undefined ? "completed" : snapshotOf(device)?.state ?? "error"
  );
  // Its maker may have died before it could see that its name is taken.
  const failed = states.some((state) => state === "error" || state === "deleting") ||
    holderOfName(state, account_id, name, image_id) !== undefined;
  if (!failed && states.includes("pending")) return;
  try {
    await images.modify(account_id, image_id, (now) => {
      if (!isAwaiting(now)) return now;
      const { awaits_snapshots: _, ...rest } = now;
      // A volume may have grown until the moment of its snapshot.
      const block_devices = now.block_devices.map((device) => ({
        ...device,
        size_gib: Math.max(device.size_gib, snapshotOf(device)?.size_gib ?? 0),
      }));
      return { ...rest, block_devices, state: failed ? "failed" : "available" };
    });
  } catch (error) {
    // Its maker took it back meanwhile, or its owner did.
    if (await images.find(account_id, image_id) !== undefined) throw error;
  }
}

const isAwaiting = ({ awaits_snapshots, making, state }: ImageRecord): boolean =>
  awaits_snapshots === true && making === undefined && state === "pending";

/** An image of anybody's that stands on the snapshot, unless nobody has heard of it and nobody will. */
export function imageOn(
  { images }: ComputeState,
  snapshot_id: string,
  now_ms: number,
): string | undefined {
  for (const image of images.all()) {
    if (isLeft(image, now_ms)) continue;
    if (image.block_devices.some((device) => device.snapshot_id === snapshot_id)) {
      return image.image_id;
    }
  }
  return undefined;
}
