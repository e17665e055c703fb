/** A store in a temporary directory, for the tests of this folder. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { createLog } from "../log/log.ts";
import type { BucketRow, ObjectRow } from "./index/rows.ts";
import type { IncomingBody } from "./objects/bodies.ts";
import { removeIndex, Store, type StoreOptions } from "./store.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export const quiet = createLog("test", { write: () => {} });

export interface TestStore extends AsyncDisposable {
  readonly directory: string;
  readonly blobs: readonly string[];
  store: Store;
  /** Closes it and opens it again; `rebuild` forgets the index in between. */
  reopen(options?: { rebuild?: boolean; between?: () => Promise<void> }): Promise<void>;
  /** Opens it again without closing it first, as after kill -9. */
  crash(): Promise<void>;
  bucket(name?: string): Promise<BucketRow>;
}

export async function testStore(
  k = 1,
  m = 0,
  more: Partial<StoreOptions> & { directories?: number } = {},
): Promise<TestStore> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-store-" });
  const blobs = Array.from(
    { length: more.directories ?? k + m },
    (_, at) => join(directory, `blob${at}`),
  );
  const { directories: _directories, ...options } = more;
  const open = () =>
    Store.open({
      index: join(directory, "index.db"),
      blobs,
      data_shards: k,
      parity_shards: m,
      reserve_bytes: 0,
      log: quiet,
      repair_bytes_per_second: Infinity,
      scrub_bytes_per_second: Infinity,
      ...options,
    });
  const abandoned: Store[] = [];
  const made: TestStore = {
    directory,
    blobs,
    store: await open(),
    async reopen({ rebuild = false, between } = {}) {
      await made.store[Symbol.asyncDispose]();
      await between?.();
      if (rebuild) await removeIndex(join(directory, "index.db"));
      made.store = await open();
    },
    async crash() {
      abandoned.push(made.store);
      made.store = await open();
    },
    bucket: async (name = "bucket") =>
      (await made.store.buckets.create(name, "123456789012", "r")).bucket,
    async [Symbol.asyncDispose]() {
      await made.store[Symbol.asyncDispose]();
      for (const store of abandoned) {
        await store.directories.close();
        store.index[Symbol.dispose]();
      }
      await Deno.remove(directory, { recursive: true });
    },
  };
  return made;
}

/** Bytes that follow from a seed. */
export function bytesOf(seed: number, length: number): Bytes {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state >>> 0;
  }
  return new Uint8Array(words.buffer, 0, length);
}

export function bodyOf(bytes: Uint8Array, etag = "etag", chunk = 60_000): IncomingBody {
  return {
    chunks: (async function* () {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
    })(),
    digests: [],
    expected_bytes: bytes.length,
    finish: () => Promise.resolve({ etag, meta: { headers: {}, user: {} } }),
  };
}

export async function contentOf(
  store: Store,
  object: ObjectRow | undefined,
  from = 0,
  to = object?.size ?? 0,
): Promise<Bytes> {
  if (object === undefined) throw new Error("there is no such object");
  const parts: Bytes[] = [];
  for await (const piece of store.objects.read(object, from, to)) parts.push(piece);
  return new Uint8Array(Buffer.concat(parts));
}

export const same = (a: Uint8Array | undefined, b: Uint8Array, what = "") =>
  assert.ok(a !== undefined && Buffer.compare(a, b) === 0, `bytes differ: ${what}`);

/** Of objects that are none, small, a page or a shard long, and more. */
export const sizes = [0, 300, 16_384, 20_000, 500_000, 1_048_576, 2_500_000];

/** Puts an object of each of these sizes. */
export async function fill(store: Store, bucket: BucketRow): Promise<void> {
  for (const size of sizes) {
    await store.objects.put(bucket, `k${size}`, bodyOf(bytesOf(size, size), `${size}`));
  }
}

/** What `fill` has put there is there, byte for byte. */
export async function readsBack(store: Store, bucket: BucketRow): Promise<void> {
  for (const size of sizes) {
    same(
      await contentOf(store, store.objects.find(bucket, `k${size}`)),
      bytesOf(size, size),
      `${size}`,
    );
  }
}
