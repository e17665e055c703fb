/** Where clients find an object, as answers tell it. */
import type { S3Call } from "./call.ts";
import { hostBucket } from "./virtual_host.ts";

/** Addressed as the request was: by its path, or by its host. */
export function locationOf(call: Pick<S3Call, "authority" | "bucket">, key: string): string {
  const { authority, bucket } = call;
  const path = hostBucket(authority) === bucket ? "" : `/${bucket}`;
  return `https://${authority}${path}/${key.split("/").map(encodeURIComponent).join("/")}`;
}
