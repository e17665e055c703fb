/**
 * The order in which a snapshot comes to be, so that nothing is left over wherever it is cut off:
 *
 * 1. The record: `pending`, with the time that its maker has.
 * 2. The block store makes it. Asking again for the same id is no error.
 * 3. The record without that time. Only then does a caller hear of the id.
 *
 * Until its time is over a record is its maker's, though the block store may not know of it yet. Afterwards whoever looks first
 * ends the work: a snapshot that is there stays, and one that is not, or whose writer never heard of it, goes. A maker
 * that comes back too late finds its record gone, and takes back what the block store has made for it.
 */
import { type CallContext, systemContext } from "../../bus/subject.ts";
import type { BlockSnapshot } from "../../viperblock/contract.ts";
import type { SnapshotRecord } from "../contract.ts";
import { gib } from "../volumes/volume_lifecycle.ts";

/** The time of a maker: to hold a guest still, to ask, and for what was asked in time to be done. */
const making_ms = 600_000;
/** The block store begins nothing that is this close to the end. */
const doing_ms = 300_000;

export const makingUntil = (now_ms: number) => new Date(now_ms + making_ms).toISOString();

/** With what the block store is asked: it does not begin when the deadline is over. */
export function makingContext(
  { making_until = "" }: SnapshotRecord,
  now_ms: number,
  call?: CallContext,
): CallContext {
  const deadline_ms = Date.parse(making_until) - doing_ms;
  const context = call ?? systemContext(deadline_ms - now_ms);
  return { ...context, deadline_ms: Math.min(context.deadline_ms, deadline_ms) };
}

export const isMakersTime = ({ making_until }: SnapshotRecord, now_ms: number) =>
  making_until !== undefined && now_ms < Date.parse(making_until);

/** The record as callers may rely on it. */
export function withoutMaker({ making_until: _, ...record }: SnapshotRecord): SnapshotRecord {
  return record;
}

/** A volume that grows is larger in the block store before its record says so: what was frozen counts. */
export const frozenSize = (
  { size_gib }: Pick<SnapshotRecord, "size_gib">,
  frozen: BlockSnapshot | undefined,
): number => Math.max(size_gib, Math.ceil((frozen?.size_bytes ?? 0) / gib));
