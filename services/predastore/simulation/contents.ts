/** What simulated clients write: bytes that follow from a number, which the ETag tells again. */
import type { IncomingBody } from "../objects/bodies.ts";
import { bytesOf } from "../test_store.ts";

const sizes = [0, 900, 17_000, 30_000, 50_000];
export const sizeOf = (seed: number) => sizes[seed % sizes.length] ?? 0;

const contents = new Map<number, Uint8Array<ArrayBuffer>>();

export function contentOf(seed: number): Uint8Array<ArrayBuffer> {
  let bytes = contents.get(seed);
  if (bytes === undefined) {
    bytes = bytesOf(seed, sizeOf(seed));
    if (contents.size > 500) contents.clear();
    contents.set(seed, bytes);
  }
  return bytes;
}

export function bodyOf(bytes: Uint8Array, etag: string): IncomingBody {
  return {
    chunks: (async function* () {
      yield await Promise.resolve(bytes);
    })(),
    digests: [],
    expected_bytes: bytes.length,
    finish: () => Promise.resolve({ etag, meta: { headers: {}, user: {} } }),
  };
}
