/** What others may know of the cluster service: who was heard on the network. */
import { subject } from "../bus/subject.ts";
import type { Dropped } from "./announcer.ts";
import type { Peer } from "./peers.ts";

export type { Peer };

export interface Neighbourhood {
  readonly peers: readonly Peer[];
  /** Announcements that were not taken, by reason. */
  readonly dropped: Readonly<Partial<Record<Dropped, number>>>;
  /** Addresses that this node speaks from. */
  readonly speaks_from: readonly string[];
}

/** Who is on the network, by this node's own ears. */
export const neighbourhood = subject<null, Neighbourhood>("cluster.neighbourhood", 5_000);
