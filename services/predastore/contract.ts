/**
 * What others may know of predastore: its system door, a Unix socket whose peers act as the system
 * (the file's permissions are the fence), and a small client for it. The S3 API itself is the contract for
 * everybody else.
 */

/** Buckets that belong to the system; no account sees or names them. */
export const systemBuckets = { blocks: "mulga-blocks", images: "mulga-images" } as const;

/** Headers that the gateway adds on the front door, where predastore verifies the signature itself. */
export const frontHeaders = {
  /** The authority that the client signed. */
  authority: "x-mulga-authority",
  /** The request target as it came, before any normalisation. */
  target: "x-mulga-target",
  requestId: "x-mulga-request-id",
  sourceIp: "x-mulga-source-ip",
} as const;

export { ObjectStore, ObjectStoreError } from "./object_store.ts";
