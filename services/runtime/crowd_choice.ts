/**
 * Whose connections end where there are too many: those without a request under way first; among them those of whoever has most,
 * so that one network that takes all there are takes them from itself; and of one network's those on which nothing has
 * moved for longest.
 */
import type { AcceptedConnection } from "../../ffi/accepted_connections.ts";

/** Each with the number of its network's that were last heard of later: who has most has the highest. */
function ranked(connections: readonly AcceptedConnection[]) {
  return [...Map.groupBy(connections, ({ network }) => network).values()].flatMap((ones) =>
    ones.toSorted((one, other) => one.idle_ms - other.idle_ms)
      .map((connection, rank) => ({ connection, rank }))
  );
}

export interface CrowdBounds {
  /** Connections that there may be. */
  readonly may: number;
  /** To how many they are brought down where there are more. */
  readonly left: number;
}

/** @param isBusy whether a request is under way; of such no more end than must */
export function whoseEnd(
  connections: readonly AcceptedConnection[],
  isBusy: (connection: AcceptedConnection) => boolean,
  { may, left }: CrowdBounds,
): AcceptedConnection[] {
  if (connections.length <= may) return [];
  const order = ranked(connections)
    .sort((one, other) =>
      other.rank - one.rank || other.connection.idle_ms - one.connection.idle_ms
    )
    .map(({ connection }) => connection);
  const going = order.filter((one) => !isBusy(one)).slice(0, connections.length - left);
  const tooMany = connections.length - going.length - may;
  if (tooMany > 0) going.push(...order.filter(isBusy).slice(0, tooMany));
  return going;
}
