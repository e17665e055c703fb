/**
 * When lifecycle rules end what: current versions and uploads, and by which rule. What is told to clients
 * and what goes in the background follow from the same rules.
 *
 * As AWS counts, so many days after something came to be means the midnight that follows. Where several
 * rules end the same thing the earliest counts.
 */
import type { ObjectRow, UploadRow } from "../index/rows.ts";
import type { BucketSettings, LifecycleFilter, LifecycleRule } from "./settings.ts";

const day_ms = 86_400_000;

/** The midnight from which on something has been there for so many days. */
export function dueAt(since_ms: number, days: number): number {
  return Math.ceil((since_ms + days * day_ms) / day_ms) * day_ms;
}

type Aged = Pick<ObjectRow, "key" | "size" | "modified_ms" | "meta">;

export function fits(filter: LifecycleFilter, object: Omit<Aged, "modified_ms">): boolean {
  if (!object.key.startsWith(filter.prefix)) return false;
  if (filter.above_bytes !== undefined && object.size <= filter.above_bytes) return false;
  if (filter.below_bytes !== undefined && object.size >= filter.below_bytes) return false;
  return filter.tags.every(({ key, value }) =>
    object.meta.tags?.some((tag) => tag.key === key && tag.value === value)
  );
}

export interface Ending {
  readonly at_ms: number;
  readonly rule: string;
}

export const enabledRules = ({ lifecycle = [] }: BucketSettings) =>
  lifecycle.filter(({ enabled }) => enabled);

function earliest(
  rules: readonly LifecycleRule[],
  at: (rule: LifecycleRule) => number | undefined,
): Ending | undefined {
  let found: Ending | undefined;
  for (const rule of rules) {
    const at_ms = at(rule);
    if (at_ms !== undefined && (found === undefined || at_ms < found.at_ms)) {
      found = { at_ms, rule: rule.id };
    }
  }
  return found;
}

/** When a current version, which is no delete marker, expires. */
export function expiry(rules: readonly LifecycleRule[], object: Aged): Ending | undefined {
  return earliest(rules, (rule) => {
    if (rule.expire_days === undefined && rule.expire_at_ms === undefined) return undefined;
    if (!fits(rule.filter, object)) return undefined;
    return rule.expire_at_ms ?? dueAt(object.modified_ms, rule.expire_days ?? 0);
  });
}

/** When an upload that nobody completes is aborted. */
export function abortion(
  rules: readonly LifecycleRule[],
  upload: Pick<UploadRow, "key" | "created_ms">,
): Ending | undefined {
  return earliest(
    rules,
    (rule) =>
      rule.abort_uploads_days === undefined || !upload.key.startsWith(rule.filter.prefix)
        ? undefined
        : dueAt(upload.created_ms, rule.abort_uploads_days),
  );
}

/** Classes in the order in which rules move objects, only ever forward. REDUCED_REDUNDANCY is not moved. */
const forward: readonly string[] = [
  "STANDARD",
  "STANDARD_IA",
  "INTELLIGENT_TIERING",
  "ONEZONE_IA",
  "GLACIER_IR",
];

/** What is smaller moves only by rules that speak of sizes. */
const leastMoved_bytes = 128 * 1024;

/**
 * The class that an object has to have by now, where that is not its own.
 * @param noncurrent since when it is noncurrent, and how many newer noncurrent ones there are with it
 */
export function dueClass(
  rules: readonly LifecycleRule[],
  object: Aged,
  now_ms: number,
  noncurrent?: { readonly since_ms: number; readonly place: number },
): string | undefined {
  const own = object.meta.storage_class ?? "STANDARD";
  let best = forward.indexOf(own);
  if (best < 0) return undefined;
  for (const rule of rules) {
    const { filter } = rule;
    const sized = filter.above_bytes !== undefined || filter.below_bytes !== undefined;
    if ((!sized && object.size < leastMoved_bytes) || !fits(filter, object)) continue;
    const due = noncurrent === undefined
      ? (rule.transitions ?? []).filter(({ days, at_ms }) =>
        now_ms >= (at_ms ?? dueAt(object.modified_ms, days ?? 0))
      )
      : (rule.noncurrent_transitions ?? []).filter(({ days, kept = 0 }) =>
        now_ms >= dueAt(noncurrent.since_ms, days) && noncurrent.place > kept
      );
    for (const { storage_class } of due) best = Math.max(best, forward.indexOf(storage_class));
  }
  const due = forward[best];
  return due === own ? undefined : due;
}
