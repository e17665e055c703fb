/** How clients reach a volume: what its loop needs of NBD, vhost-user or a simulated guest. */
export interface Door {
  /** Takes clients from now on. */
  listen(): void;
  /** Takes no more clients until `listenAgain`; those who are connected stay. */
  stopListening(): void;
  listenAgain(): void;
  /** Ends every client as soon as nothing of it is under way. */
  dropClients(): void;
  readonly anyOpen: boolean;
  /** Once each turn. @param full writes that wait for space fail; returns whether anything moved on */
  advance(full: boolean): boolean;
  /** A request waits for room. */
  readonly stalled: boolean;
  /** What waits does so for the volume's limits alone. */
  readonly throttled: boolean;
  /** It wants to be called again after some time. */
  readonly wantsTick: boolean;
  /** Replies are ready that could be sent now, or requests have come. Asked just before the loop waits. */
  readonly hasReplies: boolean;
  /** The request is done; its error, and for a read its slot, are set. */
  reply(request: number): void;
  /** The volume is larger now. */
  resized(sizeBytes: number): void;
  readonly connected: number;
  /** Lets go of every client at once, whatever is under way. */
  close(): void;
  /** Gives buffers back; nothing is under way and nothing follows. */
  release(): void;
}
