/** What is stored as a run of bytes, read from its beginning on; it need not be in memory as a whole. */
export interface StoredBytes extends Disposable {
  readonly length: number;
  /** Fills `into` as far as there is something left; returns how many bytes. */
  read(into: Uint8Array<ArrayBuffer>): number;
}

/** Bytes in memory, read as what is stored. */
export function storedBytes(bytes: Uint8Array<ArrayBuffer>): StoredBytes {
  let at = 0;
  return {
    length: bytes.length,
    read(into) {
      const some = bytes.subarray(at, at + into.length);
      into.set(some);
      at += some.length;
      return some.length;
    },
    [Symbol.dispose]() {},
  };
}

/** All of it in memory. */
export function wholeOf(stored: StoredBytes): Uint8Array<ArrayBuffer> {
  using from = stored;
  const bytes = new Uint8Array(from.length);
  let length = 0;
  for (;;) {
    const got = from.read(bytes.subarray(length));
    if (got === 0) return bytes.subarray(0, length);
    length += got;
  }
}
