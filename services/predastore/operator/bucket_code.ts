/**
 * The erasure code of one bucket, told and set for the operator.
 *
 * Setting it is a change of the bucket's settings like any other. What stands already keeps its code; the
 * bucket's own records may have to stand in more directories from now on, so repair looks at all once more.
 */
import type { BucketCode } from "../contract.ts";
import { codeName, parseCode } from "../extents/code.ts";
import { noSuchBucket } from "../objects/commits.ts";
import type { BucketRow } from "../index/rows.ts";
import type { Store } from "../store.ts";

/** Takes a bucket's own code away, so that it has the node's. */
const usualCode = "default";

export function toldCode(store: Store, { name, settings }: BucketRow): BucketCode {
  return {
    bucket: name,
    code: codeName(settings.code ?? store.codes.usual),
    own: settings.code !== undefined,
  };
}

function named(store: Store, name: string): BucketRow {
  const bucket = store.buckets.find(name);
  if (bucket === undefined) throw noSuchBucket();
  return bucket;
}

/**
 * @param asked the code to be set, if any
 * @throws AwsError `NoSuchBucket`, `InvalidArgument`
 */
export async function bucketCode(store: Store, name: string, asked?: string): Promise<BucketCode> {
  const bucket = named(store, name);
  if (asked === undefined) return toldCode(store, bucket);
  const code = asked === usualCode ? undefined : parseCode(asked, store.directories.all.length);
  await store.buckets.set(
    bucket,
    ({ code: _before, ...now }) => code === undefined ? now : { ...now, code },
  );
  store.repair.lookAgain();
  return toldCode(store, named(store, name));
}
