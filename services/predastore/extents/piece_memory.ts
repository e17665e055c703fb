/**
 * Memory for the pieces that a reader is given.
 *
 * Fresh memory for each piece costs as much as all else that is done with it, and more when it is
 * collected. Who knows when a piece is done with has it used again.
 */
type Bytes = Uint8Array<ArrayBuffer>;

export interface PieceMemory {
  /** Memory of exactly so many bytes, with anything in it. */
  (bytes: number): Bytes;
  /** The reader of a piece is done with it when so many bytes have been given to him after it; never, if it is not told. */
  readonly distance?: number;
}

export const freshMemory: PieceMemory = (bytes) => new Uint8Array(bytes);

/**
 * Gives memory back at once that nobody uses any more, on no thread: left to the collector, the buffers of many
 * streams that ended would stand beside those of the streams that began.
 */
export function freeMemory({ buffer }: Bytes): void {
  buffer.transfer(0);
}

/** Memory of a piece is used again when at least so many bytes were asked for after it. */
export function reusedAfter(distance: number): PieceMemory {
  const given: { readonly memory: Bytes; readonly end: number }[] = [];
  let asked = 0;
  const memoryOf = (bytes: number) => {
    const oldest = given[0];
    let memory: Bytes | undefined;
    if (oldest !== undefined && asked - oldest.end >= distance) {
      given.shift();
      if (oldest.memory.length >= bytes) memory = oldest.memory;
    }
    memory ??= freshMemory(bytes);
    asked += bytes;
    given.push({ memory, end: asked });
    return memory.subarray(0, bytes);
  };
  return Object.assign(memoryOf, { distance });
}
