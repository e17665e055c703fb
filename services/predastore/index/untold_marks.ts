/**
 * What some directory was not told yet counts as it is read, as if that said so too.
 *
 * The index has done what these records say, and may have read past them in the directories that heard of them. One
 * that was to be told may have what they are about beyond the place up to which it was read: it had written that, and
 * failed to make it durable.
 */
import { recordTypes } from "../segments/record.ts";
import type { ObjectIndex } from "./object_index.ts";
import { keyBytes } from "./columns.ts";
import type { TombstoneMeta, UploadGoneMeta } from "./gone_meta.ts";

const decoder = new TextDecoder();

/** While records are read back, inside a transaction. */
export function markUntold({ untold, marks }: ObjectIndex): void {
  function* of<T>(type: Parameters<typeof untold.ofType>[0]) {
    for (const { sequence, meta } of untold.ofType(type)) {
      yield { sequence, meta: JSON.parse(decoder.decode(meta)) as T };
    }
  }
  for (const { meta: { id } } of of<{ id: number }>(recordTypes.bucketGone)) {
    marks.markGone(`bucket ${id}`);
  }
  for (const { sequence, meta: { upload } } of of<UploadGoneMeta>(recordTypes.uploadGone)) {
    marks.markGone(upload);
    marks.markEnded(upload, sequence);
  }
  for (const { sequence, meta } of of<TombstoneMeta>(recordTypes.tombstone)) {
    marks.markDeleted(meta.bucket, keyBytes(meta.key), meta.version ?? "", sequence);
  }
}
