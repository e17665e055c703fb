/** A body on its way in, that is read into its reader's memory: what is not copied costs nothing. */

/** The memory that was given, which may have got another name, and how far it is filled. */
export interface Filled {
  readonly memory: ArrayBuffer;
  readonly filled: number;
}

export interface BodySource {
  /** Fills `memory` from `filled` on, until it is full or the body ends. Nobody else uses it meanwhile. */
  fill(memory: ArrayBuffer, filled: number): Promise<Filled>;
  /** Nothing more is wanted of it. */
  close(): Promise<void> | void;
}

/** What comes in pieces that are valid until the next is asked for. */
export function copied(chunks: AsyncIterable<Uint8Array>): BodySource {
  const iterator = chunks[Symbol.asyncIterator]();
  let rest = new Uint8Array(0) as Uint8Array;
  let ended = false;
  return {
    async fill(memory, filled) {
      const to = new Uint8Array(memory);
      while (filled < to.length) {
        if (rest.length === 0) {
          if (ended) break;
          const { value, done } = await iterator.next();
          if (done === true) ended = true;
          else rest = value;
          continue;
        }
        const count = Math.min(rest.length, to.length - filled);
        to.set(rest.subarray(0, count), filled);
        rest = rest.subarray(count);
        filled += count;
      }
      return { memory, filled };
    },
    async close() {
      if (!ended) await iterator.return?.();
    },
  };
}
