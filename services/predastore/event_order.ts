import type { ObjectEvent } from "./index/outbox.ts";

/** What makes a version, or takes one away. */
const ordered = /^(Object(Created|Removed)|LifecycleExpiration):/;

/**
 * Where an event came among those of its key: to be compared as text, which is longer only where it is greater.
 * Undefined for events that AWS gives none.
 */
export function sequencerOf({ name, sequence }: ObjectEvent, id: number): string | undefined {
  if (!ordered.test(name)) return undefined;
  return sequence.toString(16).padStart(16, "0").toUpperCase() + id.toString(16).toUpperCase();
}
