/**
 * When a directory counts as full or nearly full, with hysteresis: what has been refused once stays
 * refused until a good deal has come free, so that no writer sees the state flutter.
 */
export type SpaceState = "roomy" | "near_full" | "full";

/** From here on the operator is told, and compaction looks for more. */
const nearPart = 0.05;
const nearLeast_bytes = 256 << 20;

/** How full a directory is, given how full it was at the last look. */
export function spaceState(
  space: { readonly free: number; readonly total: number },
  reserve: number,
  before: SpaceState = "roomy",
): SpaceState {
  const slack = Math.min(reserve / 8, 64 << 20);
  if (space.free < (before === "full" ? reserve + slack : reserve)) return "full";
  const near = reserve + Math.min(nearLeast_bytes, space.total * nearPart);
  return space.free < (before === "roomy" ? near : near + slack) ? "near_full" : "roomy";
}
