/**
 * What object lock forbids: a version under retention or legal hold is not deleted, whoever asks; only
 * GOVERNANCE gives way to those who may bypass it. Deleting a key without a version id is always allowed,
 * since it hides and removes nothing.
 */
import type { ObjectRow } from "../index/rows.ts";
import type { BucketSettings, ObjectLock, Retention } from "./settings.ts";

/** Whether a version is protected at this moment. */
export function isLocked(
  object: Pick<ObjectRow, "meta">,
  now_ms: number,
  bypass_governance: boolean,
): boolean {
  const { lock } = object.meta;
  if (lock === undefined) return false;
  if (lock.legal_hold === true) return true;
  const { retention } = lock;
  if (retention === undefined || retention.until_ms <= now_ms) return false;
  return retention.mode === "COMPLIANCE" || !bypass_governance;
}

const day_ms = 86_400_000;

/** The lock that a bucket gives to what is written into it. */
export function defaultLock(settings: BucketSettings, now_ms: number): ObjectLock | undefined {
  const rule = settings.lock?.default;
  if (rule === undefined) return undefined;
  const days = rule.days ?? (rule.years ?? 0) * 365;
  return { retention: { mode: rule.mode, until_ms: now_ms + days * day_ms } };
}

/** Whether retention may change from one to the other without bypassing governance. */
export function mayChange(
  from: Retention | undefined,
  to: Retention | undefined,
  now_ms: number,
  bypass_governance: boolean,
): boolean {
  if (from === undefined || from.until_ms <= now_ms) return true;
  const longer = to !== undefined && to.until_ms >= from.until_ms;
  if (from.mode === "COMPLIANCE") return longer && to.mode === "COMPLIANCE";
  return bypass_governance || (longer && to.mode === "GOVERNANCE");
}
